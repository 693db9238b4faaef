"""Before anything is written: what headers and particle file say, checked, as a list of micrographs to prepare."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.matching import match_to_micrographs
from hydrapicker.files.micrographs import MicrographHeader, find_micrographs, read_header
from hydrapicker.files.particles import read_particles
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.layout import FORMAT_VERSION, NORMALISATION
from hydrapicker.store.splits import assign_splits
from hydrapicker_core.scale import working_scale, working_shape

__all__ = ["Survey", "Task", "micrograph_ids", "survey"]

_RESULT_FIELDS = (
    "name", "diameter_angstrom", "contrast", "box_px", "val_size", "test_size", "split_seed", "keep_empty",
    "shard_megabytes",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One micrograph to prepare.

    Attributes:
        id: Its name in the dataset.
        path: Its file.
        split: ``train``, ``val`` or ``test``.
        scale: Nominal working / original scale.
        pixel_size_angstrom: Of the file's image.
        particles: float32 (n, 2), x then y, in pixels of the file's image.
    """

    id: str
    path: str
    split: str
    scale: float
    pixel_size_angstrom: float
    particles: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Survey:
    """All micrographs of an ingest, sorted by id, and what was left out.

    Attributes:
        tasks: The micrographs to prepare.
        skipped_empty: Files without any particle.
        dropped_outside: Number of particles outside of their micrograph.
        identity: Hash of everything the result depends on; an interrupted ingest continues only under the same.
    """

    tasks: tuple[Task, ...]
    skipped_empty: tuple[str, ...]
    dropped_outside: int
    identity: str


def survey(config: IngestConfig) -> Survey:
    """Find micrographs and particles, match them, and check all that can be checked without reading pixels.

    Raises
    ------
    MicrographError
        When a file is missing, is not a micrograph, has no pixel size, or is smaller than a particle.
    ParticlesError
        When the particle file cannot be read, names micrographs that are not there, or lies outside of them.
    InvalidInputError
        When the diameter is under 5 pixels or there are too few micrographs to split.
    """
    with ThreadPoolExecutor(config.workers) as pool:
        headers = list(pool.map(read_header, find_micrographs(config.micrographs)))
    matched = match_to_micrographs(read_particles(config.particles), headers, config.particles)
    ids = micrograph_ids([header.path for header in headers])
    labelled = {path for path, particles in matched.particles.items() if len(particles.xy)}
    skipped = [] if config.keep_empty else [str(header.path) for header in headers if header.path not in labelled]
    kept = {ids[header.path]: header for header in headers if config.keep_empty or header.path in labelled}
    splits = assign_splits(kept, seed=config.split_seed, val_size=config.val_size, test_size=config.test_size)
    tasks = tuple(
        _task(name, kept[name], matched.particles.get(kept[name].path), splits[name], config) for name in sorted(kept)
    )
    return Survey(tasks, tuple(sorted(skipped)), matched.outside, _identity(tasks, config))


def micrograph_ids(paths: Sequence[Path]) -> dict[Path, str]:
    """Name micrographs by their file names or, where two are alike, by their paths below the folder common to all."""
    counts = Counter(path.name for path in paths)
    if all(count == 1 for count in counts.values()):
        return {path: path.name for path in paths}
    absolute = {path: Path(os.path.abspath(path)) for path in paths}  # noqa: PTH100 (resolve would follow links)
    common = os.path.commonpath([path.parent for path in absolute.values()])
    return {path: full.relative_to(common).as_posix() for path, full in absolute.items()}


def _task(name: str, header: MicrographHeader, found: Particles | None, split: str, config: IngestConfig) -> Task:
    stated = found.pixel_size_angstrom if found else None
    pixel_size = config.pixel_size_angstrom or header.pixel_size_angstrom or stated
    if pixel_size is None:
        raise MicrographError(f"{header.path}: its header has no pixel size; give --pixel-size-angstrom")
    try:
        scale = working_scale(pixel_size, config.diameter_angstrom, config.box_px)
    except InvalidInputError as error:
        raise InvalidInputError(f"{header.path}: {error}") from error
    if config.box_px > min(working_shape(header.height, header.width, scale)):
        raise MicrographError(
            f"{header.path}: a particle of {config.diameter_angstrom:g} Angstrom is larger than the image of "
            f"{header.width} x {header.height} pixels at {pixel_size:g} Angstrom; check diameter and pixel size"
        )
    xy = np.empty((0, 2), np.float32) if found is None else found.xy.astype(np.float32)
    return Task(name, str(header.path), split, scale, pixel_size, xy)


def _identity(tasks: tuple[Task, ...], config: IngestConfig) -> str:
    """Hash what the dataset is made of: settings, particles, and the files' sizes and dates."""
    digest = hashlib.sha256()
    settings = {key: getattr(config, key) for key in _RESULT_FIELDS}
    digest.update(json.dumps([FORMAT_VERSION, NORMALISATION, settings], sort_keys=True).encode())
    for task in tasks:
        status = Path(task.path).stat()
        facts = [task.id, str(Path(task.path).resolve()), task.split, task.scale, task.pixel_size_angstrom]
        digest.update(json.dumps([*facts, status.st_size, status.st_mtime_ns]).encode())
        digest.update(task.particles.tobytes())
    return digest.hexdigest()
