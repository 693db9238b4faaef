"""Reading what can be checked: again where it arrives damaged, as a bit may have flipped on the way."""

from collections.abc import Callable
from typing import TypeVar

import xxhash

from hydrapicker.storage.location import Location
from hydrapicker.store.rows import Row

__all__ = ["DamagedError", "read_pixels", "until_intact"]

_READS = 3
"""A bit that flipped on the way heals, one in the file does not."""

T = TypeVar("T")


class DamagedError(Exception):
    """What arrived is not what was written; the message says what gave it away."""


def until_intact(read: Callable[[], T]) -> T:
    """Read, up to three times while what arrives is damaged.

    Raises
    ------
    DamagedError
        Of the last time; any other error passes at once.
    """
    for _ in range(_READS - 1):
        try:
            return read()
        except DamagedError:
            pass
    return read()


def read_pixels(location: Location, path: str, row: Row) -> bytes:
    """Read a micrograph's bytes in the shard at ``path``, and check them.

    Raises
    ------
    DamagedError
        When they are not those that were ingested, however often they are read.
    StoreError
        When they cannot be read.
    """

    def read() -> bytes:
        content = location.read_range(path, row.offset, row.length)
        if xxhash.xxh3_128_hexdigest(content) != row.checksum:
            found = "" if len(content) == row.length else f"{len(content)} of {row.length} bytes, "
            raise DamagedError(f"{found}the checksum does not match")
        return content

    return until_intact(read)
