"""Before anything is written: what headers and particle file say, checked, as a list of micrographs to prepare."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.inputs import find_inputs, read_input_header, read_input_particles
from hydrapicker.files.matching import match_to_micrographs
from hydrapicker.files.micrographs import MicrographHeader
from hydrapicker.files.remote import RemoteFile
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.layout import FORMAT_VERSION, NORMALISATION
from hydrapicker.store.splits import assign_splits
from hydrapicker_core.scale import working_scale, working_shape

__all__ = ["Base", "Survey", "Task", "micrograph_ids", "survey"]

_RESULT_FIELDS = (
    "name", "diameter_angstrom", "contrast", "box_px", "val_size", "test_size", "split_seed", "keep_empty",
    "shard_megabytes",
)  # fmt: skip
_HEADERS_AT_A_TIME = 8
"""Reading a header is waiting, not work: for a disk across the network, or S3."""
_NO_PARTICLE = "no particle is known on it"
_ALREADY_THERE = "it is already in the dataset"


@dataclass(frozen=True)
class Task:
    """One micrograph to prepare.

    Attributes:
        id: Its name in the dataset.
        file: Where it lies.
        split: ``train``, ``val`` or ``test``.
        scale: Nominal working / original scale.
        height: Working height in pixels.
        width: Working width in pixels.
        pixel_size_angstrom: Of the file's image.
        particles: float32 (n, 2), x then y, in pixels of the file's image.
    """

    id: str
    file: Path | RemoteFile
    split: str
    scale: float
    height: int
    width: int
    pixel_size_angstrom: float
    particles: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Survey:
    """All micrographs of an ingest, sorted by id, and what was left out.

    Attributes:
        tasks: The micrographs to prepare.
        skipped: Why a file was left out, by file.
        dropped_outside: Number of particles outside of their micrograph.
        identity: Hash of everything the result depends on; an interrupted ingest continues only under the same.
    """

    tasks: tuple[Task, ...]
    skipped: Mapping[str, str]
    dropped_outside: int
    identity: str


@dataclass(frozen=True)
class Base:
    """The version that an ingest appends to, as far as a survey needs it: its fingerprint and micrographs' ids."""

    fingerprint: str
    ids: Collection[str]


def survey(config: IngestConfig, base: Base | None = None) -> Survey:
    """Find micrographs and particles, match them, and check all that can be checked without reading pixels.

    Parameters
    ----------
    config : IngestConfig
    base : Base, optional
        What is appended to; its micrographs are left out here. Up to two new ones are all for training.

    Raises
    ------
    MicrographError
        When a file is missing, is not a micrograph, has no pixel size, or is smaller than a particle.
    ParticlesError
        When the particle file cannot be read, names micrographs that are not there, or lies outside of them.
    InvalidInputError
        When the diameter is under 5 pixels or there are too few micrographs to split.
    StoreError
        When a URL among the inputs cannot be read.
    """
    with ThreadPoolExecutor(max(config.workers, _HEADERS_AT_A_TIME)) as pool:
        headers = list(pool.map(read_input_header, find_inputs(config.micrographs)))
    matched = match_to_micrographs(read_input_particles(config.particles), headers, config.particles)
    ids = micrograph_ids([header.path for header in headers])
    skipped: dict[str, str] = {}
    kept: dict[str, MicrographHeader] = {}
    for header in headers:
        found = matched.particles.get(header.path)
        if base is not None and ids[header.path] in base.ids:
            skipped[str(header.path)] = _ALREADY_THERE
        elif not config.keep_empty and (found is None or not len(found.xy)):
            skipped[str(header.path)] = _NO_PARTICLE
        else:
            kept[ids[header.path]] = header
    splits = _splits(kept, config, appended=base is not None)
    tasks = tuple(
        _task(name, kept[name], matched.particles.get(kept[name].path), splits[name], config) for name in sorted(kept)
    )
    identity = _identity(tasks, config, base.fingerprint if base else "")
    return Survey(tasks, skipped, matched.outside, identity)


def micrograph_ids(files: Sequence[Path | RemoteFile]) -> dict[Path | RemoteFile, str]:
    """Name micrographs by their file names or, where two are alike, by their paths below the folder common to all."""
    counts = Counter(file.name for file in files)
    if all(count == 1 for count in counts.values()):
        return {file: file.name for file in files}
    parts = {file: _parts(file) for file in files}
    levels = zip(*(each[:-1] for each in parts.values()), strict=False)
    common = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return {file: "/".join(each[common:]) for file, each in parts.items()}


def _parts(file: Path | RemoteFile) -> tuple[str, ...]:
    return file.parts if isinstance(file, RemoteFile) else Path(os.path.abspath(file)).parts[1:]  # noqa: PTH100 (resolve would follow links)


def _splits(ids: Collection[str], config: IngestConfig, *, appended: bool) -> dict[str, str]:
    if appended and len(ids) < 3:
        return dict.fromkeys(ids, "train")
    return assign_splits(ids, seed=config.split_seed, val_size=config.val_size, test_size=config.test_size)


def _task(name: str, header: MicrographHeader, found: Particles | None, split: str, config: IngestConfig) -> Task:
    stated = found.pixel_size_angstrom if found else None
    pixel_size = config.pixel_size_angstrom or header.pixel_size_angstrom or stated
    if pixel_size is None:
        raise MicrographError(f"{header.path}: its header has no pixel size; give --pixel-size-angstrom")
    try:
        scale = working_scale(pixel_size, config.diameter_angstrom, config.box_px)
    except InvalidInputError as error:
        raise InvalidInputError(f"{header.path}: {error}") from error
    height, width = working_shape(header.height, header.width, scale)
    if config.box_px > min(height, width):
        raise MicrographError(
            f"{header.path}: a particle of {config.diameter_angstrom:g} Angstrom is larger than the image of "
            f"{header.width} x {header.height} pixels at {pixel_size:g} Angstrom; check diameter and pixel size"
        )
    xy = np.empty((0, 2), np.float32) if found is None else found.xy.astype(np.float32)
    return Task(name, header.path, split, scale, height, width, pixel_size, xy)


def _identity(tasks: Sequence[Task], config: IngestConfig, base: str) -> str:
    """Hash what the dataset is made of: settings, what is appended to, particles, and the files' sizes and dates."""
    digest = hashlib.sha256()
    settings = {key: getattr(config, key) for key in _RESULT_FIELDS}
    digest.update(json.dumps([FORMAT_VERSION, NORMALISATION, settings, base], sort_keys=True).encode())
    for task in tasks:
        facts = [task.id, *_state(task.file), task.split, task.scale, task.pixel_size_angstrom]
        digest.update(json.dumps(facts).encode())
        digest.update(task.particles.tobytes())
    return digest.hexdigest()


def _state(file: Path | RemoteFile) -> tuple[str, int, str]:
    if isinstance(file, RemoteFile):
        return file.url, file.bytes, file.modified
    status = file.stat()
    return str(file.resolve()), status.st_size, str(status.st_mtime_ns)
