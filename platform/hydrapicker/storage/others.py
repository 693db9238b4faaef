"""Files of a store in this process's memory, or in any other filesystem that fsspec knows."""

import posixpath
import tempfile
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hydrapicker.errors import StoreError
from hydrapicker.storage.backend import FileEntry, Upload
from hydrapicker.storage.disk import replace_if_unchanged, tag_of
from hydrapicker.storage.faults import without_secrets
from hydrapicker.storage.retry import RetryBudget

__all__ = ["OtherBackend"]

_MEMORY_LOCK = threading.Lock()
"""For all of the memory, which is one for the whole process."""


class OtherBackend:
    """Files by their fsspec paths; see :class:`~hydrapicker.storage.backend.Backend`.

    Only the memory has conditional writes here: fsspec has no word for them that all filesystems know.
    """

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def read(self, path: str) -> bytes:
        return bytes(self._filesystem.cat_file(path))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self._filesystem.cat_file(path, start=offset, end=offset + length))

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        try:
            content = self.read(path)
        except FileNotFoundError:
            return None
        return content, tag_of(content)

    def write(self, path: str, content: bytes) -> None:
        self._filesystem.pipe_file(path, content)

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None, budget: RetryBudget) -> None:
        protocol = self._filesystem.protocol
        protocol = protocol if isinstance(protocol, str) else protocol[0]
        if protocol != "memory":
            where = without_secrets(path) if "://" in path else f"{protocol}://{path.lstrip('/')}"
            raise StoreError(
                f"{where}: this kind of place cannot refuse to replace what somebody else has "
                "just written, so datasets can be read from there but not made; make them in a folder or at s3://"
            )
        with _MEMORY_LOCK:
            replace_if_unchanged(self, path, content, tag)

    def writer(self, path: str, budget: RetryBudget) -> "_Spooled":
        return _Spooled(self._filesystem, path)

    def exists(self, path: str) -> bool:
        self._filesystem.invalidate_cache()
        return bool(self._filesystem.exists(path))

    def size(self, path: str) -> int | None:
        self._filesystem.invalidate_cache()
        try:
            return int(self._filesystem.info(path)["size"])
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        self._filesystem.invalidate_cache()
        return [posixpath.basename(entry.rstrip("/")) for entry in self._filesystem.ls(path, detail=False)]

    def file(self, path: str) -> FileEntry | None:
        self._filesystem.invalidate_cache()
        try:
            return FileEntry("", int(self._filesystem.info(path)["size"]), self._modified(path))
        except FileNotFoundError:
            return None

    def files(self, path: str, below: bool = True) -> list[FileEntry]:
        self._filesystem.invalidate_cache()
        found = []
        for name, entry in self._filesystem.find(path, None if below else 1, detail=True).items():
            with suppress(FileNotFoundError):  # somebody else may be cleaning
                found.append(FileEntry(posixpath.relpath(name, path), int(entry["size"]), self._modified(name)))
        return found

    def _modified(self, path: str) -> datetime:
        modified: datetime = self._filesystem.modified(path)
        return modified.astimezone(UTC) if modified.tzinfo else modified.replace(tzinfo=UTC)

    def remove(self, path: str) -> None:
        self._filesystem.rm(path, recursive=True)

    def unfinished_uploads(self, path: str) -> list[Upload]:
        return []

    def abort_upload(self, path: str, upload_id: str) -> None:
        raise AssertionError("no uploads are known here")


class _Spooled:
    """Pieces gathered in a temporary file, and put in place in one go."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._file = tempfile.NamedTemporaryFile(prefix="hydrapicker-")  # noqa: SIM115 (closed by finish or abandon)

    def write(self, content: bytes | bytearray | memoryview) -> None:
        self._file.write(content)

    def finish(self) -> None:
        with self._file as file:
            file.flush()
            self._filesystem.makedirs(posixpath.dirname(self._path), exist_ok=True)
            self._filesystem.put_file(file.name, self._path)

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()
