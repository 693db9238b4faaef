"""Topaz' shipped detector on the targets, at several scales: a peer at its best.

Topaz takes micrographs as they are and has no notion of the particle's size: `topaz preprocess --scale` shrinks and
normalises them first, by whole factors, and which factor suits is for its user to find. All are tried, and the best is
chosen on the test micrographs themselves, which no user could do: what it reaches is an upper bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from hydrapicker.files import Particles, micrograph_stem, read_particles
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles
from hydrapicker.study.steps import Step
from hydrapicker_core.metrics import MicrographResult, average_precision, score_picks

__all__ = ["IOU_THRESHOLDS", "TopazTarget", "extractions", "topaz_model", "topaz_of"]

IOU_THRESHOLDS = (0.6, 0.4)
"""Overlaps at which a study judges."""

_FACTORS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
# Its manual has particles of some 20 pixels; it sees 71, and one of a few pixels is lost in the noise.
_LEAST_PX, _MOST_PX = 7.0, 33.0
_ALL = "-1000"


def topaz_model(iou_threshold: float) -> str:
    """What Topaz at its best scale for an overlap is called."""
    return f"topaz-{iou_threshold:g}"


@dataclass(frozen=True)
class TopazTarget:
    """Topaz on one target.

    Attributes:
        dataset: Its name.
        results: What it picks on each test micrograph, in pixels of the files, by the factor they were shrunk by.
    """

    dataset: str
    results: Mapping[int, Sequence[MicrographResult]]

    def ap(self, factor: int, iou_threshold: float) -> float:
        """AP at one scale."""
        return average_precision(score_picks(self.results[factor], iou_threshold))

    def best_factor(self, iou_threshold: float) -> int:
        """The factor with the highest AP."""
        return max(self.results, key=lambda factor: self.ap(factor, iou_threshold))

    def best(self) -> dict[str, Sequence[MicrographResult]]:
        """Results at the best scale, by :func:`topaz_model`."""
        return {topaz_model(iou): self.results[self.best_factor(iou)] for iou in IOU_THRESHOLDS}


def extractions(config: StudyConfig, targets: Mapping[str, TargetFiles]) -> list[Step]:
    """Topaz' commands: shrink and normalise the test micrographs, then extract all that it finds."""
    if not config.topaz:
        return []
    steps = []
    for name, files in targets.items():
        rows = [int(row) for row in files.dataset.split("test")]
        micrographs = [files.by_row[row] for row in rows]
        depends = {"dataset": files.dataset.fingerprint, "micrographs": _identity(micrographs)}
        for factor in _factors(files):
            folder, radius = _folder(config, name, factor), files.box_px(rows[0]) / factor / 2
            shrink = ("preprocess", "-s", str(factor), "-o", str(folder), *map(str, micrographs))
            shrunk = [str(folder / f"{micrograph_stem(path.name)}.mrc") for path in micrographs]
            options = ("-r", str(max(1, round(radius))), "-t", _ALL, "-x", str(factor), "-d", "-1")
            extract = ("extract", *options, "-o", str(folder / "picks.txt"), *shrunk)
            for verb, arguments in (("preprocess", shrink), ("extract", extract)):
                steps.append(Step(f"{name}-topaz-{factor}-{verb}", (config.topaz,), arguments, {}, depends))
    return steps


def topaz_of(config: StudyConfig, files: TargetFiles) -> TopazTarget:
    """Read what the extractions left.

    Raises:
        ParticlesError: For a file that is not there, or is none of Topaz'.
    """
    name, rows = files.dataset.name, [int(row) for row in files.dataset.split("test")]
    found = {}
    for factor in _factors(files):
        picks = read_particles(_folder(config, name, factor) / "picks.txt")
        found[factor] = [_result(files, row, picks.get(micrograph_stem(files.by_row[row].name))) for row in rows]
    return TopazTarget(name, found)


def _result(files: TargetFiles, row: int, picks: Particles | None) -> MicrographResult:
    if picks is None or picks.score is None:  # a micrograph that Topaz found nothing on is not in its file
        picks = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    assert picks.score is not None
    return MicrographResult(picks.xy, picks.score, files.true_particles(row), files.box_px(row))


def _factors(files: TargetFiles) -> list[int]:
    box_px = files.box_px(int(files.dataset.split("test")[0]))
    return [factor for factor in _FACTORS if _LEAST_PX <= box_px / factor <= _MOST_PX]


def _folder(config: StudyConfig, name: str, factor: int) -> Path:
    return config.folder / "topaz" / name / f"scale-{factor}"


def _identity(paths: Sequence[Path]) -> str:
    return sha256(repr([str(path) for path in paths]).encode()).hexdigest()
