"""Where a store lies: a folder in any fsspec filesystem, local, S3 or memory.

All reading and writing of the store goes through :class:`Location`, so that what may pass is tried again, every
other failure becomes one clear line, and nothing is ever half-written.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hydrapicker.errors import StoreChangedError, StoreError
from hydrapicker.storage.backend import UNFINISHED, Backend, FileEntry, Upload, Writer
from hydrapicker.storage.disk import DiskBackend
from hydrapicker.storage.faults import GIVEN_BY, Fault, as_store_error, fault_of, without_secrets
from hydrapicker.storage.others import OtherBackend
from hydrapicker.storage.retry import RetryBudget, retried
from hydrapicker.storage.s3 import S3Backend

__all__ = [
    "DEFAULT_STORE", "UNFINISHED", "FileEntry", "Location", "Upload", "Writer", "default_store", "from_any_folder",
]  # fmt: skip

DEFAULT_STORE = "./hydrapicker-data/datasets"

T = TypeVar("T")


def default_store() -> str:
    """Say where datasets live: ``HYDRAPICKER_STORE`` (a folder or fsspec URL), or ``./hydrapicker-data/datasets``."""
    return os.environ.get("HYDRAPICKER_STORE") or DEFAULT_STORE


def from_any_folder(root: str | None) -> str:
    """Name a store (None: the default one) so that processes in other working folders find it."""
    root = root or default_store()
    # As fsspec does it, so that this is the very folder that a Location of the name as it is typed stands for.
    return root if "://" in root else str(Path(os.path.expanduser(root)).absolute())  # noqa: PTH111


class Location:
    """A folder of files at any fsspec URL.

    Paths are relative to the root, with forward slashes. What may pass (a server that is busy, a connection that
    breaks, an answer that does not come) is tried again within the budget. All other errors come out as
    :class:`~hydrapicker.errors.StoreError` with one line that names the file and says what to do, among them
    :class:`~hydrapicker.errors.StoreAccessError` where the place is missing or not open to us. It may be used by many
    threads and by forked processes, and pickled: it then stands for the same folder in any working folder.

    Parameters
    ----------
    root : str
        A folder or an fsspec URL, such as ``data/datasets`` or ``s3://bucket/prefix``. S3 credentials and endpoint
        are those of the usual AWS variables and configuration.
    retry : RetryBudget, optional
        For how long one operation is tried again.
    given_by : str, optional
        How the user says where this is; errors tell to check it.

    Raises
    ------
    StoreError
        When no files can be kept at such a place, or it does not open.
    """

    def __init__(self, root: str, retry: RetryBudget = RetryBudget(), given_by: str = GIVEN_BY) -> None:  # noqa: B008 (it is frozen)
        self.root = root
        self.retry = retry
        self._given_by = given_by
        self._base, self._backend = _find(root, given_by)

    def __repr__(self) -> str:
        return f"Location({self.url()!r})"

    def __reduce__(self) -> tuple[type["Location"], tuple[str, RetryBudget, str]]:
        return Location, (str(self.local_folder or self.root), self.retry, self._given_by)

    @property
    def local_folder(self) -> Path | None:
        """The root as a folder; None when it is not on a disk of this machine."""
        return Path(self._base or "/") if isinstance(self._backend, DiskBackend) else None

    @property
    def bucket_and_prefix(self) -> tuple[str, str] | None:
        """The root as a bucket and the keys' prefix without slashes at its ends; None when it is not on S3."""
        if not isinstance(self._backend, S3Backend):
            return None
        bucket, _, prefix = self._base.partition("/")
        return bucket, prefix

    def url(self, path: str = "") -> str:
        """Name a file, or the place itself, as a user would type it, but for passwords."""
        return without_secrets(f"{self.root.rstrip('/')}/{path}" if path else self.root)

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        full = self._full(path)
        return self._do("read", path, lambda: self._backend.read(full))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``; fewer come back where the file ends earlier."""
        full = self._full(path)
        return self._do("read", path, lambda: self._backend.read_range(full, offset, length))

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        """Read a whole file, with a tag for :meth:`write_if_unchanged`; None when there is no such file."""
        full = self._full(path)
        return self._do("read", path, lambda: self._backend.read_tagged(full))

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file, or nothing: a reader never sees a part of it."""
        full = self._full(path)
        self._do("write", path, lambda: self._backend.write(full, content))

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None) -> None:
        """Write a whole file if nobody has written it since it was read; of several who try at once one succeeds.

        A file that holds this very content already counts as written, as the answer to a write may be lost on its
        way: so who must know that it was them writes something of their own, such as a random name.
        On a disk this rests on file locks, which network filesystems pass on unless they are mounted without them.

        Parameters
        ----------
        path : str
            The file.
        content : bytes
            Its new content.
        tag : str or None
            What :meth:`read_tagged` gave with the content that may be replaced; None if there must be no such file.

        Raises
        ------
        StoreChangedError
            When there is another content, or one at all; nothing was replaced.
        StoreError
            When it cannot be written, or the filesystem has no such condition (all but disks, memory and S3).
        """
        full = self._full(path)
        with self._reported("write", path):
            self._backend.write_if_unchanged(full, content, tag, self.retry)

    @contextmanager
    def writer(self, path: str) -> Iterator[Writer]:
        """Write a file of any size piece by piece, in bounded memory.

        Yields
        ------
        Writer
            Takes the pieces. The file appears, whole, when the block ends; when it raises, nothing of it is left.
        """
        full = self._full(path)
        target = self._do("write", path, lambda: self._backend.writer(full, self.retry))
        try:
            yield _ReportingWriter(target, lambda: self._reported("write", path))
        except BaseException:
            target.abandon()
            raise
        with self._reported("write", path):
            target.finish()

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        full = self._full(path)
        return self._do("look for", path, lambda: self._backend.exists(full))

    def size(self, path: str) -> int | None:
        """Tell a file's size in bytes, or None when it is not there."""
        full = self._full(path)
        return self._do("look for", path, lambda: self._backend.size(full))

    def names(self, path: str = "") -> tuple[str, ...]:
        """List the names of the files and folders in a folder, sorted; empty when there is no such folder."""
        full = self._full(path)
        return self._do("list", path, lambda: tuple(sorted(_unless_absent(lambda: self._backend.names(full)) or ())))

    def file(self, path: str) -> FileEntry | None:
        """Look one file up: its size and when it was last written; None when it is not there."""
        full = self._full(path)
        found = self._do("look for", path, lambda: self._backend.file(full))
        return None if found is None else replace(found, path=path)

    def files(self, path: str = "", *, below: bool = True) -> tuple[FileEntry, ...]:
        """List the files in a folder and (``below``) in those in it, sorted by path; empty without a folder."""
        full = self._full(path)
        found = self._do("list", path, lambda: _unless_absent(lambda: self._backend.files(full, below)) or ())
        entries = (replace(entry, path=posixpath.join(path, entry.path)) for entry in found)
        return tuple(sorted(entries, key=lambda entry: entry.path))

    def unfinished_uploads(self, path: str = "") -> tuple[Upload, ...]:
        """List the multipart uploads below a folder that were neither completed nor aborted (S3 only)."""
        full = self._full(path)
        found = self._do("list uploads to", path, lambda: self._backend.unfinished_uploads(full))
        uploads = (replace(upload, path=posixpath.join(path, upload.path)) for upload in found)
        return tuple(sorted(uploads, key=lambda upload: (upload.path, upload.started)))

    def abort_upload(self, upload: Upload) -> None:
        """Throw away what an unfinished upload has left; nothing happens when it is gone."""
        full = self._full(upload.path)
        self._do("remove", upload.path, lambda: _unless_absent(lambda: self._backend.abort_upload(full, upload.id)))

    def remove(self, path: str) -> None:
        """Remove a file, or a folder and all that is in it; nothing happens when it is not there."""
        assert path, "the root itself is never removed"
        full = self._full(path)
        self._do("remove", path, lambda: _unless_absent(lambda: self._backend.remove(full)))

    def remove_empty_folder(self, path: str) -> None:
        """Remove a folder if nothing is left in it (object stores have no folders)."""
        if isinstance(self._backend, DiskBackend):
            with suppress(OSError):
                Path(self._full(path)).rmdir()

    def _full(self, path: str) -> str:
        relative = posixpath.normpath(path) if path else ""
        if relative.startswith(("..", "/")):
            # An index comes from outside; it must not make us read or write anywhere else.
            raise StoreError(
                f"{self.url()}: refusing {path!r}, which lies outside the store; "
                "the index that names it is not to be trusted"
            )
        return f"{self._base}/{relative}" if relative else self._base

    def _do(self, doing: str, path: str, operation: Callable[[], T]) -> T:
        with self._reported(doing, path):
            return retried(operation, self.retry)

    @contextmanager
    def _reported(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except StoreChangedError as error:
            raise as_store_error(error, doing, self.url(path), self._given_by) from error
        except StoreError:
            raise
        except Exception as error:
            if type(error).__module__ == "builtins" and not isinstance(error, OSError):
                raise  # a mistake of ours, not of the store
            raise as_store_error(error, doing, self.url(path), self._given_by) from error


class _ReportingWriter:
    """A writer whose failures name the file."""

    def __init__(self, target: Writer, reported: Callable[[], AbstractContextManager[None]]) -> None:
        self._target, self._reported = target, reported

    def write(self, content: bytes | bytearray | memoryview) -> None:
        with self._reported():
            self._target.write(content)


def _find(root: str, given_by: str) -> tuple[str, Backend]:
    """Give the root as the backend names it, without a slash at its end, and the backend."""
    shown = without_secrets(root)
    protocol, _, rest = root.partition("://")
    if protocol in ("s3", "s3a"):
        bucket = rest.strip("/").partition("/")[0]
        if re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
            return rest.strip("/"), S3Backend(bucket)
        if shown != root:
            raise StoreError(f"{shown}: give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the URL")
        raise StoreError(f"{shown}: {bucket!r} cannot be a bucket; give s3://bucket or s3://bucket/prefix")
    try:
        filesystem, base = fsspec.core.url_to_fs(root)
    except OSError as error:  # some connect, or open a file, at once
        raise as_store_error(error, "open", shown, given_by) from error
    except Exception as error:
        reason = " ".join(without_secrets(str(error)).split())
        raise StoreError(
            f"{shown}: no place for files that can be used ({reason}); give a folder or a URL such as s3://bucket/prefix"
        ) from error
    local = isinstance(filesystem, LocalFileSystem)
    return base.rstrip("/"), DiskBackend() if local else OtherBackend(filesystem)


def _unless_absent(operation: Callable[[], T]) -> T | None:
    try:
        return operation()
    except Exception as error:
        if fault_of(error) is Fault.ABSENT:
            return None
        raise
