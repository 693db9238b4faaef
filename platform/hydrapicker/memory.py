"""How a long-lived process treats memory that it no longer needs."""

import ctypes

__all__ = ["give_back_large_buffers"]

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 2**20


def give_back_large_buffers() -> None:
    """Have the C library return large buffers to the system when they are freed, where it is glibc.

    By itself it keeps what is freed below a limit that grows to 32 MiB, in several threads' heaps: of a micrograph's
    passing buffers that is some 150 MB that nobody uses. Holds for the whole process from now on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
