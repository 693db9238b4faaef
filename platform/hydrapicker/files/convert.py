"""From one program's particle files to another's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tyro.conf import Positional

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.formats import FORMATS, FormatName, format_of, write_picks
from hydrapicker.files.inputs import find_inputs, read_input_header, read_input_particles
from hydrapicker.files.matching import match_to_micrographs, resolve_names
from hydrapicker.files.micrographs import MICROGRAPH_SUFFIXES
from hydrapicker.files.remote import is_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ConvertConfig", "ConvertReport", "convert"]


@dataclass(frozen=True)
class ConvertConfig:
    """Convert particle files from one program's format to another's.

    Coordinates are scaled first; all other options speak of the micrographs that the output belongs to.

    Attributes:
        source: Particle file, a folder with one per micrograph, or a quoted pattern.
        out: File to write, or a folder for one file per micrograph.
        to: Format to write; by default the one that OUT ends like.
        micrographs: Files, folders or quoted patterns; the output names them, and knows their size and pixel size.
        height: Of all micrographs in pixels, where they are not at hand.
        width: Of all micrographs in pixels, where they are not at hand.
        pixel_size_angstrom: Of the micrographs; by default what the files say.
        flip_y: Count rows from the other end: for micrographs that another program stored upside down.
        scale: Multiply coordinates by this: 4 to go from micrographs binned by 4 to the whole ones.
        threshold: Leave out particles with a lower score.
        min_distance_angstrom: Leave out particles nearer than this to one with a higher score.
        diameter_angstrom: Side of the boxes, for formats that want boxes.
        box_px: Side of the boxes in pixels instead; by default what the files say.
        apply: The choice.json that a report of `hydrapicker inspect` exported: only the picks it leaves. SOURCE may
            then be the folder that `hydrapicker pick` wrote, whose doubtful picks are chosen among, too.
    """

    source: Positional[str]
    out: Positional[Path]
    to: FormatName | None = None
    micrographs: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None
    pixel_size_angstrom: float | None = None
    flip_y: bool = False
    scale: float = 1.0
    threshold: float | None = None
    min_distance_angstrom: float | None = None
    diameter_angstrom: float | None = None
    box_px: float | None = None
    apply: Path | None = None

    def __post_init__(self) -> None:
        positive = ("height", "width", "pixel_size_angstrom", "scale", "diameter_angstrom", "box_px")
        for name in positive:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} {value} is not positive: give a number above 0")
        if self.min_distance_angstrom is not None and not 0 <= self.min_distance_angstrom < math.inf:
            raise InvalidInputError(f"min_distance_angstrom {self.min_distance_angstrom}: give a distance in Angstrom")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InvalidInputError(f"threshold {self.threshold} is no score: give a number")
        if self.diameter_angstrom is not None and self.box_px is not None:
            raise InvalidInputError("diameter_angstrom and box_px both say how large boxes are: give one of them")
        if self.micrographs and (self.height or self.width):
            raise InvalidInputError("micrographs say how large they are: leave height and width out")


@dataclass(frozen=True)
class ConvertReport:
    """What was converted.

    Attributes:
        written: The files.
        counts: Particles written per micrograph.
        outside: Particles that lay outside of their micrographs, and were left out.
        taken_as_mrc: Micrographs named without suffix whose rows were counted as an MRC's, where a TIFF's differ.
    """

    written: tuple[Path, ...]
    counts: dict[str, int]
    outside: int
    taken_as_mrc: tuple[str, ...]


def convert(config: ConvertConfig) -> ConvertReport:
    """Read, change and write.

    Raises:
        InvalidInputError: When the format of the output, or what it needs, is not known.
        ParticlesError: For files that cannot be used, or that do not fit the micrographs.
        OutputError: When a file cannot be written.
    """
    form = _format(config)
    particles, config = _given(config)
    read = {name: _scaled(part, config.scale) for name, part in particles.items()}
    taken_as_mrc = tuple(
        name
        for name, part in read.items()
        if not config.micrographs
        and part.convention is not FORMATS[form].convention
        and not name.lower().endswith(MICROGRAPH_SUFFIXES)
    )
    found, outside = _looked_up(config, read)
    changed = {name: _changed(config, name, part) for name, part in _chosen(config, found).items()}
    written = write_picks(form, config.out, changed)
    counts = {name: len(part.xy) for name, part in changed.items()}
    return ConvertReport(tuple(written), counts, outside, taken_as_mrc)


def _format(config: ConvertConfig) -> FormatName:
    ends_like = format_of(config.out)
    if config.to is None and ends_like is None:
        raise InvalidInputError(f"{config.out}: give --to {'|'.join(FORMATS)}, for the name does not say the format")
    if config.to is not None and ends_like is not None and config.to != ends_like:
        raise InvalidInputError(f"{config.out}: ends like {ends_like} and not like {config.to}; name it otherwise")
    form = config.to or ends_like
    assert form is not None
    return form


def _given(config: ConvertConfig) -> tuple[dict[str, Particles], ConvertConfig]:
    """The particles, and the options with what is on record of how they were picked."""
    if config.apply is None or is_url(config.source) or not Path(config.source).is_dir():
        return read_input_particles(config.source), config
    from hydrapicker.picking.source import PickSource

    source = PickSource.read(Path(config.source))
    if source.record is not None and config.diameter_angstrom is None and config.box_px is None:
        config = replace(config, diameter_angstrom=source.record.diameter_angstrom)
    return source.picks, config


def _chosen(config: ConvertConfig, found: dict[str, Particles]) -> dict[str, Particles]:
    if config.apply is None:
        return found
    from hydrapicker.inspection.choice import apply_choice, read_choice

    if config.pixel_size_angstrom is not None:
        size = config.pixel_size_angstrom
        found = {name: replace(part, pixel_size_angstrom=size) for name, part in found.items()}
    return apply_choice(read_choice(config.apply), found)


def _scaled(particles: Particles, scale: float) -> Particles:
    """Pixel 0 keeps its centre, as in Fourier cropping."""
    if scale == 1:
        return particles
    shape, size, box = particles.shape, particles.pixel_size_angstrom, particles.box_px
    return replace(
        particles,
        xy=(particles.xy * np.float64(scale)).astype(np.float32),
        shape=None if shape is None else (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))),
        pixel_size_angstrom=None if size is None else size / scale,
        box_px=None if box is None else box * scale,
    )


def _looked_up(config: ConvertConfig, read: Mapping[str, Particles]) -> tuple[dict[str, Particles], int]:
    """The particles with what the micrographs say of themselves, and how many lay outside."""
    if not config.micrographs:
        known = (config.height, config.width) if config.height and config.width else None
        return {name: replace(part, shape=known or part.shape) for name, part in read.items()}, 0
    meant = resolve_names(list(read), find_inputs(config.micrographs), config.source)
    headers = {path: read_input_header(path) for path in meant.values()}
    matched = match_to_micrographs(read, list(headers.values()), config.source)
    sized = {
        str(path): replace(part, pixel_size_angstrom=headers[path].pixel_size_angstrom or part.pixel_size_angstrom)
        for path, part in matched.particles.items()
    }
    return sized, matched.outside


def _changed(config: ConvertConfig, name: str, particles: Particles) -> Particles:
    if config.pixel_size_angstrom is not None:
        particles = replace(particles, pixel_size_angstrom=config.pixel_size_angstrom)
    if config.flip_y:
        height = config.height or (None if particles.shape is None else particles.shape[0])
        if height is None:
            raise InvalidInputError(f"{name}: its height is not known, to count rows from the other end; give --height")
        y = height - 1 - particles.xy[:, 1]
        particles = replace(particles, xy=np.stack([particles.xy[:, 0], y], axis=1).astype(np.float32))
    if config.threshold is not None:
        if particles.score is None:
            raise ParticlesError(f"{config.source}: {name} has no scores to compare with a threshold; leave it out")
        particles = _only(particles, np.flatnonzero(particles.score >= config.threshold))
    if config.min_distance_angstrom:
        particles = _apart(particles, config.min_distance_angstrom / _pixel_size(name, particles))
    if config.diameter_angstrom is not None:
        particles = replace(particles, box_px=config.diameter_angstrom / _pixel_size(name, particles))
    return particles if config.box_px is None else replace(particles, box_px=config.box_px)


def _pixel_size(name: str, particles: Particles) -> float:
    if particles.pixel_size_angstrom is None:
        raise InvalidInputError(f"{name}: no file says its pixel size; give --pixel-size-angstrom or --micrographs")
    return particles.pixel_size_angstrom


def _only(particles: Particles, rows: "NDArray[np.intp]") -> Particles:
    score = None if particles.score is None else particles.score[rows]
    return replace(particles, xy=particles.xy[rows], score=score)


def _apart(particles: Particles, distance_px: float) -> Particles:
    """Without those nearer than this to one with a higher score, or, where there are no scores, to an earlier one."""
    import torch

    from hydrapicker_core.detection import Detections, suppress_duplicates

    score = np.zeros(len(particles.xy), np.float32) if particles.score is None else particles.score
    best_first = np.argsort(-score, kind="stable")
    xy, ranks = torch.from_numpy(particles.xy[best_first]), torch.arange(len(score), dtype=torch.float32)
    kept = suppress_duplicates(Detections(xy, -ranks), distance_px).score  # ranks in place of scores: who was kept
    return _only(particles, best_first[(-kept).numpy().astype(int)])
