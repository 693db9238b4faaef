"""Reading minibatches ahead of use: many ranges at once, within a bound of bytes, delivered in order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.store.layout import PIXEL
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.buffers import Buffers, aligned
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.crew import Crew
from hydrapicker.streaming.fetch import Answers, Fetcher, Group, Wanted
from hydrapicker.streaming.places import places_of
from hydrapicker.streaming.plan import Minibatch

__all__ = ["MinibatchReader"]

_NEAR_THREADS = 1
"""Threads that read a local disk: more would only wait for each other, and who waits for a minibatch helps."""
_LOCAL_BYTES = 8_000_000
"""What is held of a local disk, which needs no more: so it stays in the processor's cache until it is used."""
_LOCAL_BUFFERS = Buffers(2 * _LOCAL_BYTES)
"""Kept from epoch to epoch: getting new memory takes as long as reading a disk's files into it."""


_Job = tuple[Fetcher, Group]


@dataclass(frozen=True, eq=False, slots=True)
class _Ahead:
    """A minibatch under way."""

    minibatch: Minibatch
    images: tuple[NDArray[np.float16], ...]
    size: int
    near: bool
    answers: Answers


class MinibatchReader(Iterator[tuple[NDArray[np.float16], ...]]):
    """Yields the stored images of minibatches, in order, fetched ahead on threads of its own.

    Every image is float16 (height, width); those of a minibatch share one buffer, which is used again only when
    nobody holds any of them. At most ``buffer_megabytes`` are held of minibatches that are on their way or not yet
    taken, but always one minibatch. Use it from one thread; :meth:`close` may be called from any, and more than once.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        By the names in the minibatches.
    minibatches : iterable of Minibatch
        What to read, in order; asked for as there is room.
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
        self._bound = self._room = int(self._config.buffer_megabytes * 1e6)
        local = all(dataset.location.local_folder is not None for dataset in datasets.values())
        self._buffers = _LOCAL_BUFFERS if local else Buffers(self._bound)
        self._waiting = iter(minibatches)
        self._next = next(self._waiting, None)
        self._ahead: deque[_Ahead] = deque()
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
            if self._closed.is_set() or not self._ahead:
                raise StopIteration
            first = self._ahead[0]
            if first.near:
                self._near.help_until(lambda: first.answers.qsize() >= len(first.images))
            answers = [first.answers.get() for _ in first.images]
            failed = {row: error for row, error in answers if error is not None}
            if failed:
                raise failed[min(failed, key=first.minibatch.rows.index)]
            self._ahead.popleft()
            self.buffered_bytes -= first.size
            self._read_ahead()
            return first.images
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
        if self._ahead and self.buffered_bytes > self._room // 2:
            return
        window: dict[Fetcher, list[Wanted]] = {}
        while self._next is not None and not self._closed.is_set():
            dataset = self._datasets[self._next.dataset]
            places, fetcher = places_of(dataset), self._fetcher_of(dataset)
            shapes = [places.shape(row) for row in self._next.rows]
            size = PIXEL.itemsize * sum(height * width for height, width in shapes)
            near = [fetcher.near(dataset, row) for row in self._next.rows]
            all_near = all(near) and all(ahead.near for ahead in self._ahead)
            self._room = min(self._bound, _LOCAL_BYTES) if all_near else self._bound
            if self._ahead and self.buffered_bytes + size > self._room:
                break
            window.setdefault(fetcher, []).extend(self._begin(self._next, shapes, size, near))
            self._next = next(self._waiting, None)
        jobs = [(fetcher, group) for fetcher, needed in window.items() for group in fetcher.group(needed)]
        self._near.give(job for job in jobs if _is_near(job))
        self._far.give(job for job in jobs if not _is_near(job))

    def _begin(self, minibatch: Minibatch, shapes: list[tuple[int, int]], size: int, near: list[bool]) -> list[Wanted]:
        """Make room for a minibatch's images, and say what is to be fetched into it."""
        dataset, answers = self._datasets[minibatch.dataset], Answers()
        places, lengths = places_of(dataset), [PIXEL.itemsize * height * width for height, width in shapes]
        memory = self._buffers.take(sum(map(aligned, lengths)))
        pixels, content = memory.view(PIXEL), memory.data
        images, wanted, start = [], [], 0
        for row, shape, length, is_near in zip(minibatch.rows, shapes, lengths, near, strict=True):
            first = start // PIXEL.itemsize
            images.append(pixels[first : first + shape[0] * shape[1]].reshape(shape))
            wanted.append(Wanted(dataset, places, row, content[start : start + length], is_near, answers))
            start += aligned(length)
        self._ahead.append(_Ahead(minibatch, tuple(images), size, all(near), answers))
        self.buffered_bytes += size
        return wanted

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
