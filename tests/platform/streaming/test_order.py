from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.order import random_order, sweep_order

SHARDS = st.lists(st.integers(0, 6), max_size=60).map(lambda numbers: np.array(numbers, np.int32))


def shards_in_turn(shards: int, rows_each: int) -> np.ndarray:
    return np.repeat(np.arange(shards, dtype=np.int32), rows_each)


@given(SHARDS, st.integers(1, 70), st.integers())
def test_every_row_once(shards, window, key):
    assert sorted(sweep_order(shards, window, key).tolist()) == list(range(len(shards)))


@given(st.integers(0, 100), st.text())
def test_a_random_order_is_a_permutation(n, key):
    assert sorted(random_order(n, key).tolist()) == list(range(n))


@given(SHARDS, st.integers(1, 70), st.permutations(range(7)))
def test_what_shards_are_numbered_does_not_matter(shards, window, numbers):
    renumbered = np.array(numbers, np.int32)[shards]
    np.testing.assert_array_equal(sweep_order(shards, window, "k"), sweep_order(renumbered, window, "k"))


@pytest.mark.parametrize("key", range(20))
def test_a_window_of_one_goes_shard_by_shard(key):
    seen = shards_in_turn(10, 30)[sweep_order(shards_in_turn(10, 30), 1, key)].reshape(10, 30)
    assert (seen == seen[:, :1]).all()
    assert sorted(seen[:, 0].tolist()) == list(range(10))


@pytest.mark.parametrize("window", [2, 17, 100, 299])
@pytest.mark.parametrize("key", range(5))
def test_no_row_goes_as_far_as_the_window(window, key):
    """How far rows went from the order before the window is what differs from a window of one row."""
    shards = shards_in_turn(10, 30)
    before = np.argsort(sweep_order(shards, 1, key))
    after = np.argsort(sweep_order(shards, window, key))
    assert np.abs(after - before).max() < window


def test_a_window_uses_its_room():
    """A row lands anywhere from 500 places before to 500 after where it was, 250 away on average."""
    shards = shards_in_turn(10, 10_000)
    moved = np.abs(np.argsort(sweep_order(shards, 1_000, 0)) - np.argsort(sweep_order(shards, 1, 0)))
    assert 240 < moved.mean() < 260


def test_shards_come_in_any_order():
    """Each of 5 shards comes first in a fifth of 2,000 sweeps, within five standard deviations."""
    shards = shards_in_turn(5, 4)
    first = Counter(int(shards[sweep_order(shards, 1, key)[0]]) for key in range(2_000))
    assert all(abs(first[shard] - 400) < 5 * (2_000 * 0.2 * 0.8) ** 0.5 for shard in range(5))


def test_within_a_window_all_orders_are_equally_likely():
    """Chi-square of the 24 orders of 4 rows in two shards; 23 degrees of freedom, so beyond 60 once in 30,000."""
    seen = Counter(tuple(sweep_order(np.array([0, 0, 1, 1], np.int32), 4, key).tolist()) for key in range(4_800))
    assert len(seen) == 24
    assert sum((count - 200) ** 2 / 200 for count in seen.values()) < 60


def test_every_part_of_the_key_counts():
    shards = shards_in_turn(10, 10)
    orders = {
        tuple(sweep_order(shards, 7, *key).tolist()) for key in [("f", 0, 0), ("g", 0, 0), ("f", 1, 0), ("f", 0, 1)]
    }
    assert len(orders) == 4


def test_a_window_of_nothing_is_refused():
    with pytest.raises(AssertionError, match="window"):
        sweep_order(shards_in_turn(1, 1), 0, "k")
