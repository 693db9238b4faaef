"""One picker's picks judged on micrographs with known particles: hits, pooled figures, intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker_core.bootstrap import (
    BootstrapConfig,
    Interval,
    MicrographPart,
    Statistic,
    bootstrap_intervals,
    drawn_auroc,
    drawn_average_precision,
    drawn_best_f1,
    drawn_f1,
    drawn_precision,
    drawn_recall,
)
from hydrapicker_core.hits import NO_PARTICLE, matched_particles
from hydrapicker_core.metrics import Metrics, MicrographResult, ScoredPicks, pool, score_picks, summarise

IOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Overlaps of the table that shows how the figures depend on them."""

UNSCORED = 1.0
"""The score of all picks whose file gives none."""


@dataclass(frozen=True, eq=False)
class JudgedMicrograph:
    """A micrograph's picks and particles, and which particle each pick hits (``NO_PARTICLE`` for none), ``(n,)``."""

    stem: str
    result: MicrographResult
    matched: NDArray[np.int64]

    @classmethod
    def of(cls, stem: str, result: MicrographResult, iou_threshold: float) -> "JudgedMicrograph":
        """Match a micrograph's picks with its particles."""
        found = matched_particles(result.picks, result.scores, result.particles, result.box_px, iou_threshold)
        return cls(stem, result, found)

    def part(self) -> MicrographPart:
        """Scores, hit marks and number of particles, ready to be pooled."""
        return self.result.scores, self.matched != NO_PARTICLE, len(self.result.particles)

    def kept(self, threshold: float) -> NDArray[np.bool_]:
        """Which picks a threshold keeps, ``(n,)``; a threshold of NaN keeps none."""
        kept: NDArray[np.bool_] = self.result.scores >= threshold
        return kept

    def centre_errors_px(self, threshold: float) -> NDArray[np.float64]:
        """Distances between hits that a threshold keeps and their particles."""
        hits = self.kept(threshold) & (self.matched != NO_PARTICLE)
        apart = self.result.picks[hits].astype(np.float64) - self.result.particles[self.matched[hits]]
        errors: NDArray[np.float64] = np.hypot(apart[:, 0], apart[:, 1])
        return errors


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One picker's result.

    Attributes:
        metrics: Over all micrographs compared, picks ranked together.
        compared: Names of the micrographs that were compared.
        unpicked: Micrographs with particles that the picks do not mention.
        box_px: Side of the boxes, in pixels of the micrographs.
        pixel_size_angstrom: Of the micrographs.
        threshold: Score from which picks are kept for precision, recall, F1 and centre errors; NaN: none are.
        scored: Whether the picks have scores; AP and AUROC are undefined if not.
        intervals: Of AP, AUROC, best F1, precision, recall and F1, over micrographs.
        by_iou: The metrics at other overlaps, at the same threshold.
        micrographs: What became of every micrograph's picks.
    """

    metrics: Metrics
    compared: tuple[str, ...]
    unpicked: tuple[str, ...]
    box_px: float
    pixel_size_angstrom: float
    threshold: float
    scored: bool
    intervals: dict[str, Interval]
    by_iou: dict[float, Metrics]
    micrographs: tuple[JudgedMicrograph, ...]

    @property
    def median_centre_error_angstrom(self) -> float:
        """Median distance between the hits that are kept and their particles; NaN without any."""
        return self._median_angstrom(self.micrographs)

    def per_micrograph(self) -> dict[str, dict[str, Any]]:
        """Figures of every micrograph on its own, at the threshold of all; what is undefined is None."""
        rows = {}
        for each in self.micrographs:
            figures = _figures(pool([each.part()]), 1, self.threshold, self.scored).as_dict()
            rows[each.stem] = {
                **{name: figures[name] for name in ("particles", "picks", "hits", "ap", "precision", "recall", "f1")},
                "kept_picks": int(each.kept(self.threshold).sum()),
                "median_centre_error_angstrom": defined(self._median_angstrom([each])),
            }
        return rows

    def pooled(self) -> ScoredPicks:
        """All picks ranked together."""
        return pool(each.part() for each in self.micrographs)

    def parts(self) -> list[MicrographPart]:
        """Micrograph by micrograph, for intervals of other statistics."""
        return [each.part() for each in self.micrographs]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        return {
            **self.metrics.as_dict(),
            "median_centre_error_angstrom": defined(self.median_centre_error_angstrom),
            "box_px": self.box_px,
            "pixel_size_angstrom": self.pixel_size_angstrom,
            "unpicked_micrographs": list(self.unpicked),
            "intervals": {name: ends(interval) for name, interval in self.intervals.items()},
            "by_iou": [{"iou_threshold": at, **each.as_dict()} for at, each in self.by_iou.items()],
            "per_micrograph": self.per_micrograph(),
        }

    def _median_angstrom(self, micrographs: Sequence[JudgedMicrograph]) -> float:
        errors = [each.centre_errors_px(self.threshold) for each in micrographs]
        joined = np.concatenate([np.zeros(0), *errors])
        return float(np.median(joined)) * self.pixel_size_angstrom if len(joined) else math.nan


def defined(value: float) -> float | None:
    """The value, or None for NaN, which JSON does not know."""
    return None if math.isnan(value) else value


def ends(interval: Interval) -> list[float] | None:
    """Low and high end of an interval, None where it has none."""
    return None if math.isnan(interval.low) else [interval.low, interval.high]


def judge_picks(
    results: dict[str, MicrographResult],
    pixel_size_angstrom: float,
    iou_threshold: float,
    threshold: float | None,
    unpicked: tuple[str, ...],
    bootstrap: BootstrapConfig,
    scored: bool = True,
) -> Evaluation:
    """Judge one picker's picks by micrograph, all with boxes of one size."""
    micrographs = tuple(JudgedMicrograph.of(stem, result, iou_threshold) for stem, result in results.items())
    parts = [each.part() for each in micrographs]
    wanted = threshold if scored else UNSCORED
    metrics = _figures(pool(parts), len(parts), wanted, scored)
    at = metrics.threshold if scored else UNSCORED
    by_iou = {iou: _figures(score_picks(results.values(), iou), len(parts), at, scored) for iou in IOU_THRESHOLDS}
    intervals = bootstrap_intervals(parts, _statistics(at, scored), bootstrap)
    return Evaluation(
        metrics,
        tuple(results),
        unpicked,
        next(iter(results.values())).box_px,
        pixel_size_angstrom,
        at,
        scored,
        intervals,
        by_iou,
        micrographs,
    )


def _figures(picks: ScoredPicks, micrographs: int, threshold: float | None, scored: bool) -> Metrics:
    metrics = summarise(picks, micrographs, threshold)
    if scored:
        return metrics
    nothing = math.nan  # one score for all picks ranks nothing
    return replace(metrics, ap=nothing, auroc=nothing, best_f1=nothing, best_f1_threshold=nothing, threshold=nothing)


def _statistics(threshold: float, scored: bool) -> dict[str, Statistic]:
    ranked: dict[str, Statistic] = {
        "ap": drawn_average_precision,
        "auroc": drawn_auroc,
        "best_f1": drawn_best_f1,
    }
    at: dict[str, Callable[[float], Statistic]] = {"precision": drawn_precision, "recall": drawn_recall, "f1": drawn_f1}
    return (ranked if scored else {}) | {name: of(threshold) for name, of in at.items()}
