"""``hydrapicker datasets``."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.errors import InvalidInputError

if TYPE_CHECKING:
    from hydrapicker.store.store import Store


@dataclass(frozen=True)
class DatasetsConfig:
    """List the datasets in the store, describe one, or clean up. See also: datasets verify NAME, datasets repair NAME.

    Attributes:
        name: The dataset to describe or clean up; all are listed or cleaned when not given.
        version: Of the dataset, such as v0002; by default the current one.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        json: Print JSON instead of a table.
        clean: Remove what broken-off ingests left: unfinished versions, half-written files, unfinished uploads.
        older_than_hours: With --clean, only what has not changed for as long as this.
        dry_run: With --clean, only print what would be removed.
    """

    name: Positional[str | None] = None
    version: str | None = None
    store: str | None = None
    json: bool = False
    clean: bool = False
    older_than_hours: float = 24.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.clean and (self.version or self.json):
            raise InvalidInputError("--clean goes with neither --version nor --json; leave them out")
        if self.dry_run and not self.clean:
            raise InvalidInputError("--dry-run says what --clean would remove; give both")


@dataclass(frozen=True)
class VerifyConfig:
    """Read all of a dataset version and check it: the index, every shard, every micrograph. Exit code 1 for damage.

    Attributes:
        name: The dataset.
        version: Such as v0002; by default the current one.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        json: Print JSON instead of lines.
    """

    name: Positional[str]
    version: str | None = None
    store: str | None = None
    json: bool = False


@dataclass(frozen=True)
class RepairConfig:
    """Make the damaged micrographs of a dataset version again from their original files. Exit code 1 if any is left.

    Attributes:
        name: The dataset.
        folder: Folder or URL with the original micrographs, at any depth.
        version: Such as v0002; by default the current one.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
    """

    name: Positional[str]
    folder: Annotated[str, tyro.conf.arg(name="from")]
    version: str | None = None
    store: str | None = None


def run(arguments: list[str]) -> int:
    """Print the table of datasets or all that is known of one; or verify, repair or clean up."""
    if arguments[:1] == ["verify"]:
        return _verify(parse(VerifyConfig, "datasets verify", arguments[1:]))
    if arguments[:1] == ["repair"]:
        return _repair(parse(RepairConfig, "datasets repair", arguments[1:]))
    config = parse(DatasetsConfig, "datasets", arguments)
    if config.clean:
        return _clean(config)
    return _list(config) if config.name is None else _describe(config)


def _list(config: DatasetsConfig) -> int:
    from hydrapicker.store.describe import summaries

    store = _store(config.store)
    entries, unusable = summaries(store)
    if config.json:
        say(json.dumps(entries, indent=2))
    elif not entries and not unusable:
        say(f"no datasets in {store.location.url()}: make one with hydrapicker ingest")
    elif entries:
        columns = list(entries[0])
        print_table([c.replace("_", " ") for c in columns], [[_text(entry[c]) for c in columns] for entry in entries])
    for error in unusable:
        print(f"hydrapicker datasets: {error}", file=sys.stderr, flush=True)
    return 1 if unusable else 0


def _describe(config: DatasetsConfig) -> int:
    from hydrapicker.store.describe import describe

    assert config.name is not None
    found = describe(_store(config.store).open(config.name, config.version))
    if config.json:
        say(json.dumps(found, indent=2))
    else:
        print_table(("", ""), [(key.replace("_", " "), _text(value)) for key, value in found.items()])
    return 0


def _verify(config: VerifyConfig) -> int:
    from hydrapicker.store.verify import verify

    with progress_bar("verify") as progress:
        report = verify(_store(config.store), config.name, config.version, progress=progress)
    if config.json:
        say(json.dumps(asdict(report), indent=2))
    else:
        for damage in report.damages:
            say(str(damage))
        state = f"{len(report.damages)} damaged" if report.damages else "all intact"
        say(
            f"{report.dataset} {report.version}: {report.micrographs} micrographs in {report.shards} shards, "
            f"{_size(report.bytes_read)} read, {state}"
        )
    return 1 if report.damages else 0


def _repair(config: RepairConfig) -> int:
    from hydrapicker.store.repair import repair

    with progress_bar("repair") as progress:
        report = repair(_store(config.store), config.name, config.folder, config.version, progress=progress)
    for shard in report.shards:
        say(f"written anew: {shard}")
    for micrograph in report.micrographs:
        say(f"made again: {micrograph}")
    for line in report.refused:
        say(line)
    if not report.shards and not report.refused:
        say(f"{report.dataset} {report.version} is intact, there was nothing to repair")
    return 1 if report.refused else 0


def _clean(config: DatasetsConfig) -> int:
    from hydrapicker.store.clean import leftovers, remove

    store = _store(config.store)
    found = leftovers(store, config.name, older_than_hours=config.older_than_hours)
    for leftover in found if config.dry_run else remove(store, found):
        doing = "would remove" if config.dry_run else "removed"
        size = "" if leftover.kind == "upload" else f", {_size(leftover.bytes)}"
        say(f"{doing} {leftover.kind} {leftover.path}{size}, last changed {leftover.modified:%Y-%m-%d %H:%M} UTC")
    if not found:
        say(f"nothing left over for {config.older_than_hours:g} hours or more in {store.location.url()}")
    return 0


def _store(root: str | None) -> "Store":
    from hydrapicker.storage.location import default_store
    from hydrapicker.store.store import Store

    return Store(root or default_store())


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _text(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{entry} {key}" for key, entry in value.items())
    if isinstance(value, list):
        return f"{value[0]:g}" if value[0] == value[-1] else f"{value[0]:g} to {value[-1]:g}"
    return value
