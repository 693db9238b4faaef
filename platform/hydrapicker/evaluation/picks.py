"""Pick files judged against particle files, by the paper's protocol."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import Particles, micrograph_stem, read_header, read_particles
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD, Metrics, MicrographResult, score_picks, summarise


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
    named = {path: read_particles(path) for path in (config.picks, config.particles)}
    picks, particles = (_by_stem(table, path) for path, table in named.items())
    unknown = sorted(picks.keys() - particles.keys())
    if unknown:
        raise ParticlesError(
            f"{config.particles} holds no particles for {len(unknown)} of {len(picks)} picked micrographs "
            f"({', '.join(unknown[:3])}): evaluate only micrographs whose particles are known"
        )
    unpicked = tuple(sorted(particles.keys() - picks.keys()))
    compared = tuple(sorted(particles if config.all_micrographs else picks))
    pixel_size = config.pixel_size_angstrom or _pixel_size(named)
    box_px = config.diameter_angstrom / pixel_size
    nothing = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    results = []
    for name in compared:
        found = picks.get(name, nothing)
        if found.score is None:
            raise ParticlesError(f"{config.picks}: the picks of {name} have no scores (rlnAutopickFigureOfMerit)")
        results.append(MicrographResult(found.xy, found.score, particles[name].xy, box_px))
    metrics = summarise(score_picks(results, config.iou_threshold), len(results), config.threshold)
    return Evaluation(metrics, compared, unpicked, box_px)


def _by_stem(found: Mapping[str, Particles], source: Path) -> dict[str, Particles]:
    stems: dict[str, Particles] = {}
    for name, particles in found.items():
        stem = micrograph_stem(name)
        if stem in stems:
            raise ParticlesError(f"{source}: two micrographs are called {stem}: evaluate their folders one by one")
        stems[stem] = particles
    return stems


def _pixel_size(named: Mapping[Path, Mapping[str, Particles]]) -> float:
    stated = {p.pixel_size_angstrom for table in named.values() for p in table.values() if p.pixel_size_angstrom}
    stated = stated or {size for path, table in named.items() for size in _sizes_of_micrographs(path, table)}
    if len({round(size, 4) for size in stated}) > 1:
        raise InvalidInputError(
            f"the files state different pixel sizes ({', '.join(f'{s:g}' for s in sorted(stated))} Angstrom): "
            "give --pixel-size-angstrom"
        )
    if not stated:
        raise InvalidInputError(
            f"neither {' nor '.join(map(str, named))} states a pixel size: give --pixel-size-angstrom"
        )
    return stated.pop()


def _sizes_of_micrographs(file: Path, table: Mapping[str, Particles]) -> set[float]:
    # A STAR file names its micrographs relative to its own folder, or to the one it is used from.
    candidates = (folder / name for name in table for folder in (file.parent, Path()))
    sizes = {read_header(path).pixel_size_angstrom for path in candidates if path.is_file()}
    return {size for size in sizes if size is not None}
