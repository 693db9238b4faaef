"""Precision-recall and ROC curves of picks ranked by score, their areas, and what a threshold gives."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from .errors import InvalidInputError


@dataclass(frozen=True)
class ScoredPicks:
    """Picks of one or many micrographs, best score first, with what became of them.

    Attributes
    ----------
    scores, hits
        ``(n,)`` each.
    particles
        Number of true particles, hit or missed.
    """

    scores: Float[np.ndarray, " n"]
    hits: Bool[np.ndarray, " n"]
    particles: int


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """One point per distinct score, from the highest down: of the picks with at least this score, ``(k,)`` each."""

    thresholds: Float[np.ndarray, " k"]
    precision: Float[np.ndarray, " k"]
    recall: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class RocCurve:
    """From (0, 0) to (1, 1), ``(k,)`` each; particles no pick hit are added last, below every score."""

    thresholds: Float[np.ndarray, " k"]
    false_positive_rate: Float[np.ndarray, " k"]
    true_positive_rate: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class OperatingPoint:
    """What is left when picks below `threshold` are dropped; NaN where undefined (nothing to divide by)."""

    threshold: float
    picks: int
    hits: int
    precision: float
    recall: float
    f1: float


def pool(parts: Iterable[tuple[NDArray[np.floating], NDArray[np.bool_], int]]) -> ScoredPicks:
    """Pool (scores, hits, number of particles) of micrographs and rank all picks together."""
    collected = list(parts)
    scores = np.concatenate([np.zeros(0), *(scores for scores, _, _ in collected)]).astype(np.float64)
    hits = np.concatenate([np.zeros(0, np.bool_), *(hits for _, hits, _ in collected)])
    particles = sum(count for _, _, count in collected)
    if len(scores) != len(hits) or hits.sum() > particles:
        raise InvalidInputError(
            f"{len(scores)} scores, {len(hits)} hit marks of which {hits.sum()} are set, and {particles} particles do "
            "not belong together: give one mark per score and no more hits than particles"
        )
    order = np.argsort(-scores, kind="stable")
    return ScoredPicks(scores=scores[order], hits=hits[order], particles=particles)


def _cumulative(picks: ScoredPicks) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores from the highest down, and how many hits and false picks have at least that score."""
    last_of_ties = np.flatnonzero(np.diff(picks.scores, append=-np.inf))
    hits = np.cumsum(picks.hits, dtype=np.int64)[last_of_ties]
    return picks.scores[last_of_ties], hits, last_of_ties + 1 - hits


def precision_recall_curve(picks: ScoredPicks) -> PrecisionRecallCurve:
    """Precision and recall at every distinct score; recall is of all particles, NaN when there are none."""
    thresholds, hits, false = _cumulative(picks)
    recall = hits / picks.particles if picks.particles else np.full(len(hits), np.nan)
    return PrecisionRecallCurve(thresholds=thresholds, precision=hits / (hits + false), recall=recall)


def average_precision(picks: ScoredPicks) -> float:
    """Area under the precision-recall curve in steps, ``sum (R_n - R_{n-1}) P_n``; NaN without particles."""
    if picks.particles == 0:
        return math.nan
    curve = precision_recall_curve(picks)
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def roc_curve(picks: ScoredPicks) -> RocCurve:
    """ROC of all picks, hit or false, and of the missed particles as positives below every pick.

    A rate is NaN where there is nothing to divide by: no false picks, or no particles.
    """
    thresholds, hits, false = _cumulative(picks)
    negatives = int(np.count_nonzero(~picks.hits))
    true_positives = np.concatenate([[0], hits, [picks.particles]])
    false_positives = np.concatenate([[0], false, [negatives]])
    return RocCurve(
        thresholds=np.concatenate([[np.inf], thresholds, [-np.inf]]),
        false_positive_rate=false_positives / (negatives or math.nan),
        true_positive_rate=true_positives / (picks.particles or math.nan),
    )


def auroc(picks: ScoredPicks) -> float:
    """Area under :func:`roc_curve`; NaN without false picks or without particles."""
    curve = roc_curve(picks)
    rate = curve.true_positive_rate
    return float(np.sum(np.diff(curve.false_positive_rate) * (rate[1:] + rate[:-1]) / 2))


def operating_point(picks: ScoredPicks, threshold: float) -> OperatingPoint:
    """Precision, recall and F1 of the picks whose score is at least `threshold`."""
    kept = picks.scores >= threshold
    chosen, hits = int(kept.sum()), int(picks.hits[kept].sum())
    return OperatingPoint(
        threshold=threshold,
        picks=chosen,
        hits=hits,
        precision=hits / (chosen or math.nan),
        recall=hits / (picks.particles or math.nan),
        f1=2 * hits / ((chosen + picks.particles) or math.nan),
    )


def best_f1(picks: ScoredPicks) -> OperatingPoint:
    """The threshold with the largest F1, the highest of equals; its threshold is NaN where no pick is a hit."""
    thresholds, hits, false = _cumulative(picks)
    if not picks.hits.any():
        return operating_point(picks, math.nan)
    f1 = 2 * hits / (hits + false + picks.particles)
    return operating_point(picks, float(thresholds[f1.argmax()]))


def best_mean_f1(datasets: Iterable[ScoredPicks]) -> float:
    """The threshold with the largest F1 averaged over datasets, the highest of equals; NaN where no pick is a hit.

    Every dataset counts alike, however many particles it has: what is best for the pooled picks is what is best for the
    few datasets with the most particles. Datasets without particles say nothing, and are left out.
    """
    labelled = [picks for picks in datasets if picks.particles]
    if not any(picks.hits.any() for picks in labelled):
        return math.nan
    thresholds = np.unique(np.concatenate([picks.scores for picks in labelled]))[::-1]
    total = np.zeros(len(thresholds))
    for picks in labelled:
        kept = np.searchsorted(-picks.scores, -thresholds, side="right")
        hits = np.concatenate([[0], np.cumsum(picks.hits)])[kept]
        total += 2 * hits / (kept + picks.particles)
    return float(thresholds[total.argmax()])
