"""Shards: which micrographs lie in which, known before the first is prepared, and writing one piece by piece."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xxhash

from hydrapicker.errors import MicrographError, StoreError
from hydrapicker.files.remote import at_hand
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.layout import shard_name
from hydrapicker.store.location import Location
from hydrapicker.store.prepare import DTYPE, prepare_micrograph
from hydrapicker.store.rows import Row
from hydrapicker.store.survey import Task

__all__ = ["ShardPlan", "mend_shard", "plan_shards", "prepare_task", "write_shard"]

_BYTES_PER_PIXEL = np.dtype(DTYPE).itemsize


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its number in the version, and its micrographs in order."""

    number: int
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """Its file in the version's folder."""
        return shard_name(self.number)


def plan_shards(tasks: Sequence[Task], shard_megabytes: float) -> tuple[ShardPlan, ...]:
    """Share micrographs out in order; a shard ends with the micrograph that fills it."""
    plans: list[ShardPlan] = []
    gathered: list[Task] = []
    size = 0
    for task in tasks:
        gathered.append(task)
        size += task.height * task.width * _BYTES_PER_PIXEL
        if size >= shard_megabytes * 1e6 or task is tasks[-1]:
            plans.append(ShardPlan(len(plans), tuple(gathered)))
            gathered, size = [], 0
    return tuple(plans)


def prepare_task(task: Task, config: IngestConfig) -> tuple[bytes, Row]:
    """Prepare one micrograph: its bytes, and its row in the index but for shard and offset.

    Raises
    ------
    MicrographError
        When the file cannot be used.
    StoreError
        When the place it lies in does not answer.
    """
    with at_hand(task.file) as path:
        prepared = prepare_micrograph(path, scale=task.scale, box_px=config.box_px, contrast=config.contrast)
    if (prepared.height, prepared.width) != (task.height, task.width):
        raise MicrographError(f"{task.file}: changed while it was being ingested; run the same command again")
    particles = task.particles * np.array([prepared.scale_x, prepared.scale_y])
    row = Row(
        id=task.id,
        split=task.split,
        shard="",
        offset=0,
        length=len(prepared.pixels),
        dtype=DTYPE,
        height=prepared.height,
        width=prepared.width,
        checksum=prepared.checksum,
        scale=task.scale,
        original_height=prepared.original_height,
        original_width=prepared.original_width,
        pixel_size_angstrom=task.pixel_size_angstrom,
        background_mean=prepared.background_mean,
        background_std=prepared.background_std,
        particles=particles.astype(np.float32),
    )
    return prepared.pixels, row


def write_shard(location: Location, path: str, shard: str, prepared: Iterable[tuple[bytes, Row]]) -> tuple[Row, ...]:
    """Write a shard micrograph by micrograph, as they come; it is there whole, or not at all.

    Parameters
    ----------
    location : Location
        The store.
    path : str
        Where the shard lies below the store's root.
    shard : str
        What the index calls it.
    prepared : iterable of (bytes, Row)
        The micrographs in order.

    Returns
    -------
    tuple of Row
        The rows, with shard and offset.
    """
    rows: list[Row] = []
    offset = 0
    with location.writer(path) as writer:
        for pixels, row in prepared:
            writer.write(pixels)
            rows.append(replace(row, shard=shard, offset=offset))
            offset += len(pixels)
    return tuple(rows)


def mend_shard(location: Location, path: str, good: str, rows: Sequence[Row]) -> bool:
    """Replace the shard at ``path`` by the one at ``good`` unless it holds just ``rows``; tells whether it did."""
    if location.size(path) == sum(row.length for row in rows) and all(_intact(location, path, row) for row in rows):
        return False
    with location.writer(path) as writer:
        for row in rows:
            writer.write(location.read_range(good, row.offset, row.length))
    return True


def _intact(location: Location, path: str, row: Row) -> bool:
    try:
        content = location.read_range(path, row.offset, row.length)
    except StoreError:
        return False
    return xxhash.xxh3_128_hexdigest(content) == row.checksum
