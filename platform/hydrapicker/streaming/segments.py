"""Files of the disk cache that hold many micrographs each: one of their bytes, and one that lists what is there.

Bytes are only ever appended, never written over, and listed once they are there. So whoever finds a micrograph listed
may read it, or map it, for as long as the file is open, also when it is removed meanwhile; and a process that dies
leaves at worst bytes that nobody lists.
"""

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hydrapicker.streaming.buffers import aligned

__all__ = ["Segment", "SegmentWriter", "remove_segment", "segment_sizes"]

_BYTES, _LIST = ".bytes", ".list"
_FILE = re.compile(r"([0-9a-f]{16})\.(?:bytes|list)")
_LINE = re.compile(rb"([0-9a-f]{32}) (\d{1,15}) (\d{1,15})")
"""Checksum, offset, length; of a micrograph that was removed the length is 0."""
_USED_ANEW_SECONDS = 60.0
"""A use is noted when the last one was so long ago; noting every one would write to the disk at every reading."""

_checked: dict[str, set[int]] = {}
"""By segment, what this process has found right, by its offset; for its bytes never change."""


class Segment:
    """A segment to read from. Safe to use from several threads, but for :meth:`update`.

    Parameters
    ----------
    folder : Path
        The cache's.
    name : str
        As :func:`segment_sizes` gives it.

    Attributes
    ----------
    file : str
        The file with its bytes, in the folder.
    entries : dict of str to (int, int)
        Offset and length by checksum.
    checked : set of int
        Offsets of what this process has found right.

    Raises
    ------
    OSError
        When it is gone.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.file, self._list = name + _BYTES, folder / (name + _LIST)
        self.entries: dict[str, tuple[int, int]] = {}
        self.checked = _checked.setdefault(name, set())
        self._name, self._listed, self._used = name, 0, -_USED_ANEW_SECONDS
        self._descriptor = os.open(folder / self.file, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def update(self) -> list[str]:
        """Take in what was listed since the last time, and return the checksums of what is there of it."""
        if self._list.stat().st_size == self._listed:
            return []
        with self._list.open("rb") as file:
            file.seek(self._listed)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._listed += len(whole) + len(newline)
        listed = [checksum for line in whole.split(b"\n") for checksum in self._take_in(line)]
        return [checksum for checksum in listed if checksum in self.entries]

    def _take_in(self, line: bytes) -> Iterator[str]:
        found = _LINE.fullmatch(line)  # one that was cut short by a full disk is none, nor is the one after it
        if found is None:
            return
        checksum, offset, length = found[1].decode(), int(found[2]), int(found[3])
        if length > 0:
            self.entries[checksum] = offset, length
            yield checksum
        elif self.entries.get(checksum, (-1, 0))[0] == offset:
            del self.entries[checksum]

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """Fill the buffer from an offset; False where that cannot be."""
        with suppress(OSError):
            while buffer:
                count = os.preadv(self._descriptor, [buffer], offset)
                if count == 0:
                    return False
                buffer, offset = buffer[count:], offset + count
            return True
        return False

    def note_use(self) -> None:
        """Let it count as used just now when it is decided what is evicted."""
        now = time.monotonic()
        if now - self._used > _USED_ANEW_SECONDS:
            self._used = now
            with suppress(OSError):
                os.utime(self._descriptor)

    def unlist(self, checksum: str) -> None:
        """Let nobody read a micrograph any more, as its bytes are wrong."""
        offset, _ = self.entries.pop(checksum, (-1, 0))
        if offset >= 0:
            with suppress(OSError), self._list.open("ab", buffering=0) as file:
                file.write(f"{checksum} {offset} 0\n".encode())

    def forget(self) -> None:
        """Forget what was checked, as it is gone."""
        _checked.pop(self._name, None)


class SegmentWriter:
    """A segment to append to, which one process at a time does; given back with the last reference.

    Parameters
    ----------
    folder : Path
        The cache's.
    name : str, optional
        One that is there; by default a new one is made.

    Raises
    ------
    BlockingIOError
        When somebody else appends to it.
    OSError
        When it cannot be written.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.name = name or secrets.token_hex(8)
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if name else os.O_CREAT | os.O_EXCL)
        self._list = os.open(folder / (self.name + _LIST), flags | os.O_APPEND, 0o666)
        fcntl.flock(self._list, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._bytes = os.open(folder / (self.name + _BYTES), flags, 0o666)
        self.size = os.fstat(self._bytes).st_size

    def __del__(self) -> None:
        for descriptor in ("_list", "_bytes"):
            if hasattr(self, descriptor):
                os.close(getattr(self, descriptor))

    @property
    def removed(self) -> bool:
        """Whether somebody removed it all the same."""
        return os.fstat(self._bytes).st_nlink == 0

    def claim(self, length: int) -> int:
        """Make room at the end, which counts from now on, and return its offset."""
        offset, self.size = self.size, self.size + aligned(length)
        os.truncate(self._bytes, self.size)
        return offset

    def write(self, checksum: str, offset: int, content: memoryview) -> None:
        """Write a micrograph where it was claimed, and list it."""
        position, rest = offset, content
        while rest:
            count = os.pwrite(self._bytes, rest, position)
            rest, position = rest[count:], position + count
        os.write(self._list, f"{checksum} {offset} {len(content)}\n".encode())


def segment_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes that each segment in a folder takes, by name, the one that was used longest ago first."""
    used, sizes = dict[str, float](), dict[str, int]()
    for entry in os.scandir(folder):
        found = _FILE.fullmatch(entry.name)
        if found is not None:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                is_bytes = entry.name.endswith(_BYTES)
                used[found[1]] = max(used.get(found[1], 0), status.st_mtime if is_bytes else 0)
                sizes[found[1]] = sizes.get(found[1], 0) + (status.st_size if is_bytes else 0)
    return {name: sizes[name] for name in sorted(sizes, key=lambda name: (used[name], name))}


def remove_segment(folder: Path, name: str) -> bool:
    """Remove a segment; False, and it stays, while somebody appends to it."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder / (name + _LIST), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
    for ending in (_LIST, _BYTES):
        (folder / (name + ending)).unlink(missing_ok=True)
    return True
