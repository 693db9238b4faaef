"""Reading minibatches ahead of use: many ranges at once, within a bound of bytes, delivered in order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.buffers import Buffers
from hydrapicker.streaming.coming import Coming, Slot
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.crew import Crew
from hydrapicker.streaming.fetch import Fetcher, Group, Wanted
from hydrapicker.streaming.gather import gather
from hydrapicker.streaming.merge import Piece
from hydrapicker.streaming.plan import Minibatch

__all__ = ["MinibatchReader"]

_NEAR_THREADS = 1
"""Threads that read a local disk: more would only wait for each other, and who waits for a minibatch helps."""
_LOCAL_BYTES = 8_000_000
"""What is held of a local disk, which needs no more: so it stays in the processor's cache until it is used."""
_LOCAL_BUFFERS = Buffers(2 * _LOCAL_BYTES)
"""Kept from epoch to epoch: getting new memory takes as long as reading a disk's files into it."""


_DUE_SHARE = 4
"""A part of the buffer so large is for the minibatches that come next, but at least ``_LEAST_DUE`` of them."""
_LEAST_DUE = 4
_LOOK_AHEAD = 4
"""Micrographs are fetched early that are wanted within so many times what the buffer holds ..."""
_MOST_AHEAD = 1024
"""... and within so many minibatches, as long as looking through them takes no time."""

_Job = tuple[Fetcher, Group]


class MinibatchReader(Iterator[tuple[NDArray[np.float16], ...]]):
    """Yields the stored images of minibatches, in order, fetched ahead on threads of its own.

    Every image is float16 (height, width); its memory is used again only when nobody holds it. At most
    ``buffer_megabytes`` are held of what is on its way or not yet taken, but always one minibatch. A part of it is for
    the minibatches that come next; the rest is for micrographs of later ones that lie beside theirs in the store, and
    come by the same requests. Use it from one thread; :meth:`close` may be called from any, and more than once.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        By the names in the minibatches.
    minibatches : iterable of Minibatch
        What to read, in order; asked for some way ahead of what is read.
    config : StreamingConfig, optional
        Bounds, connections, cache and retries.

    Raises
    ------
    StoreError
        From ``next``, at the minibatch it belongs to; that ends the reading.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        minibatches: Iterable[Minibatch],
        config: StreamingConfig | None = None,
    ) -> None:
        self._datasets, self._config = datasets, config or StreamingConfig()
        self._bound = int(self._config.buffer_megabytes * 1e6)
        self._buffers = Buffers(self._bound)
        self._waiting = iter(minibatches)
        self._coming: deque[Coming] = deque()  # in order; the first `_due` of them are on their way with all images
        self._due = self._due_bytes = self._room = 0
        self._begun = False
        self._closing, self._closed = threading.Lock(), threading.Event()
        # They know nothing of the reader: in a circle of references its memory would outlive the epoch.
        fetch = partial(_fetch, self._closed)
        self._near = Crew[_Job]("stream-fetch-near", _NEAR_THREADS, fetch)
        self._far = Crew[_Job]("stream-fetch-far", self._config.connections, fetch)
        self._fetchers: dict[str, Fetcher] = {}
        self.buffered_bytes = 0

    def __next__(self) -> tuple[NDArray[np.float16], ...]:
        """Wait for the next minibatch and hand it over."""
        try:
            self._read_ahead()
            if self._closed.is_set() or not self._coming:
                raise StopIteration
            first = self._coming[0]
            if first.near:
                self._near.help_until(lambda: first.answers.qsize() >= len(first.minibatch.rows))
            images = first.taken()
            self._coming.popleft()
            self._due -= 1
            self._due_bytes -= first.size
            self.buffered_bytes -= first.size
            self._read_ahead()
            return images
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the threads and their connections, also in the middle of a stall; what was read ahead is dropped."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            for fetcher in self._fetchers.values():
                fetcher.close()
        for crew in (self._near, self._far):
            crew.close()
        for crew in (self._near, self._far):
            crew.join()
        for fetcher in self._fetchers.values():
            fetcher.close_cache()

    def _read_ahead(self) -> None:
        """Send off what there is room for, once half of the room is free: neighbours are merged within one go."""
        if self._due and self._due_bytes > self._room // 2:
            return
        window: dict[Fetcher, list[Wanted]] = {}
        beside: dict[Fetcher, list[Piece[Slot]]] = {}
        while not self._closed.is_set() and (coming := self._next_due()) is not None:
            if self._begun:  # the first of all is waited for already, and must not wait for its neighbours
                beside.setdefault(coming.fetcher, []).extend(coming.missing())
            window.setdefault(coming.fetcher, []).extend(self._begin(coming))
            self._begun = True
        for fetcher, due in beside.items():
            window[fetcher].extend(self._begin_beside(fetcher, due))
        jobs = [(fetcher, group) for fetcher, needed in window.items() for group in fetcher.group(needed)]
        self._near.give(job for job in jobs if _is_near(job))
        self._far.give(job for job in jobs if not _is_near(job))

    def _due_room(self) -> int:
        """Bytes for the minibatches that come next."""
        if all(coming.near for coming in self._coming):
            return min(self._bound, _LOCAL_BYTES)
        largest = max(coming.size for coming in self._coming)
        return max(self._bound // _DUE_SHARE, min(self._bound, _LEAST_DUE * largest))

    def _next_due(self) -> Coming | None:
        """Give the next minibatch that is not wholly on its way, if there is room for the rest of it."""
        if not self._look_ahead(self._due + 1):
            return None
        coming, self._room = self._coming[self._due], self._due_room()
        fits = (
            self._due_bytes + coming.size <= self._room
            and self.buffered_bytes + coming.size - coming.held <= self._bound
        )
        return coming if fits or self._due == 0 else None

    def _begin(self, coming: Coming) -> list[Wanted]:
        """Send off what is missing of the next minibatch."""
        self.buffered_bytes += coming.size - coming.held
        self._due_bytes += coming.size
        self._due += 1
        return coming.begin_rest(_LOCAL_BUFFERS if coming.near else self._buffers)

    def _look_ahead(self, count: int) -> bool:
        """See that so many minibatches are known; False where there are no more."""
        while len(self._coming) < count:
            minibatch = next(self._waiting, None)
            if minibatch is None:
                return False
            dataset = self._datasets[minibatch.dataset]
            self._coming.append(Coming(minibatch, dataset, self._fetcher_of(dataset)))
        return True

    def _begin_beside(self, fetcher: Fetcher, due: list[Piece[Slot]]) -> list[Wanted]:
        """Send off what is wanted later and lies beside what is due, as far as there is room left by what is due."""
        known = sum(coming.size for coming in self._coming)
        while due and known < _LOOK_AHEAD * self._bound and len(self._coming) < _MOST_AHEAD:
            if not self._look_ahead(len(self._coming) + 1):
                break
            known += self._coming[-1].size
        not_due = list(self._coming)[self._due :]
        room = self._bound - self._due_room() - sum(coming.held for coming in not_due)
        later = (piece for coming in not_due if coming.fetcher is fetcher for piece in coming.missing())
        chosen = gather(due, later, min(room, self._bound - self.buffered_bytes)) if due else []
        self.buffered_bytes += sum(piece.length for piece in chosen)
        return [coming.begin(position, self._buffers) for coming, position in (piece.purpose for piece in chosen)]

    def _fetcher_of(self, dataset: Dataset) -> Fetcher:
        location = dataset.location
        with self._closing:
            if self._closed.is_set():
                raise StoreError("the reader was closed")
            fetcher = self._fetchers.get(location.root)
            if fetcher is None:
                fetcher = self._fetchers[location.root] = Fetcher(location, self._config)
            return fetcher


def _fetch(closed: threading.Event, job: _Job) -> None:
    fetcher, group = job
    errors: list[BaseException | None]
    try:
        # Those that wait in the queue when the reader is closed still need an answer, for somebody may wait.
        errors = [StoreError("the reader was closed")] * len(group) if closed.is_set() else fetcher.fetch(group)
    except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to who waits for these)
        errors = [error] * len(group)
    for piece, problem in zip(group, errors, strict=True):
        piece.purpose.answers.put((piece.purpose.row, problem))


def _is_near(job: _Job) -> bool:
    return all(piece.purpose.near for piece in job[1])
