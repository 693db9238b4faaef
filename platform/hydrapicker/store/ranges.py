"""Reading byte ranges of a store's files straight into memory that the caller provides, many at once.

A local folder is read by the operating system's ``preadv``, never mapped: a mapped file that is cut short under the
reader ends the process by SIGBUS. S3 is read by :mod:`hydrapicker.store.ranges_s3`; everything else, and S3 behind a
proxy or without credentials, through fsspec.
"""

import os
import posixpath
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from hydrapicker.errors import StoreError
from hydrapicker.store.faults import Fault, as_store_error, fault_of
from hydrapicker.store.location import Location
from hydrapicker.store.retry import RetryBudget

__all__ = ["NotThereError", "RangeReader", "range_reader"]

_OPEN_FILES = 128
_BUFFERS_PER_CALL = 512
_PIECE = 32 * 1024
_STAY_IN_PIECES = 64
"""Ranges that are read in pieces after one that was not in memory; others may only begin there."""


class NotThereError(StoreError):
    """A file is missing, or ends before the bytes that were asked for.

    Attributes:
        reason: Which of the two, in a few words.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot read {url}: {reason}; check --store or HYDRAPICKER_STORE")
        self.reason = reason


class RangeReader(Protocol):
    """Reads ranges of the files of one store. Safe to use from several threads."""

    def read_into(self, path: str, offset: int, *buffers: memoryview) -> None:
        """Fill the buffers one after the other with a file's bytes from ``offset``.

        Raises
        ------
        NotThereError
            When the file is missing or too short.
        StoreError
            When it cannot be read, for S3 after the retries that the location allows.
        """

    def close(self) -> None:
        """Let go of files and connections; reads under way in other threads end, with an error."""


def range_reader(location: Location, connections: int, retry: RetryBudget | None = None) -> RangeReader:
    """Make the fastest reader there is for a store.

    Parameters
    ----------
    location : Location
        The store.
    connections : int
        Threads that will read at once.
    retry : RetryBudget, optional
        How long requests to S3 are tried again; by default as the location has it.

    Raises
    ------
    StoreAccessError
        When no credentials can be had for S3.
    """
    if location.local_folder is not None:
        return _LocalRanges(location.local_folder)
    if location.bucket_and_prefix is not None:
        from hydrapicker.store.ranges_s3 import s3_ranges

        direct = s3_ranges(location, connections, retry or location.retry)
        if direct is not None:
            return direct
    return _AnyRanges(location)


def inside(path: str) -> str:
    """Refuse a path that leads out of the store: an index comes from outside, and may say anything."""
    relative = posixpath.normpath(path)
    if relative.startswith(("..", "/")):
        raise StoreError(
            f"refusing {path!r}, which lies outside the store; the index that names it is not to be trusted"
        )
    return relative


class _Descriptor:
    """An open file that closes itself when the last thread that reads it lets go of it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class _LocalRanges:
    """Reads a range at once where the operating system has it in memory, and otherwise in pieces.

    Pieces one after the other make it read ahead in large units. Advice (``posix_fadvise``) or one large read would
    make it keep single pages, which were measured to come more slowly from the disk, and from memory ever after.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # One for each thread, as the operating system watches for every open file whether it is read in order.
        self._opened = lru_cache(_OPEN_FILES)(lambda path, thread: _Descriptor(folder / inside(path)))
        self._in_pieces = 0

    def read_into(self, path: str, offset: int, *buffers: memoryview) -> None:
        try:
            file = self._opened(path, threading.get_ident())
            self._in_pieces = max(0, self._in_pieces - 1) if _in_memory(file.number, offset) else _STAY_IN_PIECES
            left = [buffer for buffer in buffers if buffer]
            while left:
                now = [left[0][:_PIECE]] if self._in_pieces else left[:_BUFFERS_PER_CALL]
                count = os.preadv(file.number, now, offset)
                if count == 0:
                    raise NotThereError(str(self._folder / path), f"the file ends at byte {offset}")
                left, offset = _rest(left, count), offset + count
        except StoreError:
            raise
        except FileNotFoundError as error:
            raise NotThereError(str(self._folder / path), "no such file") from error
        except OSError as error:
            raise as_store_error(error, "read", str(self._folder / path)) from error

    def close(self) -> None:
        self._opened.cache_clear()


def _in_memory(descriptor: int, offset: int) -> bool:
    """Tell whether a byte can be read without waiting for a disk; yes where the operating system cannot tell."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    except (AttributeError, OSError):  # not on this filesystem, or not on macOS
        return True


def _rest(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """Drop the first ``count`` bytes of the buffers."""
    for number, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[number + 1 :]]
        count -= len(buffer)
    return []


class _AnyRanges:
    """Through fsspec, with one copy more."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def read_into(self, path: str, offset: int, *buffers: memoryview) -> None:
        length = sum(map(len, buffers))
        try:
            content = memoryview(self._location.read_range(path, offset, length))
        except StoreError as error:
            if fault_of(error) is Fault.ABSENT:
                raise NotThereError(self._location.url(path), "no such file") from error
            raise
        if len(content) != length:
            raise NotThereError(self._location.url(path), f"the file ends at byte {offset + len(content)}")
        for buffer in buffers:
            buffer[:], content = content[: len(buffer)], content[len(buffer) :]

    def close(self) -> None:
        pass
