"""Micrographs from a remote store kept on the local disk, shared by all processes of a machine, within a bound."""

import fcntl
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from hydrapicker.errors import StoreError
from hydrapicker.storage.mapped import MappedFiles
from hydrapicker.streaming.buffers import aligned
from hydrapicker.streaming.segments import Segment, SegmentWriter, remove_segment, segment_sizes

__all__ = ["DiskCache"]

_FOLDER = "hydrapicker-micrographs"
_LOCK = "lock"
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_SEGMENT_SHARE, _SEGMENT_BYTES = 32, 256_000_000
"""A segment takes at most so small a part of the bound and so many bytes: what is evicted at once is not much."""
_LOOK_SECONDS = 1.0
"""How old may be what is known of other processes' doings."""

Entry = tuple[str, memoryview]
"""A micrograph's checksum and bytes."""


class DiskCache:
    """A bounded folder of micrographs' bytes by their checksums. Safe to use from threads and processes at once.

    They lie many to a file (see :mod:`~hydrapicker.streaming.segments`). Room is claimed under a lock before anything
    is written, so all processes together stay within the bound. What was used longest ago is evicted first, a file at
    a time. Every micrograph is checked when a process first reads it; then it is copied from where the operating
    system keeps the file. Other files in the folder are never touched.

    Parameters
    ----------
    folder : Path
        Made if need be; a subfolder of our own in it is used.
    bound_bytes : int
        Bytes of micrographs in it, each rounded up to pages.

    Raises
    ------
    StoreError
        When the folder cannot be made or written.
    """

    def __init__(self, folder: Path, bound_bytes: int) -> None:
        self._folder, self._bound = folder / _FOLDER, bound_bytes
        self._segments: dict[str, Segment] = {}
        self._places: dict[str, Segment] = {}
        self._writer: SegmentWriter | None = None
        self._writes, self._looked = True, 0.0
        self._looking, self._writing = threading.Lock(), threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _Lock(self._folder / _LOCK)
            self._mapped = MappedFiles(self._folder)
            self._look()
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot cache micrographs there ({error.strerror}); "
                "give a folder on a local disk that can be written, or no cache"
            ) from error

    def has(self, checksum: str) -> bool:
        """Tell whether a micrograph seems to be there; another process may evict it at any time."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        return self._knows(_checked_name(checksum))

    def _knows(self, checksum: str) -> bool:
        segment = self._places.get(checksum)
        return segment is not None and checksum in segment.entries

    def read_into(self, checksum: str, buffer: memoryview) -> bool:
        """Fill the buffer with a micrograph's bytes; False when it is not there.

        One that turns out damaged is not there any more, for any process.
        """
        segment = self._places.get(checksum) if self.has(checksum) else None
        offset, length = segment.entries.get(checksum, (0, -1)) if segment else (0, -1)
        if segment is None or length != len(buffer):
            self.drop(checksum)
            return False
        if offset in segment.checked and self._mapped.copy_into(segment.file, offset, buffer):
            segment.note_use()
            return True
        if segment.read_into(offset, buffer) and (offset in segment.checked or _is_right(buffer, checksum)):
            segment.checked.add(offset)
            segment.note_use()
            return True
        self.drop(checksum)
        return False

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep micrographs. When the disk is full or fails, warn once and go on without keeping more."""
        for checksum, _ in entries:
            _checked_name(checksum)
        try:
            claimed = self._claim(entries) if self._writes else []
            for writer, offset, (checksum, content) in claimed:
                writer.write(checksum, offset, content)
            with self._looking:
                for name in {writer.name for writer, _, _ in claimed}:
                    self._update(name)
        except OSError as error:
            self._stop(error)

    def drop(self, checksum: str) -> None:
        """Remove a micrograph whose bytes turned out wrong."""
        segment = self._places.pop(_checked_name(checksum), None)
        if segment is not None:
            segment.unlist(checksum)

    def close(self) -> None:
        """Let go of all files, once nothing is being claimed; what is cached stays."""
        with self._writing, self._looking:
            self._writes, self._writer = False, None
            self._lock.close()
            self._segments, self._places, self._mapped = {}, {}, MappedFiles(self._folder)

    def _stop(self, error: OSError) -> None:
        with self._writing:
            stopped, self._writes, self._writer = not self._writes, False, None
        if not stopped:
            warnings.warn(
                f"{self._folder}: no more micrographs are cached there ({error.strerror}); "
                "reading goes on from the store",
                RuntimeWarning,
                stacklevel=3,
            )

    # --- what is there ---

    def _look(self) -> None:
        """Learn what was added and what was evicted, by any process."""
        with self._looking:
            self._looked = time.monotonic()
            names = segment_sizes(self._folder)
            for name in self._segments.keys() - names.keys():
                self._forget(name)
            for name in names:
                self._update(name)

    def _update(self, name: str) -> None:
        try:
            segment = self._segments.get(name) or Segment(self._folder, name)
            self._segments[name] = segment
            self._places.update(dict.fromkeys(segment.update(), segment))
        except OSError:  # it was evicted meanwhile
            self._forget(name)

    def _forget(self, name: str) -> None:
        segment = self._segments.pop(name, None)
        if segment is not None:
            for checksum in segment.entries:
                if self._places.get(checksum) is segment:
                    del self._places[checksum]
            self._mapped.forget(segment.file)
            segment.forget()

    # --- what is added ---

    def _claim(self, entries: Sequence[Entry]) -> list[tuple[SegmentWriter, int, Entry]]:
        """Make room for what is not there, evicting what is oldest where need be; what does not fit is left out."""
        with self._writing, self._lock.held():
            claimed = []
            for checksum, content in dict(entries).items() if self._writes else ():
                size = aligned(len(content))
                if not self._knows(checksum) and self._book(size):
                    writer = self._writer_for(size)
                    claimed.append((writer, writer.claim(size), (checksum, content)))
            return claimed

    def _book(self, size: int) -> bool:
        """Let the bytes count as taken; False where they do not fit, whatever is evicted."""
        booked = self._lock.booked
        if booked is None or booked + size > self._bound:
            booked = self._evict(self._bound - size)
        fits = booked + size <= self._bound
        self._lock.booked = booked + size if fits else booked
        return fits

    def _evict(self, allowed: int) -> int:
        """Remove segments that were used longest ago until so many bytes are left; returns what is left."""
        sizes = segment_sizes(self._folder)
        total = sum(sizes.values())
        for name, size in sizes.items() if allowed >= 0 else ():
            if total > allowed and remove_segment(self._folder, name):
                total -= size
                with self._looking:
                    self._forget(name)
        return total

    def _writer_for(self, size: int) -> SegmentWriter:
        """Give a segment with room: the one that this process appends to, one that nobody does, or a new one."""
        most = max(size, min(self._bound // _SEGMENT_SHARE, _SEGMENT_BYTES))
        if self._writer is not None and self._writer.size + size <= most and not self._writer.removed:
            return self._writer
        self._writer = None
        for name, taken in segment_sizes(self._folder).items():
            if taken + size <= most:
                with suppress(BlockingIOError, FileNotFoundError):
                    self._writer = SegmentWriter(self._folder, name)
                    return self._writer
        self._writer = SegmentWriter(self._folder)
        return self._writer


class _Lock:
    """A file that one process at a time holds, and in which it books how many bytes the cache takes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @contextmanager
    def held(self) -> Iterator[None]:
        if self._descriptor < 0:  # it was closed, and nothing is claimed any more
            yield
            return
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
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _is_right(content: memoryview, checksum: str) -> bool:
    return xxhash.xxh3_128_hexdigest(content) == checksum


def _checked_name(checksum: str) -> str:
    # It comes from an index, that is from outside: nothing but a checksum may get into our files.
    if not _CHECKSUM.fullmatch(checksum):
        raise StoreError(f"{checksum!r} is no checksum; the index that names it is not to be trusted")
    return checksum
