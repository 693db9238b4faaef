"""Small pieces of random bytes in a disk cache, by number."""

from pathlib import Path

import numpy as np
import xxhash

from hydrapicker.streaming.diskcache import DiskCache

SIZE = 4_096
MANY = 320 * SIZE
"""A bound with which ten micrographs share a file; with less than 64 of them each has its own."""


def content(number: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(number).bytes(size)


def checksum(number: int) -> str:
    return xxhash.xxh3_128_hexdigest(content(number))


def add(cache: DiskCache, *numbers: int) -> None:
    cache.add([(checksum(number), memoryview(content(number))) for number in numbers])


def read(cache: DiskCache, number: int) -> bytes | None:
    buffer = bytearray(SIZE)
    return bytes(buffer) if cache.read_into(checksum(number), memoryview(buffer)) else None


def files(folder: Path, ending: str = "bytes") -> list[Path]:
    return sorted(folder.rglob(f"*.{ending}"))


def bytes_in(folder: Path) -> int:
    total = 0
    for path in files(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # evicted meanwhile
    return total
