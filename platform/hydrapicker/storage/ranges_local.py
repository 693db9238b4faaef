"""Reading ranges of a local folder's files by the operating system's ``preadv``.

Never mapped: a mapped file that is cut short under the reader ends the process by SIGBUS.
"""

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hydrapicker.errors import StoreError
from hydrapicker.storage.faults import as_store_error
from hydrapicker.storage.ranges import NotThereError, inside

__all__ = ["LocalRanges", "in_memory"]

_OPEN_FILES = 128
_BUFFERS_PER_CALL = 512
_PIECE = 32 * 1024
_STAY_IN_PIECES = 64
"""Ranges that are read in pieces after one that was not in memory; others may only begin there."""


class _Descriptor:
    """An open file that closes itself when the last thread that reads it lets go of it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


_PROBE = [bytearray(1)]
"""Where a byte goes that nobody reads."""


class LocalRanges:
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
            self._in_pieces = max(0, self._in_pieces - 1) if in_memory(file.number, offset) else _STAY_IN_PIECES
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


def in_memory(descriptor: int, offset: int) -> bool:
    """Tell whether a byte can be read without waiting for a disk; yes where the operating system cannot tell."""
    try:
        return os.preadv(descriptor, _PROBE, offset, os.RWF_NOWAIT) == 1
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
