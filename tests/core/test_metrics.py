import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.metrics import (
    MicrographResult,
    ScoredPicks,
    auroc,
    average_precision,
    best_f1,
    best_mean_f1,
    evaluate,
    match_picks,
    operating_point,
    pool,
    precision_recall_curve,
    roc_curve,
    score_picks,
)

BOX = 21.0
NONE = np.zeros((0, 2), dtype=np.float32)


def _brute_force(
    picks: np.ndarray, scores: np.ndarray, particles: np.ndarray, box: float, threshold: float
) -> list[bool]:
    hits, taken = [False] * len(picks), set()
    for i in sorted(range(len(picks)), key=lambda i: (-scores[i], i)):
        best, best_iou = None, threshold
        for j in range(len(particles)):
            across = max(0.0, box - abs(float(picks[i][0]) - float(particles[j][0])))
            down = max(0.0, box - abs(float(picks[i][1]) - float(particles[j][1])))
            iou = across * down / (2 * box * box - across * down)
            if j not in taken and iou > best_iou:
                best, best_iou = j, iou
        if best is not None:
            taken.add(best)
            hits[i] = True
    return hits


def _random_result(rng: np.random.Generator, picks: int, particles: int, side: float = 120) -> MicrographResult:
    true = rng.uniform(0, side, (particles, 2)).astype(np.float32)
    found = rng.uniform(0, side, (picks, 2)).astype(np.float32)
    near = min(picks, particles)
    found[: near // 2] = true[: near // 2] + rng.normal(0, 2, (near // 2, 2))
    scores = np.round(rng.random(picks), 1).astype(np.float32)  # rounded, so that there are ties
    return MicrographResult(found, scores, true, BOX)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
def test_matching_equals_a_brute_force_loop(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    result = _random_result(rng, *rng.integers(0, 60, 2).tolist())
    hits = match_picks(result.picks, result.scores, result.particles, BOX, threshold)
    assert hits.tolist() == _brute_force(result.picks, result.scores, result.particles, BOX, threshold)


def test_of_several_picks_on_a_particle_the_most_confident_is_the_hit() -> None:
    picks = np.array([[10.0, 10.0], [11.0, 10.0], [10.0, 12.0]])
    hits = match_picks(picks, np.array([0.2, 0.9, 0.5]), np.array([[10.0, 10.0]]), BOX)
    assert hits.tolist() == [False, True, False]


def test_equal_scores_go_by_order_and_equal_overlaps_to_the_first_particle() -> None:
    at = np.array([[10.0, 10.0]])
    assert match_picks(np.repeat(at, 3, 0), np.ones(3), at, BOX).tolist() == [True, False, False]
    # The first pick takes the particle on its right, as it is given first, and leaves the left one to the second.
    hits = match_picks(np.array([[10.0, 10.0], [6.0, 10.0]]), np.ones(2), np.array([[12.0, 10.0], [8.0, 10.0]]), BOX)
    assert hits.tolist() == [True, True]


def test_the_threshold_must_be_exceeded() -> None:
    # Two boxes of side 4 one pixel apart: 12 / 20 = 0.6.
    one, other = np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])
    assert match_picks(one, np.ones(1), other, 4, 0.6).tolist() == [False]
    assert match_picks(one, np.ones(1), other, 4, 0.599).tolist() == [True]


def test_matching_a_crowded_micrograph_needs_little_memory_and_time() -> None:
    rng = np.random.default_rng(0)
    particles = rng.uniform(0, 4000, (5000, 2))
    assert match_picks(particles + 1.0, rng.random(5000), particles, 60.0).mean() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones(2)}, "one score per pick"),
        ({"scores": np.array([np.nan])}, "the scores hold NaN"),
        ({"particles": np.array([[1.0, np.inf]])}, "the particles hold NaN"),
        ({"box_px": 0.0}, "box side"),
        ({"iou_threshold": 1.0}, "IoU threshold"),
    ],
)
def test_what_cannot_be_matched_is_refused(change: dict[str, object], message: str) -> None:
    given_values = {"picks": np.zeros((1, 2)), "scores": np.ones(1), "particles": np.zeros((1, 2)), "box_px": BOX}
    with pytest.raises(InvalidInputError, match=message):
        match_picks(**{**given_values, **change})


# curves, against scikit-learn -----------------------------------------------------------------------------------


def _random_scored(seed: int) -> ScoredPicks:
    rng = np.random.default_rng(seed)
    return score_picks([_random_result(rng, 40, 30), _random_result(rng, 50, 35), _random_result(rng, 0, 5)])


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_is_scikit_learns_times_the_share_of_particles_hit(seed: int) -> None:
    scored = _random_scored(seed)
    theirs = average_precision_score(scored.hits, scored.scores) * scored.hits.sum() / scored.particles
    assert average_precision(scored) == pytest.approx(theirs)


@pytest.mark.parametrize("seed", range(10))
def test_auroc_is_scikit_learns_with_missed_particles_as_last_positives(seed: int) -> None:
    scored = _random_scored(seed)
    missed = scored.particles - int(scored.hits.sum())
    labels = np.concatenate([scored.hits, np.ones(missed, bool)])
    scores = np.concatenate([scored.scores, np.full(missed, -1.0)])
    assert auroc(scored) == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize("seed", range(10))
def test_best_f1_is_the_best_of_a_loop_over_thresholds(seed: int) -> None:
    scored = _random_scored(seed)
    missed = scored.particles - int(scored.hits.sum())
    labels = np.concatenate([scored.hits, np.ones(missed, bool)])

    def f1(threshold: float) -> float:
        return float(f1_score(labels, np.concatenate([scored.scores >= threshold, np.zeros(missed, bool)])))

    best = best_f1(scored)
    assert best.f1 == pytest.approx(max(f1(t) for t in scored.scores))
    assert best.f1 == pytest.approx(f1(best.threshold))


@pytest.mark.parametrize("seed", range(5))
def test_best_mean_f1_is_the_best_of_a_loop_over_thresholds(seed: int) -> None:
    datasets = [_random_scored(3 * seed + number) for number in range(3)]

    def mean_f1(threshold: float) -> float:
        return float(np.mean([operating_point(picks, threshold).f1 for picks in datasets]))

    best = best_mean_f1([*datasets, pool([(np.array([0.4]), np.array([False]), 0)])])
    assert mean_f1(best) == max(mean_f1(t) for picks in datasets for t in picks.scores)
    assert best_mean_f1(datasets[:1]) == best_f1(datasets[0]).threshold


def test_best_mean_f1_does_not_listen_to_the_largest_dataset_only() -> None:
    hits = np.repeat([True, False], 10)
    large, few = [(np.repeat([0.9, 0.5], 10), hits, 10)] * 50, (np.array([0.4, 0.3]), np.array([True, True]), 2)
    assert best_f1(pool([*large, few])).threshold == 0.9
    assert best_mean_f1([pool(large), pool([few])]) == 0.3


def test_best_mean_f1_of_nothing_is_undefined() -> None:
    assert np.isnan(best_mean_f1([]))
    assert np.isnan(best_mean_f1([pool([(np.array([0.4]), np.array([False]), 3)])]))


def test_a_case_worked_by_hand() -> None:
    scored = pool([(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]), 4)])
    curve = precision_recall_curve(scored)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert curve.recall.tolist() == [0.25, 0.25, 0.5, 0.5]
    assert average_precision(scored) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert auroc(scored) == pytest.approx((0.25 + 0.5) / 2)
    point = operating_point(scored, 0.7)
    assert (point.picks, point.hits, point.recall) == (3, 2, 0.5)
    assert point.precision == pytest.approx(2 / 3)
    assert best_f1(scored).threshold == 0.7
    assert best_f1(scored).f1 == pytest.approx(4 / 7)


def test_tied_scores_are_one_point() -> None:
    scored = pool([(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]), 2)])
    assert precision_recall_curve(scored).precision.tolist() == pytest.approx([2 / 3])
    assert average_precision(scored) == pytest.approx(2 / 3)
    assert auroc(scored) == pytest.approx(0.5)
    assert roc_curve(scored).true_positive_rate.tolist() == [0, 1, 1]


def test_micrographs_are_ranked_together() -> None:
    first = (np.array([0.3, 0.9]), np.array([True, True]), 2)
    second = (np.array([0.5]), np.array([False]), 1)
    scored = pool([first, second])
    assert scored.scores.tolist() == [0.9, 0.5, 0.3]
    assert scored.hits.tolist() == [True, False, True]
    assert scored.particles == 3


def test_pooling_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="do not belong together"):
        pool([(np.array([0.3]), np.array([True]), 0)])


# hypothesis -----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30),
    st.integers(0, 10),
)
def test_invariants(picks: list[tuple[int, bool]], missed: int) -> None:
    scores = np.array([score for score, _ in picks], dtype=np.float64)
    hits = np.array([hit for _, hit in picks], dtype=np.bool_)
    particles = int(hits.sum()) + missed
    scored = pool([(scores, hits, particles)])
    ap, area = average_precision(scored), auroc(scored)
    assert math.isnan(ap) == (particles == 0)
    assert math.isnan(area) == (particles == 0 or bool(hits.all()))
    if particles:
        found = hits.sum() / particles
        assert 0 <= ap <= found + 1e-12
        if not hits.all():
            assert 0 <= area <= found + 1e-12
        assert (np.diff(precision_recall_curve(scored).recall) >= 0).all()
        best = best_f1(scored)
        assert best.f1 == max([operating_point(scored, t).f1 for t in [*scores, np.inf]])
    # Any increasing function of the scores ranks alike.
    again = pool([(np.exp(scores), hits, particles)])
    np.testing.assert_equal([average_precision(again), auroc(again)], [ap, area])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(0, 25))
def test_hits_never_exceed_particles_and_fall_with_the_threshold(seed: int, picks: int, particles: int) -> None:
    result = _random_result(np.random.default_rng(seed), picks, particles, side=60)
    hits = match_picks(result.picks, result.scores, result.particles, BOX)
    assert hits.shape == (picks,)
    assert hits.sum() <= particles
    shifted = match_picks(result.picks + 1024, result.scores * 2, result.particles + 1024, BOX)
    assert hits.sum() == shifted.sum()


# evaluate --------------------------------------------------------------------------------------------------------


def test_perfect_picks() -> None:
    particles = np.array([[10.0, 10.0], [50.0, 50.0]], dtype=np.float32)
    metrics = evaluate([MicrographResult(particles, np.array([0.9, 0.4], dtype=np.float32), particles, 21)])
    assert (metrics.ap, metrics.best_f1, metrics.precision, metrics.recall) == (1, 1, 1, 1)
    assert metrics.threshold == metrics.best_f1_threshold == pytest.approx(0.4)
    assert math.isnan(metrics.auroc)
    assert (metrics.micrographs, metrics.particles, metrics.picks, metrics.hits) == (1, 2, 2, 2)


def test_a_threshold_asked_for_moves_precision_and_recall_only() -> None:
    rng = np.random.default_rng(1)
    results = [_random_result(rng, 30, 30) for _ in range(3)]
    free, fixed = evaluate(results), evaluate(results, threshold=0.85)
    assert fixed.threshold == 0.85
    assert fixed.recall < free.recall
    assert (fixed.ap, fixed.auroc, fixed.best_f1) == (free.ap, free.auroc, free.best_f1)


def test_each_micrograph_has_its_own_box_side() -> None:
    picks, particles = np.array([[0.0, 0.0]]), np.array([[3.0, 0.0]])
    small, large = (MicrographResult(picks, np.ones(1), particles, box) for box in (5.0, 50.0))
    assert evaluate([small, large]).hits == 1


@pytest.mark.parametrize(("picks", "particles"), [(0, 0), (0, 3), (3, 0)])
def test_empty_cases(picks: int, particles: int) -> None:
    rng = np.random.default_rng(0)
    result = MicrographResult(rng.random((picks, 2)), rng.random(picks), 1000 + 100 * rng.random((particles, 2)), BOX)
    metrics = evaluate([result, MicrographResult(NONE, np.zeros(0, dtype=np.float32), NONE, BOX)])
    assert (metrics.micrographs, metrics.picks, metrics.particles, metrics.hits) == (2, picks, particles, 0)
    assert math.isnan(metrics.auroc)
    assert math.isnan(metrics.ap) == (particles == 0)
    assert metrics.ap == 0 or particles == 0
    assert metrics.best_f1 == 0 or particles == 0
    assert math.isnan(metrics.best_f1_threshold)
    assert json.loads(json.dumps(metrics.as_dict(), allow_nan=False))["auroc"] is None


def test_nothing_evaluated() -> None:
    assert evaluate([]).as_dict()["ap"] is None
