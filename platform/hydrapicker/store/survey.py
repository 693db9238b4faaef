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
from hydrapicker.store.appending import Base, other_image, other_particles
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.layout import FORMAT_VERSION, NORMALISATION
from hydrapicker.store.rows import Row
from hydrapicker.store.splits import assign_splits
from hydrapicker.store.unusable import in_short, unusable_error
from hydrapicker_core.scale import working_scale, working_shape

__all__ = ["Survey", "Task", "micrograph_ids", "survey"]

_RESULT_FIELDS = (
    "name", "diameter_angstrom", "contrast", "box_px", "val_size", "test_size", "split_seed", "keep_empty",
    "shard_megabytes",
)  # fmt: skip
_HEADERS_AT_A_TIME, _REMOTE_HEADERS_AT_A_TIME = 8, 32
"""Reading a header is waiting, not work: for a disk across the network, or S3."""
_ANY_SIDE = 2**31
"""Stands for the side of an image whose header cannot be read, so that its particles are not taken for mistakes."""
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
        When a file is missing, is not a micrograph, has no pixel size, or is smaller than a particle; when another
        micrograph of its name is in ``base``.
    ParticlesError
        When the particle file cannot be read, names micrographs that are not there, or lies outside of them.
    InvalidInputError
        When the diameter is under 5 pixels or there are too few micrographs to split.
    StoreError
        When a URL among the inputs cannot be read.
    """
    headers, unusable = _read_headers(config)
    matched = match_to_micrographs(read_input_particles(config.particles), headers, config.particles)
    ids = micrograph_ids([header.path for header in headers])
    skipped: dict[str, str] = {}
    kept: dict[str, MicrographHeader] = {}
    for header in headers:
        there = None if base is None else base.row(ids[header.path])
        reason = unusable.get(header.path) or _left_out(header, matched.particles.get(header.path), there, config)
        if reason:
            skipped[str(header.path)] = reason
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


def _read_headers(config: IngestConfig) -> tuple[list[MicrographHeader], dict[Path | RemoteFile, str]]:
    """Read all headers; of files whose header cannot be read the reasons."""
    files = find_inputs(config.micrographs)
    remote = any(isinstance(file, RemoteFile) for file in files)

    def read(file: Path | RemoteFile) -> MicrographHeader | str:
        try:
            return read_input_header(file)
        except MicrographError as error:
            return in_short(error, file)

    with ThreadPoolExecutor(max(config.workers, _REMOTE_HEADERS_AT_A_TIME if remote else _HEADERS_AT_A_TIME)) as pool:
        found = dict(zip(files, pool.map(read, files), strict=True))
    unusable = {file: each for file, each in found.items() if isinstance(each, str)}
    if unusable and not config.skip_unusable:
        raise unusable_error({str(file): reason for file, reason in unusable.items()}, len(files))
    unknown = (MicrographHeader(file, _ANY_SIDE, _ANY_SIDE, None) for file in unusable)
    return [*(each for each in found.values() if not isinstance(each, str)), *unknown], unusable


def _left_out(header: MicrographHeader, found: Particles | None, there: Row | None, config: IngestConfig) -> str | None:
    """Say why a micrograph is left out, if it is; ``there`` is the one of its name in the version appended to."""
    empty = not config.keep_empty and (found is None or not len(found.xy))
    if there is None:
        return _NO_PARTICLE if empty else None
    difference = other_image(header, _pixel_size(header, found, config), there)
    if not (difference or empty):
        difference = other_particles(found, there)
    if difference and not empty:
        raise MicrographError(
            f"{header.path}: another micrograph of this name is in the dataset ({difference}); rename this one, or, "
            "if it is the same one with other particles, ingest all micrographs anew without --append"
        )
    return _NO_PARTICLE if difference else _ALREADY_THERE


def _pixel_size(header: MicrographHeader, found: Particles | None, config: IngestConfig) -> float | None:
    return config.pixel_size_angstrom or header.pixel_size_angstrom or (found.pixel_size_angstrom if found else None)


def _parts(file: Path | RemoteFile) -> tuple[str, ...]:
    return file.parts if isinstance(file, RemoteFile) else Path(os.path.abspath(file)).parts[1:]  # noqa: PTH100 (resolve would follow links)


def _splits(ids: Collection[str], config: IngestConfig, *, appended: bool) -> dict[str, str]:
    if appended and len(ids) < 3:
        return dict.fromkeys(ids, "train")
    return assign_splits(ids, seed=config.split_seed, val_size=config.val_size, test_size=config.test_size)


def _task(name: str, header: MicrographHeader, found: Particles | None, split: str, config: IngestConfig) -> Task:
    pixel_size = _pixel_size(header, found, config)
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
