"""A version being written: its shards, and a journal that lets the same ingest continue after a sudden end.

A draft lies where the version will lie. It is no version until the manifest names it; that is the last thing written.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import xxhash

from hydrapicker.errors import StoreError
from hydrapicker.store.index import IndexMeta, Row, fingerprint_of, index_from_bytes, index_to_bytes, rows_of
from hydrapicker.store.layout import INDEX, JOURNAL, MANIFEST, SPLITS, Manifest, VersionEntry, shard_name
from hydrapicker.store.location import UNFINISHED, Location

__all__ = ["Draft"]

_EMPTY: Manifest = Manifest("", "", {})


class Draft:
    """The next version of a dataset, until it is committed or discarded.

    Opening it continues what an interrupted ingest of the same input left, and removes what any other left.

    Parameters
    ----------
    location : Location
        The store.
    meta : IndexMeta
        What holds for all micrographs.
    identity : str
        Hash of all that the result depends on.
    """

    def __init__(self, location: Location, meta: IndexMeta, identity: str) -> None:
        self._location, self._meta, self._identity = location, meta, identity
        self._manifest = self._read_manifest()
        self.version = self._manifest.next_version
        self._folder = f"{meta.dataset}/{self.version}"
        self._shards: list[tuple[Row, ...]] = []
        for version in self._manifest.versions:  # an ingest that ended between its commit and its cleaning up
            location.remove(f"{meta.dataset}/{version}/{JOURNAL}")
        if self._read_identity() == identity:
            self._remove_unfinished()
            self._shards = self._finished_shards()
        else:
            location.remove(self._folder)
            location.write(self._identity_path, json.dumps({"identity": identity}).encode())

    @property
    def rows(self) -> tuple[Row, ...]:
        """The micrographs in finished shards, in order."""
        return tuple(row for shard in self._shards for row in shard)

    @property
    def next_shard(self) -> str:
        """Name of the shard to be written next."""
        return shard_name(len(self._shards))

    def add_shard(self, content: bytes, rows: Sequence[Row]) -> None:
        """Write a shard, then note in the journal that it is finished."""
        number = len(self._shards)
        self._location.write(f"{self._folder}/{shard_name(number)}", content)
        self._location.write(self._note_path(number), index_to_bytes(rows, self._meta))
        self._shards.append(tuple(rows))

    def discard(self) -> None:
        """Remove the draft, and the dataset's folder when nothing else is in it."""
        self._location.remove(self._folder)
        self._location.remove_empty_folder(self._meta.dataset)

    def commit(self) -> tuple[str, VersionEntry, bool, tuple[str, ...]]:
        """Make the draft the current version, unless the current version already is just this.

        Returns
        -------
        version, entry, unchanged, repaired
            ``unchanged`` when no version was made; ``repaired`` are the files of it that were damaged.

        Raises
        ------
        StoreError
            When another ingest changed the dataset in the meantime, or the store cannot be written.
        """
        index = index_to_bytes(self.rows, self._meta)
        current = self._manifest.versions.get(self._manifest.current)
        if current is not None and current.fingerprint == fingerprint_of(index):
            repaired = self._repair(self._manifest.current, index)
            self.discard()
            return self._manifest.current, current, True, repaired
        self._location.write(f"{self._folder}/{INDEX}", index)
        if self._read_identity() != self._identity or self._read_manifest() != self._manifest:
            raise StoreError(
                f"{self._location.url(self._meta.dataset)}: another ingest wrote this dataset at the same time; "
                "run the same command again when it has ended"
            )
        entry = self._entry(fingerprint_of(index))
        manifest = Manifest(self._meta.dataset, self.version, self._manifest.versions)
        self._location.write(f"{self._meta.dataset}/{MANIFEST}", manifest.with_version(self.version, entry).to_bytes())
        self._location.remove(f"{self._folder}/{JOURNAL}")
        return self.version, entry, False, ()

    def _repair(self, version: str, index: bytes) -> tuple[str, ...]:
        """Write anew what is damaged in a version that holds just what this draft holds."""
        folder = f"{self._meta.dataset}/{version}"
        repaired = []
        for number, rows in enumerate(self._shards):
            name = shard_name(number)
            path = f"{folder}/{name}"
            stored = self._location.read(path) if self._location.exists(path) else b""
            if not _intact(stored, rows):
                self._location.write(path, self._location.read(f"{self._folder}/{name}"))
                repaired.append(name)
        path = f"{folder}/{INDEX}"
        if not self._location.exists(path) or self._location.read(path) != index:
            self._location.write(path, index)
            repaired.append(INDEX)
        return tuple(repaired)

    def _entry(self, fingerprint: str) -> VersionEntry:
        micrographs = {split: sum(row.split == split for row in self.rows) for split in SPLITS}
        particles = {split: sum(len(row.particles) for row in self.rows if row.split == split) for split in SPLITS}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return VersionEntry(fingerprint, created, micrographs, particles)

    def _finished_shards(self) -> list[tuple[Row, ...]]:
        finished: list[tuple[Row, ...]] = []
        while self._location.exists(path := self._note_path(len(finished))):
            table, _ = index_from_bytes(self._location.read(path), self._location.url(path))
            rows = rows_of(table)
            if self._location.size(f"{self._folder}/{shard_name(len(finished))}") != sum(row.length for row in rows):
                break
            finished.append(rows)
        return finished

    def _remove_unfinished(self) -> None:
        for folder in (self._meta.dataset, self._folder, f"{self._folder}/{JOURNAL}"):
            for name in self._location.names(folder):
                if name.endswith(UNFINISHED):
                    self._location.remove(f"{folder}/{name}")

    def _read_manifest(self) -> Manifest:
        path = f"{self._meta.dataset}/{MANIFEST}"
        if not self._location.exists(path):
            return _EMPTY
        return Manifest.from_bytes(self._location.read(path), self._location.url(path))

    def _read_identity(self) -> str | None:
        if not self._location.exists(self._identity_path):
            return None
        try:
            return str(json.loads(self._location.read(self._identity_path))["identity"])
        except (ValueError, KeyError, TypeError):
            return None  # not ours to continue

    @property
    def _identity_path(self) -> str:
        return f"{self._folder}/{JOURNAL}/draft.json"

    def _note_path(self, number: int) -> str:
        return f"{self._folder}/{JOURNAL}/{number:05d}.parquet"


def _intact(content: bytes, rows: Sequence[Row]) -> bool:
    view = memoryview(content)
    return all(
        xxhash.xxh3_128_hexdigest(view[row.offset : row.offset + row.length]) == row.checksum for row in rows
    ) and len(content) == sum(row.length for row in rows)
