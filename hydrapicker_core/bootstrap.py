"""How sure a figure is: intervals by drawing the micrographs anew, and paired differences of two pickers.

Picks of one micrograph are not independent (one ice thickness, one defocus), so micrographs are what is drawn, with
replacement, as many as there are (Efron's percentile bootstrap). A draw is a multiplicity per micrograph. The picks
are ranked once; of a draw only the cumulative counts change, which are sums along the ranked picks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from .errors import InvalidInputError

MicrographPart = tuple[NDArray[np.floating], NDArray[np.bool_], int]
"""Scores ``(n,)``, hit marks ``(n,)`` and the number of particles of one micrograph, as :func:`.curves.pool` takes."""

_ENTRIES_AT_ONCE = 2**20
"""Draws times picks that are counted in one go: a few arrays of this size stay near the processor."""


@dataclass(frozen=True)
class DrawnCounts:
    """What `r` draws count at `k` distinct scores, from the highest down.

    Attributes
    ----------
    thresholds
        ``(k,)`` the distinct scores of all micrographs.
    hits, false
        ``(r, k)`` picks with at least that score.
    particles
        ``(r,)`` of the drawn micrographs.
    """

    thresholds: Float[np.ndarray, " k"]
    hits: Int[np.ndarray, "r k"]
    false: Int[np.ndarray, "r k"]
    particles: Int[np.ndarray, " r"]


Statistic = Callable[[DrawnCounts], NDArray[np.float64]]
"""One figure per draw, ``(r,)``; NaN where a draw leaves it undefined."""


@dataclass(frozen=True)
class BootstrapConfig:
    """How intervals are drawn: number of draws, seed of the draws, and the share of them inside the interval."""

    draws: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InvalidInputError(f"{self.draws} bootstrap draws: give at least 1, 1000 for an interval of 95 %")
        if self.seed < 0:
            raise InvalidInputError(f"bootstrap seed {self.seed} is negative: give 0 or more")
        if not 0 < self.level < 1:
            raise InvalidInputError(f"interval level {self.level} is not between 0 and 1: give 0.95")


@dataclass(frozen=True)
class Interval:
    """A figure on all micrographs and its interval; the ends are NaN for fewer than two micrographs."""

    estimate: float
    low: float
    high: float


def bootstrap_interval(
    parts: Sequence[MicrographPart], statistic: Statistic, config: BootstrapConfig | None = None
) -> Interval:
    """Interval of one figure over micrographs: :func:`bootstrap_intervals` of one statistic."""
    return bootstrap_intervals(parts, {"": statistic}, config)[""]


def bootstrap_intervals(
    parts: Sequence[MicrographPart], statistics: Mapping[str, Statistic], config: BootstrapConfig | None = None
) -> dict[str, Interval]:
    """Percentile intervals of several figures, from the same draws of micrographs.

    Parameters
    ----------
    parts
        Per micrograph, scores and hit marks of its picks and its number of particles.
    statistics
        Such as :func:`drawn_average_precision`.
    config
        1000 draws, seed 0 and 95 % by default.
    """
    config = config or BootstrapConfig()
    drawn = _drawn(parts, statistics, draw_micrographs(len(parts), config))
    estimates = _drawn(parts, statistics, np.ones((1, len(parts)), np.int64))
    return {name: _interval(float(estimates[name][0]), drawn[name], len(parts), config) for name in statistics}


def bootstrap_difference(
    new: Sequence[MicrographPart],
    old: Sequence[MicrographPart],
    statistic: Statistic,
    config: BootstrapConfig | None = None,
) -> Interval:
    """The figure of `new` minus that of `old`, paired: every draw takes the same micrographs of both.

    Parameters
    ----------
    new, old
        Two pickers' parts on the same micrographs, in the same order.

    Raises
    ------
    InvalidInputError
        The two have different numbers of micrographs, or of particles on one of them.
    """
    if [part[2] for part in new] != [part[2] for part in old]:
        raise InvalidInputError(
            f"two pickers are compared on {len(new)} and {len(old)} micrographs with different particles: give both "
            "on the same micrographs in the same order"
        )
    config = config or BootstrapConfig()
    draws = draw_micrographs(len(new), config)
    everything = np.ones((1, len(new)), np.int64)
    named = {"": statistic}
    drawn = _drawn(new, named, draws)[""] - _drawn(old, named, draws)[""]
    estimate = _drawn(new, named, everything)[""] - _drawn(old, named, everything)[""]
    return _interval(float(estimate[0]), drawn, len(new), config)


def bootstrap_mean(
    new: Sequence[Sequence[MicrographPart]],
    statistic: Statistic,
    old: Sequence[Sequence[MicrographPart]] | None = None,
    config: BootstrapConfig | None = None,
) -> Interval:
    """The mean of a figure over datasets, or of the differences of two pickers, paired as :func:`bootstrap_difference`.

    Every dataset has its own micrographs drawn, independently of the others': the interval is of these datasets' mean,
    not of other datasets'.

    Parameters
    ----------
    new, old
        Per dataset a picker's parts on its micrographs; `old`, where given, on the same ones.

    Raises
    ------
    InvalidInputError
        The two have different micrographs.
    """
    config = config or BootstrapConfig()
    if old is not None and [[part[2] for part in each] for each in new] != [[part[2] for part in each] for each in old]:
        raise InvalidInputError("two pickers are compared on different micrographs: give both on the same, in order")
    estimates, drawn = [], []
    for number, parts in enumerate(new):
        draws = draw_micrographs(len(parts), replace(config, seed=config.seed + number))
        both = parts, (old[number] if old is not None else None)
        estimates.append(_minus(both, statistic, np.ones((1, len(parts)), np.int64)))
        drawn.append(_minus(both, statistic, draws))
    if not new:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.mean(estimates))
    return _interval(mean, np.mean(drawn, axis=0), min(len(parts) for parts in new), config)


def _minus(
    both: tuple[Sequence[MicrographPart], Sequence[MicrographPart] | None],
    statistic: Statistic,
    draws: NDArray[np.int64],
) -> NDArray[np.float64]:
    new, old = both
    values = _drawn(new, {"": statistic}, draws)[""]
    return values if old is None else values - _drawn(old, {"": statistic}, draws)[""]


def draw_micrographs(count: int, config: BootstrapConfig) -> Int[np.ndarray, "draws count"]:
    """How often each of `count` micrographs is in each draw; a function of the count and the config alone."""
    if count == 0:
        return np.zeros((config.draws, 0), np.int64)
    return np.random.default_rng(config.seed).multinomial(count, np.full(count, 1 / count), config.draws)


def _interval(estimate: float, drawn: NDArray[np.float64], micrographs: int, config: BootstrapConfig) -> Interval:
    defined = drawn[~np.isnan(drawn)]
    if micrographs < 2 or len(defined) == 0 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    tail = (1 - config.level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def _drawn(
    parts: Sequence[MicrographPart], statistics: Mapping[str, Statistic], draws: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    chunks = [{name: of(counts) for name, of in statistics.items()} for counts in _counted(parts, draws)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in statistics}


def _counted(parts: Sequence[MicrographPart], draws: NDArray[np.int64]) -> Iterator[DrawnCounts]:
    """Counts of every draw, some draws at a time."""
    scores = np.concatenate([np.zeros(0), *(part[0] for part in parts)]).astype(np.float64)
    hits = np.concatenate([np.zeros(0, np.bool_), *(part[1] for part in parts)])
    origin = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    order = np.argsort(-scores, kind="stable")
    scores, hits, origin = scores[order], hits[order], origin[order]
    last_of_ties = np.flatnonzero(np.diff(scores, append=-np.inf))
    whole = DrawnCounts(scores[last_of_ties], *(np.zeros((0, len(last_of_ties)), np.int64),) * 2, np.zeros(0, np.int64))
    particles = draws @ np.array([part[2] for part in parts], np.int64)
    at_once = max(1, _ENTRIES_AT_ONCE // max(1, len(scores)))
    for start in range(0, len(draws), at_once):
        weights = draws[start : start + at_once].astype(np.int32)[:, origin]
        found = np.cumsum(weights * hits, axis=1, dtype=np.int32)[:, last_of_ties]
        false = np.cumsum(weights, axis=1, dtype=np.int32)[:, last_of_ties] - found
        yield replace(whole, hits=found, false=false, particles=particles[start : start + at_once])


def _ratio(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> NDArray[np.float64]:
    """Quotients, NaN where there is nothing to divide by."""
    quotient: NDArray[np.float64] = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def drawn_average_precision(counts: DrawnCounts) -> NDArray[np.float64]:
    """As :func:`.curves.average_precision`, of every draw."""
    gained = np.diff(counts.hits, axis=1, prepend=0)
    # A point without picks gains no hits: whatever stands for its precision counts nothing.
    precision = counts.hits / np.maximum(counts.hits + counts.false, 1)
    return _ratio(np.einsum("rk,rk->r", gained, precision), counts.particles)


def drawn_auroc(counts: DrawnCounts) -> NDArray[np.float64]:
    """As :func:`.curves.auroc`, of every draw: missed particles are positives below every score."""
    if counts.false.shape[1] == 0:
        return np.full(len(counts.particles), np.nan)
    steps = np.diff(counts.false, axis=1, prepend=0)
    before = np.concatenate([np.zeros_like(counts.hits[:, :1]), counts.hits[:, :-1]], axis=1)
    area = np.einsum("rk,rk->r", steps, (before + counts.hits) / 2)
    return _ratio(area, counts.particles * counts.false[:, -1].astype(np.int64))


def drawn_best_f1(counts: DrawnCounts) -> NDArray[np.float64]:
    """As :func:`.curves.best_f1`, of every draw: each at its own best threshold."""
    f1 = 2 * counts.hits / np.maximum(counts.hits + counts.false + counts.particles[:, None], 1)
    return np.where(counts.particles > 0, f1.max(axis=1, initial=0), np.nan)


def drawn_precision(threshold: float) -> Statistic:
    """Precision of the picks whose score is at least `threshold`."""

    def precision(counts: DrawnCounts) -> NDArray[np.float64]:
        hits, picks = _kept(counts, threshold)
        return _ratio(hits, picks)

    return precision


def drawn_recall(threshold: float) -> Statistic:
    """Recall of the picks whose score is at least `threshold`."""

    def recall(counts: DrawnCounts) -> NDArray[np.float64]:
        return _ratio(_kept(counts, threshold)[0], counts.particles)

    return recall


def drawn_f1(threshold: float) -> Statistic:
    """F1 of the picks whose score is at least `threshold`."""

    def f1(counts: DrawnCounts) -> NDArray[np.float64]:
        hits, picks = _kept(counts, threshold)
        return _ratio(2 * hits, picks + counts.particles)

    return f1


def _kept(counts: DrawnCounts, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hits and picks of every draw that a threshold keeps; a NaN threshold keeps none."""
    points = int(np.count_nonzero(counts.thresholds >= threshold))
    if points == 0:
        none = np.zeros(len(counts.particles), np.int64)
        return none, none
    hits, false = (each[:, points - 1].astype(np.int64) for each in (counts.hits, counts.false))
    return hits, hits + false
