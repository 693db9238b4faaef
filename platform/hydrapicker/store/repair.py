"""Make damaged micrographs of a version again from their original files, bit for bit as they were."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import xxhash

from hydrapicker.cores import available_cores
from hydrapicker.errors import InvalidInputError, MicrographError, StoreError
from hydrapicker.files.micrographs import MICROGRAPH_SUFFIXES
from hydrapicker.files.remote import RemoteFile, at_hand, find_remote, is_url
from hydrapicker.storage.location import Location
from hydrapicker.store.layout import INDEX, shard_path
from hydrapicker.store.prepare import one_torch_thread, prepare_micrograph
from hydrapicker.store.progress import Progress, untold
from hydrapicker.store.rows import Row
from hydrapicker.store.store import Dataset, Store
from hydrapicker.store.verify import ShardPieces, check_shard, rows_by_shard, verify

__all__ = ["RepairReport", "repair"]

Originals = Mapping[str, Sequence[Path | RemoteFile]]
"""Micrograph files by their names; several where folders hold files of one name."""


@dataclass(frozen=True)
class RepairReport:
    """What a repair did.

    Attributes:
        dataset: The dataset's name.
        version: The version that was walked.
        shards: The shards written anew, as paths below the store.
        micrographs: Ids of the micrographs made again from their files.
        refused: What could not be repaired, a line for each shard that was left as it is, and why.
    """

    dataset: str
    version: str
    shards: tuple[str, ...] = ()
    micrographs: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def repair(
    store: Store,
    name: str,
    folder: str | Path,
    version: str | None = None,
    *,
    workers: int | None = None,
    progress: Progress = untold,
) -> RepairReport:
    """Find what is damaged in a version and write those shards anew, each whole or not at all.

    Intact micrographs are copied; damaged ones are prepared again from the file below ``folder`` whose path ends
    with the micrograph's id, and must come out with the checksum they were ingested with. A shard that other
    versions share is repaired for all of them.

    Parameters
    ----------
    store : Store
        Where the dataset lies.
    name : str
        The dataset's name.
    folder : str or Path
        Folder, or its URL, below which the original micrographs lie, at any depth.
    version : str, optional
        By default the current one.
    workers : int, optional
        Shards read or written at a time; by default one per core.
    progress : callable, optional
        Called with (done, in all, label): micrographs while looking for damage, shards while repairing.

    Raises
    ------
    InvalidInputError
        When there is no such folder.
    DatasetNotFoundError
        When there is no such dataset or version.
    StoreError
        When the index is damaged, or the store cannot be read or written.
    """
    originals = _originals(folder)
    workers = workers or available_cores()
    version, paths = _damaged_shards(store, name, version, workers, progress)
    results = dict(zip(paths, _repaired(store, name, paths, originals, workers, progress), strict=True))
    made_again = {path: result for path, result in results.items() if not isinstance(result, str)}
    return RepairReport(
        dataset=name,
        version=version,
        shards=tuple(made_again),
        micrographs=tuple(micrograph for result in made_again.values() for micrograph in result),
        refused=tuple(result for result in results.values() if isinstance(result, str)),
    )


def _damaged_shards(
    store: Store, name: str, version: str | None, workers: int, progress: Progress
) -> tuple[str, tuple[str, ...]]:
    """Find the version's name, and the paths of the shards in which something is damaged."""
    found = verify(store, name, version, workers=workers, progress=progress)
    if any(damage.shard == INDEX for damage in found.damages):
        raise StoreError(
            f"{store.location.url(f'{name}/{found.version}/{INDEX}')}: damaged, and micrographs alone cannot make it "
            "again, as it holds the particles; run the same hydrapicker ingest again, which repairs it"
        )
    return found.version, tuple(dict.fromkeys(shard_path(name, found.version, d.shard) for d in found.damages))


def _repaired(
    store: Store,
    name: str,
    paths: Sequence[str],
    originals: Originals,
    workers: int,
    progress: Progress,
) -> Iterator[tuple[str, ...] | str]:
    """Repair shards and yield, in order, the ids made again in each, or why it was left."""
    owners = {path: path.split("/")[1] for path in paths}  # a shard is written by one version and shared by later ones
    datasets = {version: store.open(name, version) for version in dict.fromkeys(owners.values())}
    shards = {version: rows_by_shard(dataset.rows) for version, dataset in datasets.items()}

    def one(path: str) -> tuple[str, ...] | str:
        dataset, shard = datasets[owners[path]], path.split("/")[2]
        rows = [dataset.rows[number] for number in shards[dataset.version][shard]]
        try:
            return _repair_shard(store.location, dataset, shard, rows, originals)
        except MicrographError as error:
            return str(error)

    progress(0, len(paths), f"repairing {name}")
    with one_torch_thread(), ThreadPoolExecutor(workers, "repair") as pool:
        for done, result in enumerate(pool.map(one, paths), start=1):
            progress(done, len(paths), f"repairing {name}")
            yield result


def _repair_shard(
    location: Location, dataset: Dataset, shard: str, rows: Sequence[Row], originals: Originals
) -> tuple[str, ...]:
    path = shard_path(dataset.name, dataset.version, shard)
    if rows[0].offset or any(row.offset + row.length != after.offset for row, after in pairwise(rows)):
        raise StoreError(f"{location.url(path)}: its micrographs do not lie back to back; ingest the same input again")
    check = check_shard(location, dataset.name, dataset.version, shard, rows)
    damaged = {damage.micrograph for damage in check.damages}
    pieces = ShardPieces(location, path, rows[-1].offset + rows[-1].length)
    with location.writer(path) as file:
        for row in rows:
            if row.id in damaged:
                file.write(_made_again(dataset, row, originals))
            else:
                digest = xxhash.xxh3_128()
                for piece in pieces.of(row):
                    digest.update(piece)
                    file.write(piece)
                if digest.hexdigest() != row.checksum:
                    raise StoreError(f"{location.url(path)}: changed while it was being repaired; run the same again")
    return tuple(row.id for row in rows if row.id in damaged)


def _made_again(dataset: Dataset, row: Row, originals: Originals) -> bytes:
    """Prepare a micrograph from its original file: of several with its name, the one that was ingested."""
    micrograph = f"{dataset.name} {dataset.version}, shard {row.shard}, micrograph {row.id}"
    named = originals.get(row.id.rpartition("/")[2], ())
    refusal = "no file of this name in the folder given; give the one that has it"
    for file in (file for file in named if f"/{file}".endswith(f"/{row.id}")):
        try:
            with at_hand(file) as path:
                made = prepare_micrograph(path, scale=row.scale, box_px=dataset.box_px, contrast=dataset.contrast)
        except MicrographError as error:
            refusal = str(error)
            continue
        if made.checksum == row.checksum:
            return made.pixels
        refusal = f"{file} is not the file that was ingested (another checksum); give the folder with the original"
    raise MicrographError(f"{micrograph} is left as it is: {refusal}")


def _originals(folder: str | Path) -> Originals:
    """List all micrograph files below a folder, also behind links, by their names."""
    found = defaultdict[str, list[Path | RemoteFile]](list)
    if is_url(folder):
        for file in find_remote(f"{str(folder).rstrip('/')}/**/*", MICROGRAPH_SUFFIXES):
            found[file.name].append(file)
        return found
    folder, seen = Path(folder).expanduser(), set[str]()
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such folder; give the one with the original micrographs")
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link to a folder above itself would never end
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(MICROGRAPH_SUFFIXES):
                found[name].append(Path(where, name))
    return found
