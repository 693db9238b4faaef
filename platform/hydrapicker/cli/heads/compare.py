"""``hydrapicker heads compare``."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse

if TYPE_CHECKING:
    from hydrapicker_registry.registry import LoadedHead


@dataclass(frozen=True)
class CompareConfig:
    """Put two heads' figures side by side: those on record, or new ones on the test micrographs of one dataset.

    Attributes:
        first: A head; NAME@challenger or NAME@3 for another version than the champion.
        second: Another.
        dataset: Of the store: both heads pick its test micrographs. When not given, figures are those on record, which
            may be of different micrographs.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        json: Print JSON instead of a table.
    """

    first: Positional[str]
    second: Positional[str]
    dataset: str | None = None
    store: str | None = None
    json: bool = False


def run(verb: str, arguments: list[str]) -> int:
    """Print two heads' figures."""
    config = parse(CompareConfig, f"heads {verb}", arguments)
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.shipped.fallback import load_or_shipped

    registry = HeadRegistry()
    heads = [load_or_shipped(registry, name) for name in (config.first, config.second)]
    figures = [head.head.metadata.metrics for head in heads] if config.dataset is None else _measured(heads, config)
    if config.json:
        say(json.dumps([{"head": _called(h), "metrics": f} for h, f in zip(heads, figures, strict=True)], indent=2))
        return 0
    rows = []
    for metric in dict.fromkeys([*figures[0], *figures[1]]):
        first, second = (figure.get(metric) for figure in figures)
        rows.append((metric, first, second, None if first is None or second is None else second - first))
    where = (
        "each on the data it was registered with" if config.dataset is None else f"test micrographs of {config.dataset}"
    )
    print_table(("metric", *map(_called, heads), "difference"), rows, title=where)
    return 0


def _measured(heads: "list[LoadedHead]", config: CompareConfig) -> list[dict[str, float]]:
    from hydrapicker.evaluation.compare import measure
    from hydrapicker.storage.location import default_store
    from hydrapicker.store.store import Store

    assert config.dataset is not None
    dataset = Store(config.store or default_store()).open(config.dataset)
    with progress_bar("compare") as progress:
        return measure(heads, dataset, progress)


def _called(loaded: "LoadedHead") -> str:
    head = loaded.version
    return f"{head.dataset} v{head.version}" if head.version else f"{head.dataset} (shipped)"
