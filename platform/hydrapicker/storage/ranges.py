"""What reading byte ranges of a store's files offers, whatever kind of place the store lies in."""

import posixpath
from typing import Protocol

from hydrapicker.errors import StoreError

__all__ = ["NotThereError", "RangeReader", "inside"]


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


def inside(path: str) -> str:
    """Refuse a path that leads out of the store: an index comes from outside, and may say anything."""
    relative = posixpath.normpath(path)
    if relative.startswith(("..", "/")):
        raise StoreError(
            f"refusing {path!r}, which lies outside the store; the index that names it is not to be trusted"
        )
    return relative
