"""Memory that is used again: on a local disk, new memory costs more than the reading itself."""

import threading
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "Buffers", "aligned"]

ALIGNMENT = 4096
"""Bytes. What lies in pages is copied from pages to pages up to half as fast again as to any other place."""
_LARGER = 1.5
"""A buffer may be so many times as large as what is asked for."""
_LOOKED_AT = 64
"""So many free buffers are looked at for one that fits, where their sizes differ."""


class Buffers:
    """Byte arrays that are handed out again once nobody holds them, or any view of them.

    Safe to use from several threads.

    Parameters
    ----------
    bound_bytes : int
        Bytes that are kept for being used again, together with those in use.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound, self._kept_bytes = bound_bytes, 0
        self._free = deque[memoryview]()
        self._lent = dict[int, weakref.ref[NDArray[np.uint8]]]()
        self._taking = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Hand out ``size`` bytes of any content, the first at a multiple of ``ALIGNMENT``."""
        with self._taking:
            memory, free = self._fitting(size + ALIGNMENT), self._free
            # Every view of this array holds it, as what it lies in is none; and so its end is that of the last view.
            whole = np.frombuffer(memory, np.uint8)
            self._lent[id(memory)] = weakref.ref(whole, lambda _: free.append(memory))
            first = -whole.ctypes.data % ALIGNMENT
            return whole[first : first + size]

    def _fitting(self, size: int) -> memoryview:
        for _ in range(min(_LOOKED_AT, len(self._free))):
            memory = self._free.pop()  # the last one used may still be in the processor's cache
            if size <= len(memory) <= size * _LARGER:
                return memory
            self._free.appendleft(memory)
        while self._free and self._kept_bytes + size > self._bound:  # those that do not serve make room
            memory = self._free.popleft()
            del self._lent[id(memory)]
            self._kept_bytes -= len(memory)
        self._kept_bytes += size
        return np.empty(size, np.uint8).data


def aligned(size: int) -> int:
    """Round up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT
