"""Shards: which micrographs lie in which, known before the first is prepared, and writing one piece by piece."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hydrapicker.errors import MicrographError, StoreError
from hydrapicker.files.remote import at_hand
from hydrapicker.storage.location import Location
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.intact import DamagedError, read_pixels
from hydrapicker.store.layout import PIXEL, PIXEL_NAME, shard_name
from hydrapicker.store.prepare import prepare_micrograph
from hydrapicker.store.rows import Row
from hydrapicker.store.survey import Task
from hydrapicker.store.unusable import Unusable, in_short

__all__ = ["Prepared", "ShardPlan", "WrittenShard", "mend_shard", "plan_shards", "prepare_task", "write_shard"]

Prepared = tuple[bytes, Row] | Unusable
"""A micrograph's bytes, and its row in the index but for shard and offset; or why it has none."""


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its number in the version, and its micrographs in order."""

    number: int
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """Its file in the version's folder."""
        return shard_name(self.number)


@dataclass(frozen=True)
class WrittenShard:
    """What a shard holds: its rows in order, and by their ids why micrographs of its plan were left out."""

    rows: tuple[Row, ...]
    unusable: Mapping[str, str] = field(default_factory=dict)


def plan_shards(tasks: Sequence[Task], shard_megabytes: float) -> tuple[ShardPlan, ...]:
    """Share micrographs out in order; a shard ends with the micrograph that fills it."""
    plans: list[ShardPlan] = []
    gathered: list[Task] = []
    size = 0
    for task in tasks:
        gathered.append(task)
        size += task.height * task.width * PIXEL.itemsize
        if size >= shard_megabytes * 1e6 or task is tasks[-1]:
            plans.append(ShardPlan(len(plans), tuple(gathered)))
            gathered, size = [], 0
    return tuple(plans)


def prepare_task(task: Task, config: IngestConfig) -> Prepared:
    """Prepare one micrograph.

    Raises
    ------
    MicrographError
        When the file is no longer the one that was surveyed.
    StoreError
        When the place it lies in does not answer.
    """
    try:
        with at_hand(task.file) as path:
            prepared = prepare_micrograph(path, scale=task.scale, box_px=config.box_px, contrast=config.contrast)
    except MicrographError as error:
        return Unusable(task.id, in_short(error, task.file))
    if (prepared.height, prepared.width) != (task.height, task.width):
        raise MicrographError(f"{task.file}: changed while it was being ingested; run the same command again")
    particles = task.particles * np.array([prepared.scale_x, prepared.scale_y])
    row = Row(
        id=task.id,
        split=task.split,
        shard="",
        offset=0,
        length=len(prepared.pixels),
        dtype=PIXEL_NAME,
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


def write_shard(location: Location, path: str, shard: str, prepared: Iterable[Prepared]) -> WrittenShard:
    """Write a shard micrograph by micrograph, as they come; it is there whole, or not at all.

    Parameters
    ----------
    location : Location
        The store.
    path : str
        Where the shard lies below the store's root.
    shard : str
        What the index calls it.
    prepared : iterable of Prepared
        The micrographs in order; those that cannot be used are left out.
    """
    rows: list[Row] = []
    unusable: dict[str, str] = {}
    offset = 0
    with location.writer(path) as writer:
        for each in prepared:
            if isinstance(each, Unusable):
                unusable[each.id] = each.reason
                continue
            pixels, row = each
            writer.write(pixels)
            rows.append(replace(row, shard=shard, offset=offset))
            offset += len(pixels)
    return WrittenShard(tuple(rows), unusable)


def mend_shard(location: Location, path: str, good: str, rows: Sequence[Row]) -> bool:
    """Replace the shard at ``path`` by the one at ``good`` unless it holds just ``rows``; tells whether it did.

    Raises
    ------
    StoreError
        When the one at ``good`` does not hold them either; nothing was replaced.
    """
    if location.size(path) == sum(row.length for row in rows) and all(_intact(location, path, row) for row in rows):
        return False
    with location.writer(path) as writer:
        for row in rows:
            writer.write(_read_intact(location, good, row))
    return True


def _intact(location: Location, path: str, row: Row) -> bool:
    try:
        read_pixels(location, path, row)
    except (DamagedError, StoreError):
        return False
    return True


def _read_intact(location: Location, path: str, row: Row) -> bytes:
    try:
        return read_pixels(location, path, row)
    except DamagedError as error:
        raise StoreError(f"{location.url(path)}: micrograph {row.id}: {error}; run the same command again") from error
