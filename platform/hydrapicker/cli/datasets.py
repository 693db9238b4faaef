"""``hydrapicker datasets``."""

import json
from dataclasses import dataclass

from tyro.conf import Positional

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class DatasetsConfig:
    """List the datasets in the store, or describe one.

    Attributes:
        name: The dataset to describe; all are listed when not given.
        version: Of the dataset, such as v0002; by default the current one.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        json: Print JSON instead of a table.
    """

    name: Positional[str | None] = None
    version: str | None = None
    store: str | None = None
    json: bool = False


def run(arguments: list[str]) -> int:
    """Print the table of datasets, or all that is known of one."""
    config = parse(DatasetsConfig, "datasets", arguments)
    from hydrapicker.store.describe import describe, summaries
    from hydrapicker.store.location import default_store
    from hydrapicker.store.store import Store

    store = Store(config.store or default_store())
    if config.name is not None:
        found = describe(store.open(config.name, config.version))
        if config.json:
            say(json.dumps(found, indent=2))
        else:
            print_table(("", ""), [(key.replace("_", " "), _text(value)) for key, value in found.items()])
        return 0
    entries = summaries(store)
    if config.json:
        say(json.dumps(entries, indent=2))
    elif not entries:
        say(f"no datasets in {store.location.root}: make one with hydrapicker ingest")
    else:
        columns = list(entries[0])
        print_table([c.replace("_", " ") for c in columns], [[_text(entry[c]) for c in columns] for entry in entries])
    return 0


def _text(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{entry} {key}" for key, entry in value.items())
    if isinstance(value, list):
        return f"{value[0]:g}" if value[0] == value[-1] else f"{value[0]:g} to {value[-1]:g}"
    return value
