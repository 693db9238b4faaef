"""Intervals against a loop that pools every draw with the functions that judge the whole."""

import math

import numpy as np
import pytest
import scipy.stats

from hydrapicker_core.bootstrap import (
    BootstrapConfig,
    MicrographPart,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_mean,
    draw_micrographs,
    drawn_auroc,
    drawn_average_precision,
    drawn_best_f1,
    drawn_f1,
    drawn_precision,
    drawn_recall,
)
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.metrics import ScoredPicks, auroc, average_precision, best_f1, operating_point, pool

CONFIG = BootstrapConfig(draws=60, seed=3)
AT = 0.5
STATISTICS = {
    "ap": (drawn_average_precision, average_precision),
    "auroc": (drawn_auroc, auroc),
    "best_f1": (drawn_best_f1, lambda picks: best_f1(picks).f1),
    "precision": (drawn_precision(AT), lambda picks: operating_point(picks, AT).precision),
    "recall": (drawn_recall(AT), lambda picks: operating_point(picks, AT).recall),
    "f1": (drawn_f1(AT), lambda picks: operating_point(picks, AT).f1),
}


def random_parts(seed: int, micrographs: int = 8, quality: float = 0.6) -> list[MicrographPart]:
    """Micrographs of different sizes and difficulty, with tied scores, one of them without picks."""
    rng = np.random.default_rng(seed)
    parts: list[MicrographPart] = [(np.zeros(0, np.float32), np.zeros(0, bool), 4)]
    for size in np.random.default_rng(99).integers(5, 40, micrographs - 1):
        hits = rng.random(size) < quality * rng.uniform(0.5, 1.5)
        scores = np.round(np.clip(rng.normal(0.4 + 0.2 * hits, 0.2), 0, 1), 2).astype(np.float32)
        parts.append((scores, hits, int(size) + 3))
    return parts


def drawn(parts: list[MicrographPart], multiplicities: np.ndarray) -> ScoredPicks:
    return pool([part for part, times in zip(parts, multiplicities, strict=True) for _ in range(times)])


def quantiles(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile([value for value in values if not math.isnan(value)], [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("seed", range(4))
def test_intervals_are_those_of_a_loop_over_pooled_draws(seed: int) -> None:
    parts = random_parts(seed)
    found = bootstrap_intervals(parts, {name: ours for name, (ours, _) in STATISTICS.items()}, CONFIG)
    draws = draw_micrographs(len(parts), CONFIG)
    for name, (ours, judge) in STATISTICS.items():
        expected = quantiles([judge(drawn(parts, times)) for times in draws])
        assert (found[name].low, found[name].high) == pytest.approx(expected), name
        assert found[name].estimate == pytest.approx(judge(pool(parts)))
        assert found[name].low < found[name].estimate < found[name].high
        assert bootstrap_interval(parts, ours, CONFIG) == found[name]


def test_many_draws_in_pieces_are_the_draws_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = random_parts(5)
    whole = bootstrap_interval(parts, drawn_average_precision, CONFIG)
    monkeypatch.setattr("hydrapicker_core.bootstrap._ENTRIES_AT_ONCE", 1)
    pieces = bootstrap_interval(parts, drawn_average_precision, CONFIG)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high))


def test_a_difference_is_of_the_same_micrographs() -> None:
    old, new = random_parts(1), random_parts(2, quality=0.8)
    found = bootstrap_difference(new, old, drawn_average_precision, CONFIG)
    draws = draw_micrographs(len(new), CONFIG)
    differences = [average_precision(drawn(new, d)) - average_precision(drawn(old, d)) for d in draws]
    assert (found.low, found.high) == pytest.approx(quantiles(differences))
    assert found.estimate == pytest.approx(average_precision(pool(new)) - average_precision(pool(old)))
    same = bootstrap_difference(new, new, drawn_average_precision, CONFIG)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
    back = bootstrap_difference(old, new, drawn_average_precision, CONFIG)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_an_interval_is_as_wide_as_scipys() -> None:
    """Recall, a ratio of sums over micrographs, which scipy can bootstrap by itself."""
    parts = random_parts(7, micrographs=25)
    sums = np.array([(part[1].sum(), part[2]) for part in parts], float)
    theirs = scipy.stats.bootstrap(
        (sums[:, 0], sums[:, 1]),
        lambda hits, particles, axis=-1: hits.sum(axis) / particles.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    ours = bootstrap_interval(parts, drawn_recall(-math.inf), BootstrapConfig(draws=4000))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert theirs.high - theirs.low > 0.05


def test_draws_follow_the_seed_and_nothing_else() -> None:
    first, again = (draw_micrographs(10, BootstrapConfig(draws=5, seed=1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.sum(axis=1) == 10).all()
    assert (draw_micrographs(10, BootstrapConfig(draws=5, seed=2)) != first).any()


@pytest.mark.parametrize("parts", [[], random_parts(0)[:1], random_parts(0)[1:2]], ids=["none", "empty", "one"])
def test_fewer_than_two_micrographs_give_no_interval(parts: list[MicrographPart]) -> None:
    for name, (ours, judge) in STATISTICS.items():
        found = bootstrap_interval(parts, ours, CONFIG)
        assert math.isnan(found.low), name
        assert math.isnan(found.high), name
        assert found.estimate == pytest.approx(judge(pool(parts)), nan_ok=True), name


def test_draws_that_leave_a_figure_undefined_are_left_out() -> None:
    """Precision is undefined in a draw of the micrograph without picks alone."""
    parts: list[MicrographPart] = [(np.zeros(0), np.zeros(0, bool), 2), (np.array([0.9]), np.array([True]), 2)]
    found = bootstrap_interval(parts, drawn_precision(0.5), BootstrapConfig(draws=40))
    assert (found.estimate, found.low, found.high) == (1, 1, 1)
    nowhere = bootstrap_interval(parts, drawn_precision(0.95), CONFIG)
    assert all(math.isnan(value) for value in (nowhere.estimate, nowhere.low, nowhere.high))


@pytest.mark.parametrize(
    ("options", "words"), [({"draws": 0}, "draws"), ({"seed": -1}, "seed"), ({"level": 1.0}, "level 1.0")]
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        BootstrapConfig(**options)


def test_pickers_on_different_micrographs_are_no_pair() -> None:
    with pytest.raises(InvalidInputError, match="same micrographs"):
        bootstrap_difference(random_parts(0), random_parts(0)[:-1], drawn_average_precision)


def test_a_mean_has_the_micrographs_of_each_dataset_drawn_by_themselves() -> None:
    new, old = ([random_parts(seed, 6 + seed, quality) for seed in range(3)] for quality in (0.7, 0.5))
    means: dict[str, list[float]] = {"new": [], "difference": []}
    draws = [draw_micrographs(len(each), BootstrapConfig(draws=60, seed=3 + i)) for i, each in enumerate(new)]
    for number in range(60):
        taken = [each[number] for each in draws]
        of_new, of_old = (
            [average_precision(drawn(parts, times)) for parts, times in zip(each, taken, strict=True)]
            for each in (new, old)
        )
        means["new"].append(float(np.mean(of_new)))
        means["difference"].append(float(np.mean(of_new) - np.mean(of_old)))
    whole = [np.mean([average_precision(pool(parts)) for parts in each]) for each in (new, old)]
    for found, name, estimate in (
        (bootstrap_mean(new, drawn_average_precision, config=CONFIG), "new", whole[0]),
        (bootstrap_mean(new, drawn_average_precision, old, CONFIG), "difference", whole[0] - whole[1]),
    ):
        assert found.estimate == pytest.approx(estimate)
        assert (found.low, found.high) == pytest.approx(quantiles(means[name]))
    one = bootstrap_mean(new[:1], drawn_average_precision, config=CONFIG)
    assert one == bootstrap_interval(new[0], drawn_average_precision, CONFIG)
    assert math.isnan(bootstrap_mean([], drawn_average_precision).estimate)
    with pytest.raises(InvalidInputError, match="different micrographs"):
        bootstrap_mean(new, drawn_average_precision, old[::-1])
