"""Walk everything that a dataset version holds, and tell what is not as it was ingested."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import xxhash

from hydrapicker.errors import StoreAccessError, StoreError
from hydrapicker.storage.faults import Fault, fault_of
from hydrapicker.storage.location import Location
from hydrapicker.store.index import index_from_bytes
from hydrapicker.store.intact import DamagedError, read_pixels
from hydrapicker.store.layout import INDEX, VersionEntry, shard_path
from hydrapicker.store.outline import read_index
from hydrapicker.store.progress import Progress, untold
from hydrapicker.store.rows import Row, Rows
from hydrapicker.store.store import Store

__all__ = ["Damage", "ShardCheck", "ShardPieces", "VerifyReport", "check_shard", "rows_by_shard", "verify"]

_PIECE = 8 * 2**20
"""Bytes read at a time: large enough for an object store, and all that a worker holds in memory."""


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was ingested.

    Attributes:
        dataset: The dataset's name.
        version: The version that was walked.
        shard: The shard as the version's index names it, or ``index.parquet``.
        micrograph: The micrograph's id; None where the file as a whole is meant.
        reason: What is wrong.
    """

    dataset: str
    version: str
    shard: str
    micrograph: str | None
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        if self.micrograph is None:
            return f"{self.dataset} {self.version}, {self.shard}: {self.reason}"
        return f"{self.dataset} {self.version}, shard {self.shard}, micrograph {self.micrograph}: {self.reason}"


@dataclass(frozen=True)
class VerifyReport:
    """What a walk over a dataset version found.

    Attributes:
        dataset: The dataset's name.
        version: The version that was walked.
        micrographs: Number of micrographs that the index names; 0 where the index itself is damaged.
        shards: Number of shards that hold them.
        bytes_read: Bytes of index and shards that were read and checked; 0 where the index itself is damaged.
        damages: All that is damaged, in the order of the index.
    """

    dataset: str
    version: str
    micrographs: int
    shards: int
    bytes_read: int
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class ShardCheck:
    """What was found in one shard.

    Attributes:
        damages: All that is damaged in it.
        bytes_read: Bytes of micrographs that were there to check.
    """

    damages: tuple[Damage, ...]
    bytes_read: int


class ShardPieces:
    """A shard read from front to back: large reads, whatever the size of its micrographs, and bounded memory."""

    def __init__(self, location: Location, path: str, end: int) -> None:
        self._location, self._path, self._end = location, path, end
        self._start, self._held = 0, memoryview(b"")

    def of(self, row: Row) -> Iterator[memoryview]:
        """Yield a micrograph's bytes in pieces; fewer than its length where the file ends earlier."""
        position, stop = row.offset, row.offset + row.length
        while position < stop:
            if not self._start <= position < self._start + len(self._held):
                length = min(_PIECE, self._end - position)
                held = self._location.read_range(self._path, position, length) if length > 0 else b""
                if not held:
                    return
                self._start, self._held = position, memoryview(held)
            piece = self._held[position - self._start : stop - self._start]
            position += len(piece)
            yield piece


def verify(
    store: Store,
    name: str,
    version: str | None = None,
    *,
    workers: int = 8,
    progress: Progress = untold,
) -> VerifyReport:
    """Check the index against the manifest and every micrograph against its checksum; damage does not end the walk.

    Parameters
    ----------
    store : Store
        Where the dataset lies.
    name : str
        The dataset's name.
    version : str, optional
        By default the current one.
    workers : int
        Shards read at a time, each with about 8 MiB of memory.
    progress : callable, optional
        Called with (micrographs checked, micrographs in all, label).

    Raises
    ------
    DatasetNotFoundError
        When there is no such dataset or version.
    StoreError
        When the store does not answer or does not let us in, or a manifest or index is of a format not known.
    """
    version, entry = _entry(store, name, version)
    path = f"{name}/{version}/{INDEX}"
    if not store.location.exists(path):
        return _without_index(name, version, "missing")
    try:
        index = read_index(store.location, path, entry)
    except DamagedError as error:
        return _without_index(name, version, f"damaged, {error}")
    rows = Rows(index_from_bytes(index, store.location.url(path))[0])
    checks = _check_all(store.location, name, version, rows, workers, progress)
    return VerifyReport(
        dataset=name,
        version=version,
        micrographs=len(rows),
        shards=len(checks),
        bytes_read=len(index) + sum(check.bytes_read for check in checks.values()),
        damages=tuple(damage for check in checks.values() for damage in check.damages),
    )


def _without_index(dataset: str, version: str, reason: str) -> VerifyReport:
    return VerifyReport(dataset, version, 0, 0, 0, (Damage(dataset, version, INDEX, None, reason),))


def rows_by_shard(rows: Rows) -> dict[str, list[int]]:
    """Group row numbers by shard, and order them within a shard by where its micrographs lie."""
    offsets = rows.column("offset")
    shards = defaultdict[str, list[int]](list)
    for number, shard in enumerate(rows.column("shard")):
        shards[shard].append(number)
    return {shard: sorted(inside, key=offsets.__getitem__) for shard, inside in shards.items()}


def check_shard(location: Location, dataset: str, version: str, shard: str, rows: Sequence[Row]) -> ShardCheck:
    """Check the micrographs of one shard, given in the order in which they lie there."""
    path = shard_path(dataset, version, shard)
    size = location.size(path)
    damages = []
    if size is None:
        damages = [Damage(dataset, version, shard, row.id, "the shard is missing") for row in rows]
        return ShardCheck(tuple(damages), 0)
    end = rows[-1].offset + rows[-1].length
    pieces = ShardPieces(location, path, min(end, size))
    for row in rows:
        reason = _wrong_with(location, path, row, pieces)
        if reason:
            damages.append(Damage(dataset, version, shard, row.id, reason))
    if size > end:
        damages.append(Damage(dataset, version, shard, None, f"{size - end} bytes too long"))
    return ShardCheck(tuple(damages), min(sum(row.length for row in rows), size))


def _wrong_with(location: Location, path: str, row: Row, pieces: ShardPieces) -> str | None:
    """Say what is wrong with a micrograph's bytes; None where they are those that were ingested."""
    try:
        digest = xxhash.xxh3_128()
        for piece in pieces.of(row):
            digest.update(piece)
        if digest.hexdigest() == row.checksum:
            return None
        read_pixels(location, path, row)  # again: what is stored is judged, not the way it came here
    except DamagedError as error:
        return str(error)
    except StoreAccessError:
        raise
    except StoreError as error:
        if fault_of(error) is Fault.TRANSIENT:  # a store that does not answer says nothing about what it holds
            raise
        return str(error)
    return None


def _check_all(
    location: Location, dataset: str, version: str, rows: Rows, workers: int, progress: Progress
) -> dict[str, ShardCheck]:
    """Check every shard, some at a time; they come out in the order in which the index names them first."""
    shards = rows_by_shard(rows)

    def check(shard: str) -> ShardCheck:
        return check_shard(location, dataset, version, shard, [rows[number] for number in shards[shard]])

    done, label = 0, f"verifying {dataset} {version}"
    progress(done, len(rows), label)
    pool = ThreadPoolExecutor(workers, "verify")
    try:
        under_way = {pool.submit(check, shard): shard for shard in shards}
        for future in as_completed(under_way):
            future.result()
            done += len(shards[under_way[future]])
            progress(done, len(rows), label)
    finally:
        pool.shutdown(cancel_futures=True)  # what has begun ends by itself, what waits is not begun
    return {shard: future.result() for future, shard in under_way.items()}


def _entry(store: Store, name: str, version: str | None) -> tuple[str, VersionEntry]:
    manifest = store.manifest(name)
    if manifest is None or (version or manifest.current) not in manifest.versions:
        store.open(name, version)  # raises, with the names and versions that there are
        raise StoreError(f"{store.location.url(name)}: made this very moment; run the same command again")
    version = version or manifest.current
    return version, manifest.versions[version]
