"""What a kind of place (disk, S3, any other filesystem) must offer for a store to lie there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hydrapicker.storage.retry import RetryBudget

__all__ = ["LOCK", "UNFINISHED", "Backend", "FileEntry", "Upload", "Writer", "WriterInBackend"]

UNFINISHED = ".tmp"
"""How the names of files end that are being written; a reader never asks for them."""
LOCK = ".lock"
"""How the names of the hidden files end by which conditional writes on a disk exclude each other; never listed."""


@dataclass(frozen=True)
class FileEntry:
    """A file that is there.

    Attributes:
        path: Relative to the store's root.
        bytes: Its size.
        modified: When it was last written, in UTC.
    """

    path: str
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted; its parts cost money and cannot be read.

    Attributes:
        path: The file that it was to become, relative to the store's root.
        id: The server's name for it.
        started: When it began, in UTC.
    """

    path: str
    id: str
    started: datetime


class Writer(Protocol):
    """A file being written."""

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Append to the file."""


class WriterInBackend(Writer, Protocol):
    """A file being written, with its two ends."""

    def finish(self) -> None:
        """Let the file appear, whole; where that fails, nothing is left."""

    def abandon(self) -> None:
        """Leave nothing; never raises."""


class Backend(Protocol):
    """Files by their full paths. A failure is any exception that :mod:`hydrapicker.storage.faults` knows.

    Nothing is tried again in here, except where only the backend knows what a second attempt must look like: those
    methods take the budget.
    """

    def read(self, path: str) -> bytes:
        """Read a whole file."""

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``; fewer come back where the file ends earlier."""

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        """Read a whole file with a tag that changes with its content; None when there is no such file."""

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file, or nothing."""

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None, budget: RetryBudget) -> None:
        """Write a whole file if the one that is there has this tag (None: if there is none).

        Raises
        ------
        StoreChangedError
            When it has not, and its content is not this one either; nothing was replaced.
        """

    def writer(self, path: str, budget: RetryBudget) -> WriterInBackend:
        """Begin to write a file piece by piece."""

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""

    def size(self, path: str) -> int | None:
        """Tell a file's size in bytes, or None when it is not there."""

    def file(self, path: str) -> FileEntry | None:
        """Look one file up, with an empty path; None when it is not there."""

    def names(self, path: str) -> list[str]:
        """List the names in a folder; FileNotFoundError or nothing when there is no such folder."""

    def files(self, path: str, below: bool = True) -> list[FileEntry]:
        """List all files in a folder and, if ``below``, in the folders in it, with paths relative to it."""

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all that is in it; FileNotFoundError or nothing when it is not there."""

    def unfinished_uploads(self, path: str) -> list[Upload]:
        """List the uploads to files in a folder and the folders in it, with paths relative to it."""

    def abort_upload(self, path: str, upload_id: str) -> None:
        """Throw away what was uploaded so far."""
