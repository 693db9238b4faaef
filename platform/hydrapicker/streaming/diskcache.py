"""Micrographs from a remote store kept on the local disk, shared by all processes of a machine, within a bound.

A file is named by the checksum of what it holds, so two processes that write the same one write the same bytes.
"""

import fcntl
import math
import os
import re
import secrets
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydrapicker.errors import StoreError

__all__ = ["DiskCache"]

_FOLDER = "hydrapicker-micrographs"
_LOCK = "lock"
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.[0-9a-f]{16}\.tmp")
_LEFT_BEHIND_SECONDS = 3600.0
"""Age at which an unfinished file is one of a process that died."""
_USED_ANEW_SECONDS = 60.0
"""A use is noted when the last one was so long ago; noting every one would write to the disk at every reading."""
_UNDER_WAY = math.inf
"""Time of last use of a file that is being written: it counts, and it stays."""
_KEPT_SHARE = 0.9
"""Part of the bound that is left when files are evicted, so that not every new one needs a look at all of them."""


class DiskCache:
    """A bounded folder of micrographs' bytes by their checksums. Safe to use from threads and processes at once.

    Room is claimed under a lock before anything is written, so all processes together stay within the bound. What was
    used longest ago is evicted first. Other files in the folder are never touched.

    Parameters
    ----------
    folder : Path
        Made if need be; a subfolder of our own in it is used.
    bound_bytes : int
        Bytes of micrographs in it.

    Raises
    ------
    StoreError
        When the folder cannot be made or written.
    """

    def __init__(self, folder: Path, bound_bytes: int) -> None:
        self._folder, self._bound = folder / _FOLDER, bound_bytes
        self._writes = True
        self._writing = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _Lock(self._folder / _LOCK)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot cache micrographs there ({error.strerror}); "
                "give a folder on a local disk that can be written, or no cache"
            ) from error

    def has(self, checksum: str) -> bool:
        """Tell whether a micrograph seems to be there; another process may evict it at any time."""
        return self._path(checksum).is_file()

    def read_into(self, checksum: str, buffer: memoryview) -> bool:
        """Fill the buffer with a micrograph's bytes; False when it is not there.

        One of another length is damaged, and removed.
        """
        path = self._path(checksum)
        try:
            with path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                if found.st_size != len(buffer) or file.readinto(buffer) != len(buffer):
                    self.drop(checksum)
                    return False
                if time.time() - found.st_mtime > _USED_ANEW_SECONDS:
                    os.utime(file.fileno())
                return True
        except OSError:
            return False

    def add(self, checksum: str, content: memoryview) -> None:
        """Keep a micrograph. When the disk is full or fails, warn once and go on without keeping more."""
        size = len(content)
        path = self._path(checksum)
        if not self._writes or size > self._bound or path.is_file():
            return
        try:
            with self._writing:  # so a process has one file at most that is claimed and cannot yet be counted
                if not self._writes:
                    return
                self._claim(size)
                path.parent.mkdir(exist_ok=True)
                _write(path, content)
        except OSError as error:
            self._writes = False
            warnings.warn(
                f"{self._folder}: no more micrographs are cached there ({error.strerror}); "
                "reading goes on from the store",
                RuntimeWarning,
                stacklevel=2,
            )

    def drop(self, checksum: str) -> None:
        """Remove a micrograph whose bytes turned out wrong."""
        path = self._path(checksum)
        with suppress(OSError):
            path.unlink()

    def close(self) -> None:
        """Let go of the lock's file, once nothing is being written; what is cached stays."""
        with self._writing:
            self._writes = False
            self._lock.close()

    def _path(self, checksum: str) -> Path:
        # It comes from an index, that is from outside: nothing but a checksum may become part of a path.
        if not _CHECKSUM.fullmatch(checksum):
            raise StoreError(f"{checksum!r} is no checksum; the index that names it is not to be trusted")
        return self._folder / checksum[:2] / checksum

    def _claim(self, size: int) -> None:
        """Book the bytes, evicting what is oldest when they would not fit."""
        with self._lock.held():
            booked = self._lock.booked
            if booked is None or booked + size > self._bound:
                booked = self._evict(max(0, min(int(self._bound * _KEPT_SHARE), self._bound - size)))
            self._lock.booked = booked + size

    def _evict(self, allowed: int) -> int:
        """Remove the files that were used longest ago until `allowed` bytes are left; returns what is left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for used, size, path in files:
            if total <= allowed or used == _UNDER_WAY:
                break
            with suppress(FileNotFoundError):
                Path(path).unlink()
            total -= size
        return total

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield time of last use, size and path of the files that are ours."""
        long_ago = time.time() - _LEFT_BEHIND_SECONDS
        for folder in os.scandir(self._folder):
            if len(folder.name) != 2 or not folder.is_dir(follow_symlinks=False):
                continue
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    if _CHECKSUM.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name):
                        found = entry.stat(follow_symlinks=False)
                        under_way = entry.name.startswith(".") and found.st_mtime > long_ago
                        yield (_UNDER_WAY if under_way else found.st_mtime), found.st_size, entry.path


def _write(path: Path, content: memoryview) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class _Lock:
    """A file that one process at a time holds, and in which it books how many bytes the cache takes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @contextmanager
    def held(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def booked(self) -> int | None:
        """Bytes booked so far; None when nobody has counted them yet."""
        text = os.pread(self._descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None

    @booked.setter
    def booked(self, size: int) -> None:
        os.pwrite(self._descriptor, f"{size:<32d}".encode(), 0)

    def close(self) -> None:
        os.close(self._descriptor)
