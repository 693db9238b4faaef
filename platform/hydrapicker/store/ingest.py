"""Ingest: micrographs and particles in, a dataset version out; whole, or not at all."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.appending import Base, refuse_copies
from hydrapicker.store.config import IngestConfig, IngestReport
from hydrapicker.store.draft import Committed, Draft
from hydrapicker.store.index import IndexMeta
from hydrapicker.store.layout import NORMALISATION, SPLITS
from hydrapicker.store.on_ray import write_on_ray
from hydrapicker.store.on_threads import write_on_threads
from hydrapicker.store.progress import Progress, untold
from hydrapicker.store.shards import plan_shards
from hydrapicker.store.store import Dataset, Store
from hydrapicker.store.survey import Survey, Task, survey
from hydrapicker.store.unusable import unusable_error

__all__ = ["ingest"]


def ingest(config: IngestConfig, progress: Progress = untold) -> IngestReport:
    """Make a dataset version of micrographs and their particles.

    Everything that headers and particle file tell is checked before anything is written. The same call after a
    sudden end continues with the shards that were finished; the same input once more makes no new version, and
    repairs the version there is. The version does not depend on how many cores or nodes prepared it.

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
        When the input cannot be used; no version is made. Unusable pixels are told of when all micrographs have been
        looked at, and the same call with ``skip_unusable`` goes on from there.
    DatasetNotFoundError
        When there is nothing to append to.
    StoreError
        When the store cannot be written, or another ingest of this dataset got in the way; the same call continues.
    ClusterError
        When the Ray cluster asked for is not there.
    """
    store = Store(config.store)
    meta = IndexMeta(config.name, config.box_px, config.diameter_angstrom, config.contrast, NORMALISATION)
    base = _base(store, meta) if config.append else None
    found = survey(config, None if base is None else Base(base.fingerprint, base.rows))
    if base is not None and not found.tasks:
        return _report(config, found.skipped, found, _as_it_is(store, base))
    draft = Draft(store.location, meta, found.identity, base)
    continued_from = sum(len(shard.rows) for shard in draft.finished.values())
    unusable = _fill(draft, found.tasks, config, progress)
    committed = _commit(store, draft, base, {task.split for task in found.tasks}, unusable)
    return _report(config, {**found.skipped, **unusable}, found, committed, continued_from)


def _base(store: Store, meta: IndexMeta) -> Dataset:
    """Open what is appended to; its scale and contrast must be those asked for."""
    base = store.open(meta.dataset)
    pairs = [(name, getattr(base.meta, name), wanted) for name, wanted in vars(meta).items()]
    differing = [f"{name} is {there} there and {wanted} here" for name, there, wanted in pairs if there != wanted]
    if differing:
        raise InvalidInputError(
            f"cannot append to {base.name} {base.version}: {', '.join(differing)}; "
            "give what the dataset has, or ingest all micrographs anew without --append"
        )
    return base


def _fill(draft: Draft, tasks: Sequence[Task], config: IngestConfig, progress: Progress) -> dict[str, str]:
    """Write the shards that are not finished, each noted as soon as it is; returns the unusable files' reasons."""
    plans, label = plan_shards(tasks, config.shard_megabytes), f"ingesting {config.name}"
    finished = {number: shard for number, shard in draft.finished.items() if config.skip_unusable or not shard.unusable}
    done = sum(len(plan.tasks) for plan in plans if plan.number in finished)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, len(tasks), label)

    advance(0)
    unusable = {name: reason for shard in finished.values() for name, reason in shard.unusable.items()}
    write = write_on_ray if _wants_ray(config) else write_on_threads
    missing = [plan for plan in plans if plan.number not in finished]
    with closing(write(draft.location, draft.path_of, missing, config, advance)) as written:
        for number, shard in written:
            unusable.update(shard.unusable)
            if config.skip_unusable or not shard.unusable:
                draft.finish_shard(number, shard.rows, shard.unusable)
    reasons = {str(task.file): unusable[task.id] for task in tasks if task.id in unusable}
    if reasons and not config.skip_unusable:
        raise unusable_error(reasons, len(tasks))
    return reasons


def _commit(
    store: Store, draft: Draft, base: Dataset | None, planned: Collection[str], unusable: Mapping[str, str]
) -> Committed:
    if base is not None and len(draft.rows) == len(base.rows):
        draft.discard()
        return _as_it_is(store, base)
    try:
        _check_splits(draft, planned, unusable)
        if base is not None:
            refuse_copies(draft.rows[len(base.rows) :], base.rows)
    except InvalidInputError:
        draft.discard()
        raise
    return draft.commit()


def _check_splits(draft: Draft, planned: Collection[str], unusable: Mapping[str, str]) -> None:
    """Refuse to go on where what is left out was all that a split had."""
    there = {row.split for row in draft.rows}
    lacking = [split for split in SPLITS if split in planned and split not in there]
    if lacking:
        raise InvalidInputError(
            f"without the {len(unusable)} unusable micrographs none is left for {' and '.join(lacking)}; "
            "give more micrographs, or another --split-seed"
        )


def _wants_ray(config: IngestConfig) -> bool:
    return config.parallel == "ray" or (config.parallel == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def _as_it_is(store: Store, base: Dataset) -> Committed:
    manifest = store.manifest(base.name)
    assert manifest is not None
    return base.version, manifest.versions[base.version], True, ()


def _report(
    config: IngestConfig, skipped: Mapping[str, str], found: Survey, committed: Committed, continued_from: int = 0
) -> IngestReport:
    version, entry, unchanged, repaired = committed
    return IngestReport(
        name=config.name,
        version=version,
        fingerprint=entry.fingerprint,
        unchanged=unchanged,
        micrographs=dict(entry.micrographs),
        particles=dict(entry.particles),
        skipped=dict(skipped),
        dropped_outside=found.dropped_outside,
        continued_from=continued_from,
        repaired=repaired,
    )
