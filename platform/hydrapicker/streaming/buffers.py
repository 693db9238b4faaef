"""Memory that is used again: on a local disk, new memory costs more than the reading itself."""

import sys
import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "Buffers", "aligned"]

ALIGNMENT = 4096
"""Bytes. What lies in pages is copied from pages to pages up to half as fast again as to any other place."""
_LARGER = 1.5
"""A buffer may be so many times as large as what is asked for."""


class Buffers:
    """Byte arrays that are handed out again once nobody holds them, or any view of them.

    Safe to use from several threads.

    Parameters
    ----------
    bound_bytes : int
        Bytes that are kept for being used again, together with those in use.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound = bound_bytes
        self._kept: list[NDArray[np.uint8]] = []
        self._taking = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Hand out ``size`` bytes of any content, the first at a multiple of ``ALIGNMENT``."""
        with self._taking:
            return self._take(size)

    def _take(self, size: int) -> NDArray[np.uint8]:
        kept, whole = self._kept, size + ALIGNMENT
        for number in reversed(range(len(kept))):  # the last one used may still be in the processor's cache
            if whole <= kept[number].nbytes <= whole * _LARGER and _is_free(kept, number):
                kept.append(kept.pop(number))
                return _from_aligned(kept[-1], size)
        for number in reversed(range(len(kept))):  # none of the free ones serves, so they make room
            if sum(memory.nbytes for memory in kept) + whole <= self._bound:
                break
            if _is_free(kept, number):
                del kept[number]
        kept.append(np.empty(whole, np.uint8))
        return _from_aligned(kept[-1], size)


def aligned(size: int) -> int:
    """Round up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _from_aligned(memory: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size]


def _references(kept: list[NDArray[np.uint8]], number: int) -> int:
    return sys.getrefcount(kept[number])


_OF_A_FREE_ONE = _references([np.empty(0, np.uint8)], 0)
"""Counted, for it differs between versions of Python. A view of an array holds that array itself, or a view of it."""


def _is_free(kept: list[NDArray[np.uint8]], number: int) -> bool:
    return _references(kept, number) == _OF_A_FREE_ONE
