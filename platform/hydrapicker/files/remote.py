"""Files at URLs such as ``s3://bucket/mics/a.mrc``: listed, and brought here for as long as they are looked at.

All bytes come through :class:`~hydrapicker.storage.location.Location`, with its retries and its errors.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fsspec.utils import glob_translate

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import FileEntry, Location

__all__ = ["Listings", "RemoteFile", "at_hand", "brought_here", "find_remote", "is_one_file", "is_url"]

_CHUNK_BYTES = 16 * 2**20
_MAGIC = re.compile(r"[*?\[]")
_GIVEN_BY = "the URL"

Listings = dict[tuple[str, bool], tuple[FileEntry, ...]]
"""What was found in folders, and whether those in it were gone through as well: nothing is listed twice."""


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A file at a URL; stands where a :class:`~pathlib.Path` stands for a local one.

    Attributes:
        url: Where it lies.
        bytes: Its size when it was found.
        modified: When it was written last, ISO 8601.
    """

    url: str
    bytes: int = field(compare=False)
    modified: str = field(compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The URL without its last part."""
        return self.url.rpartition("/")[0]

    @property
    def parts(self) -> tuple[str, ...]:
        """Protocol, bucket, folders and name."""
        return tuple(part for part in self.url.split("/") if part)

    def absolute(self) -> "RemoteFile":
        """Return the file itself: a URL is absolute."""
        return self


def is_url(address: object) -> bool:
    """Whether this is a URL and not a local path."""
    return "://" in str(address)


def is_one_file(url: str, suffixes: Sequence[str]) -> bool:
    """Whether a URL means one file and nothing else, so that it is looked up and nothing is listed."""
    return not _MAGIC.search(url) and url.lower().endswith(tuple(suffixes))


def find_remote(pattern: str, suffixes: Sequence[str], listings: Listings | None = None) -> tuple[RemoteFile, ...]:
    """List the files that a URL means, sorted: one file, those directly inside a folder, or a glob's.

    Parameters
    ----------
    pattern : str
        A URL; ``*``, ``?`` and ``[...]`` match within a folder's or file's name, ``**`` descends.
    suffixes : sequence of str
        What the names of files end with, in lower case; others and hidden files are left out.
    listings : Listings, optional
        What earlier calls listed; this one adds to it.

    Raises
    ------
    StoreError
        When the place does not answer, is not there or is not open to us.
    """
    if is_one_file(pattern, suffixes):
        folder, _, name = pattern.rpartition("/")
        found = Location(folder, given_by=_GIVEN_BY).file(name)
        return () if found is None else (_remote_file(folder, found),)
    protocol, _, rest = pattern.rstrip("/").partition("://")
    parts = rest.split("/")
    if not (_MAGIC.search(parts[-1]) or parts[-1].lower().endswith(tuple(suffixes))):
        parts.append("*")
    fixed = next((number for number, part in enumerate(parts[:-1]) if _MAGIC.search(part)), len(parts) - 1)
    folder = f"{protocol}://{'/'.join(parts[:fixed])}"
    wanted = re.compile(glob_translate("/".join(parts[fixed:])))
    below = fixed < len(parts) - 1
    listings = {} if listings is None else listings
    if (folder, below) not in listings:
        listings[folder, below] = Location(folder, given_by=_GIVEN_BY).files(below=below)
    return tuple(
        sorted(
            _remote_file(folder, entry)
            for entry in listings[folder, below]
            if wanted.match(entry.path) and _is_meant(entry.path.rpartition("/")[2], suffixes)
        )
    )


@contextmanager
def at_hand(file: Path | RemoteFile) -> Iterator[Path]:
    """Give a file as a local path: itself, or a copy that is gone at the end.

    What :class:`~hydrapicker.errors.InvalidInputError` within the block says of the copy it says of the URL.

    Raises
    ------
    StoreError
        When the file cannot be fetched.
    """
    if isinstance(file, Path):
        yield file
        return
    with brought_here([file]) as folder:
        yield folder / file.name


@contextmanager
def brought_here(files: Sequence[RemoteFile], at_most: int | None = None) -> Iterator[Path]:
    """Copy files into one local folder that is gone at the end, and give that folder.

    Parameters
    ----------
    files : sequence of RemoteFile
        Their names must differ.
    at_most : int, optional
        Fetch only this many bytes of each; the copy is of full length, and zero from there on.

    Raises
    ------
    InvalidInputError
        When two files have one name; and whatever the block raises, with URLs in place of the copies' paths.
    StoreError
        When a file cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as temporary:
        folder = Path(temporary)
        for file in files:
            local = folder / file.name
            if local.exists():
                raise InvalidInputError(f"{file}: another file given has the same name; give one of them")
            _fetch(file, local, file.bytes if at_most is None else min(file.bytes, at_most))
        try:
            yield folder
        except InvalidInputError as error:
            raise type(error)(str(error).replace(temporary, files[0].folder)) from error


def _fetch(file: RemoteFile, local: Path, count: int) -> None:
    location = Location(file.folder, given_by=_GIVEN_BY)
    with local.open("wb") as copy:
        for start in range(0, count, _CHUNK_BYTES):
            copy.write(location.read_range(file.name, start, min(_CHUNK_BYTES, count - start)))
        if count < file.bytes:
            copy.truncate(file.bytes)  # a hole: takes no room


def _remote_file(folder: str, entry: FileEntry) -> RemoteFile:
    # Whole seconds: all that the answer about one object tells, where a listing may say more.
    return RemoteFile(f"{folder}/{entry.path}", entry.bytes, entry.modified.replace(microsecond=0).isoformat())


def _is_meant(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
