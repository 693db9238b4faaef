"""A version being written: its shards, and a journal that lets the same ingest continue after a sudden end.

A draft lies where the version will lie. It is no version until the manifest names it; that is the last thing written.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from hydrapicker.errors import StoreChangedError, StoreError
from hydrapicker.storage.location import UNFINISHED, Location
from hydrapicker.store.index import IndexMeta, fingerprint_of, footer_of, index_to_bytes
from hydrapicker.store.layout import INDEX, JOURNAL, MANIFEST, SPLITS, Manifest, VersionEntry, shard_name
from hydrapicker.store.manifest import read_manifest
from hydrapicker.store.notes import note_of, shard_noted
from hydrapicker.store.reservation import reserve
from hydrapicker.store.rows import Row
from hydrapicker.store.shards import WrittenShard, mend_shard
from hydrapicker.store.store import Dataset

__all__ = ["Committed", "Draft"]

Committed = tuple[str, VersionEntry, bool, tuple[str, ...]]
"""What :meth:`Draft.commit` returns."""

_NOTE = re.compile(r"(\d{5,})\.note")
_NOTES_AT_ONCE = 16
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Draft:
    """The next version of a dataset, until it is committed or discarded.

    Opening it continues what an interrupted ingest of the same input left, and leaves alone what any other left.

    Parameters
    ----------
    location : Location
        The store.
    meta : IndexMeta
        What holds for all micrographs.
    identity : str
        Hash of all that the result depends on.
    base : Dataset, optional
        The current version, whose micrographs and shards become part of this one.
    """

    def __init__(self, location: Location, meta: IndexMeta, identity: str, base: Dataset | None = None) -> None:
        self.location, self._meta, self._base = location, meta, base
        self._kept = () if base is None else tuple(_as_of_dataset(row, base.version) for row in base.rows)
        self._reservation = reserve(location, meta.dataset, identity)
        self.version = self._reservation.version
        self._folder = f"{meta.dataset}/{self.version}"
        self._shards = self._finished_shards() if self._reservation.joined else dict[int, WrittenShard]()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The micrographs of the base and then those in finished shards, in order."""
        return self._kept + tuple(row for number in sorted(self._shards) for row in self._shards[number].rows)

    @property
    def finished(self) -> Mapping[int, WrittenShard]:
        """What finished shards hold, by the shard's number."""
        return MappingProxyType(self._shards)

    def path_of(self, number: int) -> str:
        """Say where a shard lies below the store's root."""
        return f"{self._folder}/{shard_name(number)}"

    def finish_shard(self, number: int, rows: Sequence[Row], unusable: Mapping[str, str] = _NOTHING) -> None:
        """Note in the journal that a shard is written, and by their ids why which micrographs are not in it.

        Raises
        ------
        StoreError
            When the shard is not there or not whole, or another run of the same input has taken the draft over.
        """
        self._reservation.check()
        expected, found = sum(row.length for row in rows), self.location.size(self.path_of(number))
        if found != expected:
            raise StoreError(
                f"{self.location.url(self.path_of(number))}: {'not there' if found is None else f'{found} bytes'} "
                f"where {expected} bytes were written; on a cluster every node must see the store: put it on a shared "
                "folder or at s3://, then run the same command again"
            )
        shard = WrittenShard(tuple(rows), dict(unusable))
        self.location.write(self._note_path(number), note_of(shard, self._meta))
        self._shards[number] = shard

    def discard(self) -> None:
        """Remove the draft, and the dataset's folder when nothing else is in it; not what has become another's."""
        if self._reservation.give_up():
            self.location.remove(self._folder)
            self.location.remove_empty_folder(self._meta.dataset)

    def commit(self) -> Committed:
        """Make the draft the current version, unless the current version already is just this.

        Returns
        -------
        version, entry, unchanged, repaired
            ``unchanged`` when no version was made; ``repaired`` are the files of it that were damaged.

        Raises
        ------
        StoreError
            When another run of the same input has taken the draft over, another version than the base has become
            the current one, or the store cannot be written.
        """
        index = index_to_bytes(self.rows, self._meta)
        entry = self._entry(index)
        closed = False
        while True:
            manifest, tag = read_manifest(self.location, self._meta.dataset)
            same = self._same(manifest, entry.fingerprint)
            if same is not None:
                repaired = () if same == self.version else self._repair(same, index)
                _if_possible(self.discard)
                return same, manifest.versions[same], True, repaired
            self._refuse_another_base(manifest)
            if not closed:
                self._reservation.begin_commit()
                self.location.write(f"{self._folder}/{INDEX}", index)
                closed = True
            changed = replace(manifest, name=self._meta.dataset).with_version(self.version, entry)
            try:
                self.location.write_if_unchanged(f"{self._meta.dataset}/{MANIFEST}", changed.to_bytes(), tag)
            except StoreChangedError:
                continue  # another ingest committed: our version comes after its version
            _if_possible(self._tidy)
            return self.version, entry, False, ()

    def _same(self, manifest: Manifest, fingerprint: str) -> str | None:
        """The version that already holds just this: the current one, or ours if a second run has committed it."""
        for version in (manifest.current, self.version):
            if version in manifest.versions and manifest.versions[version].fingerprint == fingerprint:
                return version
        return None

    def _refuse_another_base(self, manifest: Manifest) -> None:
        if self._base is not None and manifest.current != self._base.version:
            self.discard()
            raise StoreChangedError(
                f"{self.location.url(self._meta.dataset)}: another ingest made {manifest.current} while this one "
                f"appended to {self._base.version}; run the same command again"
            )

    def _repair(self, version: str, index: bytes) -> tuple[str, ...]:
        """Write anew what is damaged in a version that holds just what this draft holds."""
        folder = f"{self._meta.dataset}/{version}"
        repaired = []
        for number, shard in sorted(self._shards.items()):
            try:
                mended = mend_shard(self.location, f"{folder}/{shard_name(number)}", self.path_of(number), shard.rows)
            except StoreError:
                with suppress(StoreError):  # so that the same command writes this shard again
                    self.location.remove(self._note_path(number))
                raise
            if mended:
                repaired.append(shard_name(number))
        path = f"{folder}/{INDEX}"
        if not self.location.exists(path) or self.location.read(path) != index:
            self.location.write(path, index)
            repaired.append(INDEX)
        return tuple(repaired)

    def _entry(self, index: bytes) -> VersionEntry:
        rows = self.rows
        footer_bytes, footer_sha256 = footer_of(index)
        return VersionEntry(
            fingerprint=fingerprint_of(index),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            micrographs={split: sum(row.split == split for row in rows) for split in SPLITS},
            particles={split: sum(len(row.particles) for row in rows if row.split == split) for split in SPLITS},
            index_bytes=len(index),
            footer_bytes=footer_bytes,
            footer_sha256=footer_sha256,
        )

    def _finished_shards(self) -> dict[int, WrittenShard]:
        sizes = {entry.path: entry.bytes for entry in self.location.files(self._folder)}
        names = (path.removeprefix(f"{self._folder}/{JOURNAL}/") for path in sizes)
        numbers = [int(match[1]) for name in names if (match := _NOTE.fullmatch(name))]
        with ThreadPoolExecutor(_NOTES_AT_ONCE, "notes") as pool:
            shards = dict(zip(numbers, pool.map(self._noted, numbers), strict=True))
        return {
            number: shard
            for number, shard in shards.items()
            if shard and sizes.get(self.path_of(number)) == sum(row.length for row in shard.rows)
        }

    def _noted(self, number: int) -> WrittenShard | None:
        """What the journal says of a shard; None where that cannot be relied on."""
        path = self._note_path(number)
        found = self.location.read_tagged(path)
        return None if found is None else shard_noted(found[0], self.location.url(path))

    def _tidy(self) -> None:
        """Remove what only a draft needs, and what a killed run left half-written."""
        self.location.remove(f"{self._folder}/{JOURNAL}")
        for name in self.location.names(self._folder):
            if name.endswith(UNFINISHED):
                self.location.remove(f"{self._folder}/{name}")
        for upload in self.location.unfinished_uploads(self._folder):
            self.location.abort_upload(upload)

    def _note_path(self, number: int) -> str:
        return f"{self._folder}/{JOURNAL}/{number:05d}.note"


def _as_of_dataset(row: Row, version: str) -> Row:
    """Name a row's shard so that it is found from any version of the dataset."""
    return row if "/" in row.shard else replace(row, shard=f"{version}/{row.shard}")


def _if_possible(tidy: Callable[[], None]) -> None:
    """Tidy up behind what is done; what cannot be removed is no failure, and left for ``datasets --clean``."""
    with suppress(StoreError):
        tidy()
