"""Pick files judged against particle files, by the protocol of docs/evaluation.md."""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hydrapicker.errors import ParticlesError
from hydrapicker.evaluation.config import EvaluateConfig
from hydrapicker.evaluation.judged import UNSCORED, Evaluation, ends, judge_picks
from hydrapicker.evaluation.pickfiles import PickFile, pixel_size_of
from hydrapicker.files import Particles
from hydrapicker_core.bootstrap import Interval, bootstrap_difference, drawn_average_precision
from hydrapicker_core.metrics import MicrographResult

__all__ = ["Comparison", "Difference", "EvaluateConfig", "Evaluation", "evaluate_picks"]


@dataclass(frozen=True)
class Difference:
    """AP of picker `new` minus that of picker `old`, its interval over the same micrographs for both."""

    new: str
    old: str
    ap: Interval

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"new": self.new, "old": self.old, "ap": self.ap.estimate, "interval": ends(self.ap)}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Pickers judged on the same micrographs.

    Attributes:
        pickers: Each picker's result, by name.
        differences: Of each picker from the one given before it, both with scores and a defined AP.
        files: Picks by picker, and the particles, as they name the micrographs.
        particles: The file of particles.
    """

    pickers: dict[str, Evaluation]
    differences: tuple[Difference, ...]
    files: dict[str, PickFile]
    particles: PickFile

    def as_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        return {
            "format_version": 1,
            "pickers": {name: each.as_dict() for name, each in self.pickers.items()},
            "differences": [each.as_dict() for each in self.differences],
        }


def evaluate_picks(config: EvaluateConfig) -> Comparison:
    """Compare pickers' files with the truth.

    Compared are the micrographs that any of the pickers mentions, or all with particles if so asked; a picker that
    does not mention one of them has no picks there.

    Raises:
        ParticlesError: For files that cannot be used, without scores, or of other micrographs.
        InvalidInputError: When no pixel size is known.
    """
    particles = PickFile.read(config.particles)
    files = {name: PickFile.read(path) for name, path in config.pickers().items()}
    mentioned = {stem for file in files.values() for stem in file.by_stem}
    unknown = sorted(mentioned - particles.by_stem.keys())
    if unknown:
        raise ParticlesError(
            f"{config.particles} holds no particles for {len(unknown)} of {len(mentioned)} picked micrographs "
            f"({', '.join(unknown[:3])}): evaluate only micrographs whose particles are known"
        )
    compared = sorted(particles.by_stem if config.all_micrographs else mentioned)
    if not compared:
        raise ParticlesError(
            f"{', '.join(str(file.path) for file in files.values())}: no micrograph to compare: give a folder of files "
            "per micrograph, or --all-micrographs to count every particle as missed"
        )
    pixel_size = config.pixel_size_angstrom or pixel_size_of(*files.values(), particles)
    pickers = {name: _judged(file, particles, compared, pixel_size, config) for name, file in files.items()}
    return Comparison(pickers, _differences(pickers, config), files, particles)


def _judged(
    file: PickFile, particles: PickFile, compared: list[str], pixel_size: float, config: EvaluateConfig
) -> Evaluation:
    box_px = config.diameter_angstrom / pixel_size
    scored = not config.unscored or any(each.score is not None for each in file.by_stem.values())
    results = {}
    for stem in compared:
        found = file.in_rows_of(particles, stem) if stem in file.by_stem else _NOTHING
        score = _scores(file.path, stem, found, scored)
        results[stem] = MicrographResult(found.xy, score, particles.by_stem[stem].xy, box_px)
    unpicked = tuple(sorted(particles.by_stem.keys() - file.by_stem.keys()))
    return judge_picks(
        results, pixel_size, config.iou_threshold, config.threshold, unpicked, config.bootstrap(), scored
    )


_NOTHING = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def _scores(path: Path, stem: str, picks: Particles, scored: bool) -> np.ndarray:
    if not scored:
        return np.full(len(picks.xy), UNSCORED, np.float32)
    if picks.score is not None:
        return picks.score
    if len(picks.xy) == 0:
        return np.zeros(0, np.float32)
    raise ParticlesError(
        f"{path}: the picks of {stem} have no scores (rlnAutopickFigureOfMerit), which AP and AUROC rank by: give "
        "files with scores, or --unscored for precision, recall and F1 alone"
    )


def _differences(pickers: dict[str, Evaluation], config: EvaluateConfig) -> tuple[Difference, ...]:
    ranked = {name: each for name, each in pickers.items() if each.scored and not math.isnan(each.metrics.ap)}
    return tuple(
        Difference(
            new,
            old,
            bootstrap_difference(ranked[new].parts(), ranked[old].parts(), drawn_average_precision, config.bootstrap()),
        )
        for old, new in pairwise(ranked)
    )
