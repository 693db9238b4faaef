"""What every process of the streaming benchmark needs: the micrographs, its memory, and cold files. NumPy only."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_EPOCHS = 2
Epoch = Callable[[int], Iterable[Sequence[Any]]]
"""Reads an epoch, given its number: batches of pixels in memory, each held until the next is there."""


def image(number: int, side: int) -> "np.ndarray[Any, Any]":
    """Noise, another for every number."""
    return np.random.default_rng(number).normal(size=(side, side)).astype("<f2")


def drop_from_memory(folder: Path) -> None:
    """Ask the operating system to forget what it holds of the files."""
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(epoch: Epoch, count: int) -> dict[str, float]:
    """Micrographs per second cold and warm, and megabytes by which memory grew, of a reader in this process."""
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    speeds = []
    for number in range(1 + WARM_EPOCHS):
        start, seen = time.perf_counter(), 0
        for batch in epoch(number):
            seen += len(batch)
        speeds.append(count / (time.perf_counter() - start))
        assert seen == count, f"{seen} of {count} micrographs"
    return {"cold": speeds[0], "warm": max(speeds[1:]), "megabytes": _resident("VmHWM") - before}


def _resident(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
