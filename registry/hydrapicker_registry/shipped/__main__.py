"""``python -m hydrapicker_registry.shipped``: make a registry's champion generic head the one that ships."""

import argparse
import sys
from pathlib import Path

from hydrapicker_core.errors import HydraPickerError, InvalidInputError
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.strict import parse_object


def main(arguments: list[str]) -> int:
    """Write the packages beside this file, or to another folder."""
    options = _parser().parse_args(arguments)
    try:
        print(_write(options))
    except (HydraPickerError, OSError) as error:
        print(f"hydrapicker_registry.shipped: {error}", file=sys.stderr)
        return 1
    return 0


def _write(options: argparse.Namespace) -> str:
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.shipped.writing import Public, write_shipped

    metrics = None if options.metrics is None else parse_object(_text(options.metrics), str(options.metrics))
    public = Public(
        words="" if options.card is None else _text(options.card),
        licence=options.licence,
        authors=None if options.authors is None else tuple(options.authors),
        citation=options.citation,
        metrics=metrics,  # type: ignore[arg-type]  # checked where it is used
        threshold=options.threshold,
    )
    loaded = HeadRegistry(options.tracking_uri).load(options.head)
    size = write_shipped(loaded, public, options.out)
    return f"wrote {loaded.version.called} with its trunk to {options.out}: {size / 1e6:.2f} MB"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read as text ({error})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hydrapicker_registry.shipped", description=__doc__)
    parser.add_argument("--tracking-uri", help="of MLflow; by default as for hydrapicker")
    parser.add_argument("--head", default=GENERIC, help="generic, or with @ALIAS or @VERSION")
    parser.add_argument("--card", type=Path, help="Markdown: what it was trained on and where it fails")
    parser.add_argument("--metrics", type=Path, help="JSON of figures by name, in place of those on record")
    parser.add_argument("--threshold", type=float, help="recommended least score of a pick")
    parser.add_argument("--licence", help="of the weights, as an SPDX identifier")
    parser.add_argument("--authors", nargs="+")
    parser.add_argument("--citation", help="what to cite")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="another folder than the package's own")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
