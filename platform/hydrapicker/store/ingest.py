"""Ingest: micrographs and particles in, a dataset version out; whole, or not at all."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.config import IngestConfig, IngestReport
from hydrapicker.store.draft import Draft
from hydrapicker.store.index import IndexMeta
from hydrapicker.store.layout import NORMALISATION, VersionEntry
from hydrapicker.store.on_ray import write_on_ray
from hydrapicker.store.on_threads import write_on_threads
from hydrapicker.store.shards import ShardPlan, plan_shards
from hydrapicker.store.store import Dataset, Store
from hydrapicker.store.survey import Base, Survey, survey

__all__ = ["ingest"]


def _silent(done: int, total: int, label: str) -> None:
    pass


def ingest(config: IngestConfig, progress: Callable[[int, int, str], None] = _silent) -> IngestReport:
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
        When the input cannot be used; no version is left behind.
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
    there = None if base is None else Base(base.fingerprint, frozenset(row.id for row in base.rows))
    found = survey(config, there)
    if base is not None and not found.tasks:
        manifest = store.manifest(config.name)
        assert manifest is not None
        return _report(config, found, base.version, manifest.versions[base.version], unchanged=True)
    draft = Draft(store.location, meta, found.identity, base)
    continued_from = sum(map(len, draft.finished.values()))
    try:
        _fill(draft, plan_shards(found.tasks, config.shard_megabytes), config, progress)
    except InvalidInputError:
        draft.discard()
        raise
    version, entry, unchanged, repaired = draft.commit()
    return _report(config, found, version, entry, unchanged, continued_from, repaired)


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


def _fill(
    draft: Draft, plans: Sequence[ShardPlan], config: IngestConfig, progress: Callable[[int, int, str], None]
) -> None:
    """Write the shards that are not finished, each noted as soon as it is."""
    total, label = sum(len(plan.tasks) for plan in plans), f"ingesting {config.name}"
    done = sum(map(len, draft.finished.values()))

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total, label)

    advance(0)
    write = write_on_ray if _wants_ray(config) else write_on_threads
    missing = [plan for plan in plans if plan.number not in draft.finished]
    with closing(write(draft.location, draft.path_of, missing, config, advance)) as written:
        for number, rows in written:
            draft.finish_shard(number, rows)


def _wants_ray(config: IngestConfig) -> bool:
    return config.parallel == "ray" or (config.parallel == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def _report(
    config: IngestConfig,
    found: Survey,
    version: str,
    entry: VersionEntry,
    unchanged: bool,
    continued_from: int = 0,
    repaired: tuple[str, ...] = (),
) -> IngestReport:
    return IngestReport(
        name=config.name,
        version=version,
        fingerprint=entry.fingerprint,
        unchanged=unchanged,
        micrographs=dict(entry.micrographs),
        particles=dict(entry.particles),
        skipped=dict(found.skipped),
        dropped_outside=found.dropped_outside,
        continued_from=continued_from,
        repaired=repaired,
    )
