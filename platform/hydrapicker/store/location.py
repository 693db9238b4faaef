"""Where a store lies: a folder in any fsspec filesystem, local, S3 or memory.

All reading and writing of the store goes through :class:`Location`, so that every failure becomes one clear line
and nothing is ever half-written.
"""

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hydrapicker.errors import StoreError

__all__ = ["DEFAULT_STORE", "UNFINISHED", "Location", "default_store", "from_any_folder"]

DEFAULT_STORE = "./hydrapicker-data/datasets"
UNFINISHED = ".tmp"
"""How the names of files end that are being written; a reader never asks for them."""


def default_store() -> str:
    """Say where datasets live: ``HYDRAPICKER_STORE`` (a folder or fsspec URL), or ``./hydrapicker-data/datasets``."""
    return os.environ.get("HYDRAPICKER_STORE") or DEFAULT_STORE


def from_any_folder(root: str | None) -> str:
    """Name a store (None: the default one) so that processes in other working folders find it."""
    root = root or default_store()
    return root if "://" in root else str(Path(root).absolute())


class Location:
    """A folder of files at any fsspec URL.

    Paths are relative to the root, with forward slashes. Errors of the filesystem come out as
    :class:`~hydrapicker.errors.StoreError` with one line that names the file.

    Parameters
    ----------
    root : str
        A folder or an fsspec URL, such as ``data/datasets`` or ``s3://bucket/prefix``.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        try:
            self._filesystem, base = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"{root}: not a place for a dataset store ({_one_line(error)}); give a folder or a URL such as s3://bucket/prefix"
            ) from error
        self._base = base.rstrip("/")
        self._local = isinstance(self._filesystem, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Location({self.root!r})"

    def url(self, path: str) -> str:
        """Name a file as a user would type it."""
        return f"{self.root.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        with self._reported("read", path):
            return bytes(self._filesystem.cat_file(self._full(path)))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``; fewer come back where the file ends earlier."""
        with self._reported("read", path):
            return bytes(self._filesystem.cat_file(self._full(path), start=offset, end=offset + length))

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file, or nothing: a reader never sees a part of it."""
        with self._reported("write", path):
            if self._local:
                _replace(Path(self._full(path)), content)
            else:
                self._filesystem.pipe_file(self._full(path), content)

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        with self._reported("look for", path):
            self._filesystem.invalidate_cache()
            return bool(self._filesystem.exists(self._full(path)))

    def size(self, path: str) -> int | None:
        """Tell a file's size in bytes, or None when it is not there."""
        with self._reported("look for", path):
            self._filesystem.invalidate_cache()
            try:
                return int(self._filesystem.info(self._full(path))["size"])
            except FileNotFoundError:
                return None

    def names(self, path: str = "") -> tuple[str, ...]:
        """List the names of the files and folders in a folder, sorted; empty when there is no such folder."""
        with self._reported("list", path):
            self._filesystem.invalidate_cache()
            try:
                found = self._filesystem.ls(self._full(path), detail=False)
            except FileNotFoundError:
                return ()
            return tuple(sorted(posixpath.basename(entry.rstrip("/")) for entry in found))

    def remove(self, path: str) -> None:
        """Remove a file, or a folder and all that is in it; nothing happens when it is not there."""
        assert path, "the root itself is never removed"
        with self._reported("remove", path), suppress(FileNotFoundError):
            self._filesystem.rm(self._full(path), recursive=True)

    def remove_empty_folder(self, path: str) -> None:
        """Remove a folder if nothing is left in it (object stores have no folders)."""
        if self._local:
            with suppress(OSError):
                Path(self._full(path)).rmdir()

    def _full(self, path: str) -> str:
        relative = posixpath.normpath(path) if path else ""
        if relative.startswith(("..", "/")):
            # An index comes from outside; it must not make us read or write anywhere else.
            raise StoreError(
                f"{self.root}: refusing {path!r}, which lies outside the store; "
                "the index that names it is not to be trusted"
            )
        return f"{self._base}/{relative}" if relative else self._base

    @contextmanager
    def _reported(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            remedy = (
                "make room or permission there, or choose another place with --store or HYDRAPICKER_STORE, "
                "then run the same command again"
                if doing in ("write", "remove")
                else "check --store or HYDRAPICKER_STORE"
            )
            raise StoreError(f"cannot {doing} {self.url(path)}: {_one_line(error)}; {remedy}") from error


def _one_line(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
