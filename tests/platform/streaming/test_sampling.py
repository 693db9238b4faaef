import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.sampling import quotas

SIZES = st.lists(st.integers(1, 5_000), min_size=1, max_size=30)
TEMPERATURES = st.floats(1, 1e6)
SAMPLINGS = st.one_of(st.sampled_from(["proportional", "balanced"]), TEMPERATURES)


@given(SIZES, SAMPLINGS)
def test_the_epoch_stays_as_long_and_no_dataset_is_left_out(sizes, sampling):
    shared = quotas(sizes, sampling)
    assert shared.sum() == sum(sizes)
    assert shared.min() >= 1


@given(SIZES, SAMPLINGS, st.integers(0, 10_000))
def test_an_epoch_of_a_given_length(sizes, sampling, more):
    shared = quotas(sizes, sampling, len(sizes) + more)
    assert shared.sum() == len(sizes) + more
    assert shared.min() >= 1
    assert quotas(sizes, sampling, sum(sizes)).tolist() == quotas(sizes, sampling).tolist()


@given(SIZES)
def test_proportional_takes_every_dataset_once(sizes):
    assert quotas(sizes, "proportional").tolist() == quotas(sizes, 1.0).tolist() == sizes


@given(SIZES)
def test_balanced_takes_the_same_of_all(sizes):
    shared = quotas(sizes, "balanced")
    assert shared.max() - shared.min() <= 1
    assert shared.tolist() == quotas(sizes, math.inf).tolist()


@given(SIZES, SAMPLINGS)
def test_a_larger_dataset_never_gets_less(sizes, sampling):
    sizes = sorted(sizes)
    shared = quotas(sizes, sampling)
    assert (np.diff(shared) >= -1).all()  # one less where the shares are equal but for rounding


@given(st.integers(1, 5_000), st.integers(1, 5_000), TEMPERATURES, TEMPERATURES)
def test_a_higher_temperature_gives_the_smaller_of_two_no_less(small, large, cool, hot):
    small, large = sorted((small, large))
    cool, hot = sorted((cool, hot))
    assert quotas([large, small], cool)[1] <= quotas([large, small], hot)[1]
    assert quotas([large, small], 1.0)[1] <= quotas([large, small], cool)[1]
    assert quotas([large, small], hot)[1] <= quotas([large, small], "balanced")[1]


def test_shares_go_as_the_root():
    assert quotas([1, 10_000], 2.0).tolist() == [99, 9_902]  # 10,001 in the ratio 1 to 100
    assert quotas([100, 10_000], 2.0).tolist() == [918, 9_182]  # 10,100 in the ratio 10 to 100


def test_a_dataset_of_4_beside_one_of_4000():
    assert quotas([1, 1_000], "proportional").tolist() == [1, 1_000]
    assert quotas([1, 1_000], "balanced").tolist() == [501, 500]
    assert quotas([1, 1_000], 1.5).tolist() == [10, 991]


def test_no_datasets():
    assert quotas([], "balanced").tolist() == []


@pytest.mark.parametrize("sampling", [0.5, 0, -1, math.nan])
def test_a_temperature_below_one_is_refused(sampling):
    with pytest.raises(AssertionError, match="temperature"):
        quotas([1, 2], sampling)


def test_the_answer_is_made_of_integers():
    assert quotas([3, 4], 2.0).dtype == np.int64
