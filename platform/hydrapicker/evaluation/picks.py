"""Pick files judged against particle files, by the paper's protocol."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import (
    MicrographHeader,
    Particles,
    micrograph_stem,
    read_header,
    read_particles,
    to_program_convention,
)
from hydrapicker.files.micrographs import is_tiff
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD, Metrics, MicrographResult, score_picks, summarise

_SAME_PIXEL_SIZE = 1e-4
"""Pixel sizes that differ by no more than this share are one, written with more or fewer digits."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Compare picks with particles: AP, AUROC, best F1, precision and recall.

    Attributes:
        picks: Pick file (.star, .box, .csv), a folder with one per micrograph, or a quoted pattern.
        particles: File or folder with the true particles.
        diameter_angstrom: The particle's diameter, which is the side of the box around picks and particles.
        pixel_size_angstrom: Of the micrographs; by default what the files, or the micrographs they name, say.
        iou_threshold: Overlap above which a pick is a hit.
        threshold: Score at which precision, recall and F1 are read; by default that of the best F1.
        all_micrographs: Also count particles of micrographs that the picks do not mention, as missed.
        json: Print JSON instead of a table.
    """

    picks: Path
    particles: Path
    diameter_angstrom: float
    pixel_size_angstrom: float | None = None
    iou_threshold: float = DEFAULT_IOU_THRESHOLD
    threshold: float | None = None
    all_micrographs: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        if not 0 <= self.iou_threshold < 1:
            raise InvalidInputError(f"iou_threshold {self.iou_threshold} is not in [0, 1): give 0.6, as the paper")


@dataclass(frozen=True)
class Evaluation:
    """The result of a comparison.

    Attributes:
        metrics: Over all micrographs compared, picks ranked together.
        compared: Names of the micrographs that were compared.
        unpicked: Micrographs with particles that the picks do not mention.
        box_px: Side of the boxes, in pixels of the micrographs.
    """

    metrics: Metrics
    compared: tuple[str, ...]
    unpicked: tuple[str, ...]
    box_px: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        return {**self.metrics.as_dict(), "box_px": self.box_px, "unpicked_micrographs": list(self.unpicked)}


def evaluate_picks(config: EvaluateConfig) -> Evaluation:
    """Compare a picker's files with the truth.

    Raises:
        ParticlesError: For files that cannot be used, without scores, or of other micrographs.
        InvalidInputError: When no pixel size is known.
    """
    picks, particles = _File.read(config.picks), _File.read(config.particles)
    unknown = sorted(picks.by_stem.keys() - particles.by_stem.keys())
    if unknown:
        raise ParticlesError(
            f"{config.particles} holds no particles for {len(unknown)} of {len(picks.by_stem)} picked micrographs "
            f"({', '.join(unknown[:3])}): evaluate only micrographs whose particles are known"
        )
    unpicked = tuple(sorted(particles.by_stem.keys() - picks.by_stem.keys()))
    compared = tuple(sorted(particles.by_stem if config.all_micrographs else picks.by_stem))
    pixel_size = config.pixel_size_angstrom or _pixel_size(picks, particles)
    box_px = config.diameter_angstrom / pixel_size
    results = []
    for stem in compared:
        if stem in unpicked:
            found = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
        else:
            found = picks.in_rows_of(particles, stem)
        if found.score is None:
            raise ParticlesError(f"{config.picks}: the picks of {stem} have no scores (rlnAutopickFigureOfMerit)")
        results.append(MicrographResult(found.xy, found.score, particles.by_stem[stem].xy, box_px))
    metrics = summarise(score_picks(results, config.iou_threshold), len(results), config.threshold)
    return Evaluation(metrics, compared, unpicked, box_px)


@dataclass(frozen=True, eq=False)
class _File:
    """What a file of picks or particles says, by the micrographs' stems, and how it names the micrographs."""

    path: Path
    by_stem: dict[str, Particles]
    names: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "_File":
        named = read_particles(path)
        names: dict[str, str] = {}
        for name in named:
            stem = micrograph_stem(name)
            if stem in names:
                raise ParticlesError(f"{path}: two micrographs are called {stem}: evaluate their folders one by one")
            names[stem] = name
        return cls(path, {stem: named[name] for stem, name in names.items()}, names)

    def headers(self, stems: Iterable[str]) -> Iterator[MicrographHeader]:
        """Of the micrographs themselves, as far as they are where the file says."""
        # A STAR file names its micrographs relative to its own folder, or to the one it is used from.
        candidates = (folder / self.names[stem] for stem in stems for folder in (self.path.parent, Path()))
        return (read_header(path) for path in candidates if path.is_file())

    def in_rows_of(self, other: "_File", stem: str) -> Particles:
        """A micrograph's picks, with y counted as the other file counts it."""
        own, wanted = self.by_stem[stem], other.by_stem[stem].convention
        name = next((file.names[stem] for file in (self, other) if is_tiff(file.names[stem])), None)
        if own.convention is wanted or name is None:
            return own
        header = next((header for file in (self, other) for header in file.headers([stem])), None)
        if header is None:
            raise ParticlesError(
                f"{self.path} and {other.path} count the rows of {name} from opposite ends, as STAR and CSV files do "
                f"for TIFF, and its height is not known: give both as STAR files, or put {name} where they name it"
            )
        # A flip is its own inverse: from either convention to the other.
        return replace(own, xy=to_program_convention(own.xy, name, header.height), convention=wanted)


def _pixel_size(*files: _File) -> float:
    stated = {each.pixel_size_angstrom for file in files for each in file.by_stem.values()}
    if stated <= {None}:
        stated = {header.pixel_size_angstrom for file in files for header in file.headers(file.names)}
    sizes = sorted(size for size in stated if size is not None)
    if not sizes:
        paths = " nor ".join(str(file.path) for file in files)
        raise InvalidInputError(f"neither {paths} states a pixel size: give --pixel-size-angstrom")
    if sizes[-1] > sizes[0] * (1 + _SAME_PIXEL_SIZE):
        raise InvalidInputError(
            f"the files state different pixel sizes ({', '.join(f'{s:g}' for s in sizes)} Angstrom): "
            "give --pixel-size-angstrom"
        )
    return sizes[0]
