"""Files of a store in a folder of this machine, or one that it has mounted."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from hydrapicker.errors import StoreChangedError
from hydrapicker.storage.backend import LOCK, UNFINISHED, Backend, FileEntry, Upload
from hydrapicker.storage.retry import RetryBudget

__all__ = ["DiskBackend", "DiskWriter", "replace_if_unchanged", "tag_of"]


def tag_of(content: bytes) -> str:
    """Tag a content where the filesystem has no tags of its own."""
    return hashlib.sha256(content).hexdigest()


def replace_if_unchanged(backend: Backend, path: str, content: bytes, tag: str | None) -> None:
    """Do a conditional write while nobody else does one."""
    there = backend.read_tagged(path)
    if tag == (there and there[1]):
        backend.write(path, content)
    elif there is None or there[0] != content:
        raise StoreChangedError(path)


class DiskBackend:
    """Files by their absolute paths; see :class:`~hydrapicker.storage.backend.Backend`."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        try:
            content = self.read(path)
        except (FileNotFoundError, NotADirectoryError):  # the second where a file has the name of its folder
            return None
        return content, tag_of(content)

    def write(self, path: str, content: bytes) -> None:
        writer = DiskWriter(Path(path))
        try:
            writer.write(content)
        except BaseException:
            writer.abandon()
            raise
        writer.finish()

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None, budget: RetryBudget) -> None:
        with _locked(Path(path)):
            replace_if_unchanged(self, path, content, tag)

    def writer(self, path: str, budget: RetryBudget) -> "DiskWriter":
        return DiskWriter(Path(path))

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def size(self, path: str) -> int | None:
        found = self.file(path)
        return None if found is None else found.bytes

    def file(self, path: str) -> FileEntry | None:
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileEntry("", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def names(self, path: str) -> list[str]:
        return [entry.name for entry in Path(path).iterdir() if not _is_lock(entry.name)]

    def files(self, path: str, below: bool = True) -> list[FileEntry]:
        return list(_files_in(path, below))

    def remove(self, path: str) -> None:
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        else:
            Path(path).unlink()

    def unfinished_uploads(self, path: str) -> list[Upload]:
        return []

    def abort_upload(self, path: str, upload_id: str) -> None:
        raise AssertionError("a disk has no uploads")


class DiskWriter:
    """A file under a hidden name in the same folder, which gets its real name when it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
        self._file = self._temporary.open("wb")

    def write(self, content: bytes | bytearray | memoryview) -> None:
        self._file.write(content)

    def finish(self) -> None:
        try:
            with self._file as file:
                file.flush()
                os.fsync(file.fileno())
            self._temporary.replace(self._path)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()  # writes what is buffered, which a full disk refuses
        with suppress(OSError):
            self._temporary.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other conditional writers of a file out, on this machine and (where the mount passes locks on) on others.

    The lock file stays: to remove it safely while others wait for it is more than an NFS client's cache allows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}{LOCK}").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, also by the end of the process
        yield


def _is_lock(name: str) -> bool:
    return name.startswith(".") and name.endswith(LOCK)


def _files_in(root: str, below: bool) -> Iterator[FileEntry]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            with suppress(FileNotFoundError):  # somebody else may be cleaning
                if not _is_lock(name):
                    status = path.stat()
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    yield FileEntry(path.relative_to(root).as_posix(), status.st_size, modified)
        if not below:
            return
