"""How good picks are, by the paper's protocol.

Hits are decided micrograph by micrograph (:func:`match_picks`), then the picks of all micrographs are pooled and
ranked by score together.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from .bootstrap import MicrographPart
from .curves import (
    OperatingPoint,
    PrecisionRecallCurve,
    RocCurve,
    ScoredPicks,
    auroc,
    average_precision,
    best_f1,
    best_mean_f1,
    operating_point,
    pool,
    precision_recall_curve,
    roc_curve,
)
from .hits import DEFAULT_IOU_THRESHOLD, match_picks

__all__ = [
    "DEFAULT_IOU_THRESHOLD",
    "Metrics",
    "MicrographResult",
    "OperatingPoint",
    "PrecisionRecallCurve",
    "RocCurve",
    "ScoredPicks",
    "auroc",
    "average_precision",
    "best_f1",
    "best_mean_f1",
    "evaluate",
    "match_picks",
    "operating_point",
    "pool",
    "precision_recall_curve",
    "roc_curve",
    "score_picks",
    "summarise",
]


@dataclass(frozen=True)
class MicrographResult:
    """Picks and particles of one micrograph: ``(n, 2)``, ``(n,)``, ``(m, 2)``; side of the box in the same pixels."""

    picks: Float[np.ndarray, "n 2"]
    scores: Float[np.ndarray, " n"]
    particles: Float[np.ndarray, "m 2"]
    box_px: float

    def part(self, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> MicrographPart:
        """Scores, hit marks and the number of particles, ready to be pooled with other micrographs'."""
        hits = match_picks(self.picks, self.scores, self.particles, self.box_px, iou_threshold)
        return self.scores, hits, len(self.particles)


@dataclass(frozen=True)
class Metrics:
    """All numbers of an evaluation.

    Attributes
    ----------
    micrographs, particles, picks, hits
        Counts over everything, whatever the score.
    ap, auroc
        Areas under the precision-recall and the ROC curve.
    best_f1, best_f1_threshold
        The largest F1 over all thresholds, and the score to keep picks from.
    threshold, precision, recall, f1
        At the threshold asked for, or else at `best_f1_threshold`.
    """

    micrographs: int
    particles: int
    picks: int
    hits: int
    ap: float
    auroc: float
    best_f1: float
    best_f1_threshold: float
    threshold: float
    precision: float
    recall: float
    f1: float

    def as_dict(self) -> dict[str, int | float | None]:
        """Name to value in the order above; None for what is undefined, as JSON knows no NaN."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def score_picks(results: Iterable[MicrographResult], iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> ScoredPicks:
    """Match every micrograph's picks with its particles and pool them."""
    return pool(result.part(iou_threshold) for result in results)


def summarise(picks: ScoredPicks, micrographs: int, threshold: float | None = None) -> Metrics:
    """All metrics of pooled picks; `threshold` is where precision, recall and f1 are read, the best F1's if None."""
    best = best_f1(picks)
    chosen = best if threshold is None else operating_point(picks, threshold)
    return Metrics(
        micrographs=micrographs,
        particles=picks.particles,
        picks=len(picks.scores),
        hits=int(picks.hits.sum()),
        ap=average_precision(picks),
        auroc=auroc(picks),
        best_f1=best.f1,
        best_f1_threshold=best.threshold,
        threshold=chosen.threshold,
        precision=chosen.precision,
        recall=chosen.recall,
        f1=chosen.f1,
    )


def evaluate(
    results: list[MicrographResult],
    iou_threshold: float = DEFAULT_IOU_THRESHOLD,
    threshold: float | None = None,
) -> Metrics:
    """Evaluate picks on micrographs with known particles: match, pool, summarise."""
    return summarise(score_picks(results, iou_threshold), len(results), threshold)
