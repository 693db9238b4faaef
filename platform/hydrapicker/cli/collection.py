"""``hydrapicker collection``."""

from dataclasses import dataclass
from pathlib import Path

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class CollectionConfig:
    """Simulate the collection of datasets that the general model is trained on, and ingest it; continues what it began.

    Attributes:
        datasets: Some of its datasets; by default all, sources and targets.
        structures: Folder with files of the Protein Data Bank, each beginning with its code, as in 3j9i.cif.gz.
        out: Folder that gets a folder of micrographs per dataset.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        workers: Micrographs computed at once; one per core, at most 8, when not given.
        list: Only say what it consists of.
    """

    datasets: tuple[str, ...] = ()
    structures: Path | None = None
    out: Path = Path("hydrapicker-data/collection")
    store: str | None = None
    workers: int | None = None
    list: bool = False


def run(arguments: list[str]) -> int:
    """Make the collection, or list it."""
    config = parse(CollectionConfig, "collection", arguments)
    from hydrapicker.simulation.collection import TARGETS, configs, entries

    chosen = entries(config.datasets)
    if config.list:
        rows = [
            (each.name, "target" if each in TARGETS else "source", each.structure, each.micrographs) for each in chosen
        ]
        print_table(("dataset", "role", "structure", "micrographs"), rows)
        return 0
    simulations = configs(chosen, config.structures, config.out, config.workers)
    from hydrapicker.simulated import make_dataset

    for each in simulations:
        sizes = {"val_size": max(1, each.micrographs // 8), "test_size": max(2, each.micrographs // 5)}
        with progress_bar(each.name) as progress:
            made = make_dataset(each, **sizes, keep_empty=True, store=config.store, progress=progress)
        say(f"{each.name}: {made}")
    return 0
