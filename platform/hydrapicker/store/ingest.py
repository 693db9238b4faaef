"""Ingest: micrographs and particles in, a dataset version out; whole, or not at all."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.config import IngestConfig, IngestReport
from hydrapicker.store.draft import Draft
from hydrapicker.store.index import IndexMeta, Row
from hydrapicker.store.layout import NORMALISATION
from hydrapicker.store.location import Location, default_store
from hydrapicker.store.prepare import DTYPE, one_torch_thread, prepare_micrograph
from hydrapicker.store.survey import Task, survey

__all__ = ["ingest"]


def _silent(done: int, total: int, label: str) -> None:
    pass


def ingest(config: IngestConfig, progress: Callable[[int, int, str], None] = _silent) -> IngestReport:
    """Make a dataset version of micrographs and their particles.

    Everything that headers and particle file tell is checked before anything is written. The same call after a
    sudden end continues with the shards that were finished; the same input once more makes no new version, and
    repairs the version there is.

    Parameters
    ----------
    config : IngestConfig
        What to ingest, and where to.
    progress : callable, optional
        Called with (micrographs done, micrographs in all, label).

    Returns
    -------
    IngestReport
        What was made and what was left out.

    Raises
    ------
    MicrographError, ParticlesError, InvalidInputError
        When the input cannot be used; no version is left behind.
    StoreError
        When the store cannot be written; the same call continues once it can.
    """
    found = survey(config)
    meta = IndexMeta(config.name, config.box_px, config.diameter_angstrom, config.contrast, NORMALISATION)
    draft = Draft(Location(config.store or default_store()), meta, found.identity)
    continued_from = len(draft.rows)
    try:
        _fill(draft, found.tasks, config, progress)
    except InvalidInputError:
        draft.discard()
        raise
    version, entry, unchanged, repaired = draft.commit()
    return IngestReport(
        name=config.name,
        version=version,
        fingerprint=entry.fingerprint,
        unchanged=unchanged,
        micrographs=dict(entry.micrographs),
        particles=dict(entry.particles),
        skipped_empty=found.skipped_empty,
        dropped_outside=found.dropped_outside,
        continued_from=continued_from,
        repaired=repaired,
    )


def _fill(draft: Draft, tasks: Sequence[Task], config: IngestConfig, progress: Callable[[int, int, str], None]) -> None:
    """Prepare the micrographs that no finished shard holds, and write them in order."""
    done, label = len(draft.rows), f"ingesting {config.name}"
    progress(done, len(tasks), label)
    content, rows = bytearray(), list[Row]()
    for pixels, row in _prepared(tasks[done:], config):
        rows.append(replace(row, shard=draft.next_shard, offset=len(content)))
        content += pixels
        done += 1
        if len(content) >= config.shard_megabytes * 1e6 or done == len(tasks):
            draft.add_shard(bytes(content), rows)
            content, rows = bytearray(), []
        progress(done, len(tasks), label)


def _prepared(tasks: Sequence[Task], config: IngestConfig) -> Iterator[tuple[bytes, Row]]:
    """Prepare micrographs on threads and yield them in order, with a bounded number under way."""
    waiting = iter(tasks)
    under_way: deque[Future[tuple[bytes, Row]]] = deque()
    with one_torch_thread(), ThreadPoolExecutor(config.workers, "ingest") as pool:
        try:
            for task in waiting:
                under_way.append(pool.submit(_prepare, task, config))
                if len(under_way) > 2 * config.workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _prepare(task: Task, config: IngestConfig) -> tuple[bytes, Row]:
    prepared = prepare_micrograph(Path(task.path), scale=task.scale, box_px=config.box_px, contrast=config.contrast)
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
