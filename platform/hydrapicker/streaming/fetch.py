"""Fetching micrographs of one store: from its files or the disk cache, and every one checked when it first arrives."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import xxhash

from hydrapicker.errors import StoreError
from hydrapicker.storage.location import Location
from hydrapicker.storage.open_ranges import range_reader
from hydrapicker.storage.ranges import NotThereError, RangeReader
from hydrapicker.store.damage import damaged
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.diskcache import DiskCache
from hydrapicker.streaming.merge import LARGEST_GAP, Piece, merge
from hydrapicker.streaming.places import Places, places_of

__all__ = ["Answers", "Fetcher", "Group", "Wanted"]

Answers = SimpleQueue[tuple[int, BaseException | None]]

_REFETCHES = 3
"""How often a micrograph whose checksum does not match is fetched again: a bit that flipped on the way heals."""
_NOWHERE = memoryview(bytearray(LARGEST_GAP))
"""Where the bytes between two pieces go; nobody reads them."""


@dataclass(eq=False, slots=True)
class Wanted:
    """A micrograph and where its bytes belong.

    Attributes:
        dataset: Its dataset.
        places: The dataset's places.
        row: Its row number.
        into: Memory of just its length.
        near: Whether it seems to be on a local disk.
        answers: Where (row number, None or why it could not be had) goes once it is fetched.
    """

    dataset: Dataset
    places: Places
    row: int
    into: memoryview
    near: bool
    answers: Answers

    @property
    def checksum(self) -> str:
        """What its bytes must have, xxh3-128 in hex."""
        return self.places.checksum(self.row)

    def intact(self) -> bool:
        """Tell whether the bytes are those that were ingested."""
        return xxhash.xxh3_128_hexdigest(self.into) == self.checksum


Group = tuple[Piece[Wanted], ...]


class Fetcher:
    """Fetches micrographs of the datasets of one store. Safe to use from several threads.

    Parameters
    ----------
    location : Location
        The store.
    config : StreamingConfig
        Connections, retries and cache.

    Raises
    ------
    StoreError
        When the cache's folder cannot be used.
    """

    def __init__(self, location: Location, config: StreamingConfig) -> None:
        self.remote = location.local_folder is None
        budget = replace(location.retry, seconds=config.retry_seconds)
        self._cache: DiskCache | None = None
        if self.remote and config.cache is not None:
            self._cache = DiskCache(Path(config.cache), int(config.cache_gigabytes * 1e9))
        self._open = partial(range_reader, location, config.connections, budget)
        self._opened: RangeReader | None = None
        self._opening, self._closed = threading.Lock(), False

    def near(self, dataset: Dataset, row: int) -> bool:
        """Tell whether a micrograph seems to be on a local disk."""
        return not self.remote or (self._cache is not None and self._cache.has(places_of(dataset).checksum(row)))

    def group(self, window: Iterable[Wanted]) -> list[Group]:
        """Say which micrographs are fetched together, those needed first first, and near ones never with others."""
        pieces = [Piece(*wanted.places.start(wanted.row), len(wanted.into), wanted) for wanted in window]
        if self._cache is None:
            return merge(pieces)
        # Those in the cache must not make requests longer; they come by themselves.
        needed = {piece.purpose: number for number, piece in enumerate(pieces)}
        cached = [(piece,) for piece in pieces if piece.purpose.near]
        groups = merge(piece for piece in pieces if not piece.purpose.near) + cached
        return sorted(groups, key=lambda group: min(needed[piece.purpose] for piece in group))

    def fetch(self, group: Group) -> list[BaseException | None]:
        """Fetch and check the micrographs of a group; for each None, or why it could not be had."""
        if all(_copied(piece) for piece in group):
            return [None] * len(group)
        if len(group) == 1 and self._cache is not None and _read_cached(self._cache, group[0].purpose):
            return [None]
        return self._fetch(group)

    def close(self) -> None:
        """End what other threads are fetching, with errors."""
        with self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened.close()

    def close_cache(self) -> None:
        """Let go of the cache's files; when no other thread fetches any more, for it may be writing there."""
        if self._cache is not None:
            self._cache.close()

    @property
    def _ranges(self) -> RangeReader:
        """What reads the store; made when something must come from there, for a client takes its time."""
        with self._opening:
            if self._closed:
                raise StoreError("the reader was closed")
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _fetch(self, group: Group) -> list[BaseException | None]:
        """Fetch, check and keep what is not in the cache."""
        try:
            self._read(group)
        except NotThereError as error:
            if len(group) == 1:
                return [_damaged(group[0].purpose, error.reason)]
            return [error for piece in group for error in self._fetch((piece,))]  # which of them it is
        except StoreError as error:
            return [error] * len(group)
        errors: list[BaseException | None] = [self._check(piece) for piece in group]
        if self._cache is not None:
            whole = (piece.purpose for piece, error in zip(group, errors, strict=True) if error is None)
            self._cache.add([(wanted.checksum, wanted.into) for wanted in whole])
        return errors

    def _read(self, group: Group) -> None:
        buffers, end = [], group[0].offset
        for piece in group:
            if piece.offset > end:
                buffers.append(_NOWHERE[: piece.offset - end])
            buffers.append(piece.purpose.into)
            end = _end(piece)
        self._ranges.read_into(group[0].path, group[0].offset, *buffers)

    def _check(self, piece: Piece[Wanted]) -> StoreError | None:
        """Check what has just been read, and fetch it anew while it came by a network and is wrong."""
        wanted, checked = piece.purpose, piece.purpose.places.checked
        if not self.remote and checked[wanted.row]:
            return None
        for attempt in range(1 + (_REFETCHES if self.remote else 0)):
            try:
                if attempt > 0:
                    self._read((piece,))
            except StoreError as error:
                return error
            if wanted.intact():
                checked[wanted.row] = not self.remote
                return None
        return _damaged(wanted, "its checksum does not match")


def _read_cached(cache: DiskCache, wanted: Wanted) -> bool:
    return cache.read_into(wanted.checksum, wanted.into)


def _copied(piece: Piece[Wanted]) -> bool:
    """Copy what lies on a local disk and was read and checked by this process before; tells whether that could be."""
    wanted, places = piece.purpose, piece.purpose.places
    if places.mapped is None or not places.checked[wanted.row]:
        return False
    return places.mapped.copy_into(piece.path, piece.offset, wanted.into)


def _end(piece: Piece[Wanted]) -> int:
    return piece.offset + piece.length


def _damaged(wanted: Wanted, reason: str) -> StoreError:
    dataset, row = wanted.dataset, wanted.dataset.rows[wanted.row]
    return damaged(dataset.name, dataset.version, row.shard, row.id, reason)
