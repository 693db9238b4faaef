"""``hydrapicker heads show``."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse

if TYPE_CHECKING:
    from hydrapicker_registry.registry import HeadRecord, LoadedHead


@dataclass(frozen=True)
class ShowConfig:
    """Tell all that is known of a head: its versions with who made them and when they were champion, and one in full.

    Attributes:
        name: The head; NAME@challenger or NAME@3 for another version than the champion.
        json: Print JSON instead of tables.
    """

    name: Positional[str]
    json: bool = False


def run(verb: str, arguments: list[str]) -> int:
    """Print versions and details of a head."""
    config = parse(ShowConfig, f"heads {verb}", arguments)
    from hydrapicker_registry.errors import UnknownHeadError
    from hydrapicker_registry.names import GENERIC, parse_head_reference
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.shipped.fallback import load_or_shipped

    registry = HeadRegistry()
    dataset, choice = parse_head_reference(config.name)
    try:
        records = registry.history(dataset)
    except UnknownHeadError:
        if dataset != GENERIC:
            raise
        records = ()  # the shipped one is there all the same
    champion = any("champion" in record.version.aliases for record in records)
    if choice is None and records and not champion:
        choice = records[0].version.version
    loaded = load_or_shipped(registry, dataset if choice is None else f"{dataset}@{choice}")
    details = _details(loaded)
    if config.json:
        versions = [{**asdict(r.version), "periods": [asdict(p) for p in r.periods]} for r in records]
        say(json.dumps({"versions": versions, "shown": details}, indent=2, default=str))
        return 0
    if not records:
        say(f"{loaded.version.called}; the registry has none")
    else:
        print_table(("version", "registered (UTC)", "contributor", "trunk", "AP", "was"), [_row(r) for r in records])
    say("")
    print_table(("", ""), [(key.replace("_", " "), _text(value)) for key, value in details.items()])
    return 0


def _row(record: "HeadRecord") -> tuple[object, ...]:
    head = record.version
    spans = [f"{p.alias} {p.since:%Y-%m-%d %H:%M} to {_end(p.until)} (by {p.by})" for p in record.periods]
    was = "; ".join((*(["retired"] if head.retired else []), *spans)) or None
    return head.version, f"{head.registered:%Y-%m-%d %H:%M}", head.contributor, head.trunk_version, head.ap, was


def _end(until: object) -> str:
    return "now" if until is None else f"{until:%Y-%m-%d %H:%M}"


def _details(loaded: "LoadedHead") -> dict[str, object]:
    head, version = loaded.head.metadata, loaded.version
    return {
        "head": version.dataset,
        "version": version.version or "shipped",
        "aliases": list(version.aliases),
        "trunk": f"version {version.trunk_version or '(shipped)'}, sha256 {version.trunk_sha256}",
        "dataset_version": head.dataset_version,
        "dataset_fingerprint": head.dataset_fingerprint,
        "diameter_angstrom": head.input.diameter_angstrom,
        "contrast": head.input.contrast,
        "box_px": head.input.box_px,
        "normalisation": head.input.normalisation,
        "threshold": head.threshold,
        **{f"metric_{name}": value for name, value in head.metrics.items()},
        "lambda_bias": head.training.lambda_bias,
        "width": head.architecture.get("width"),
        "authors": list(head.authors),
        "licence": head.licence,
        "citation": head.citation,
        "created": head.created,
        "mlflow_run": version.run_id,
        "code_commit": head.training.git_commit,
        "package_sha256": version.package_sha256,
    }


def _text(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return f"{value:g}" if isinstance(value, float) else value
