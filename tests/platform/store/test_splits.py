from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.splits import assign_splits, split_size

ids = st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=60, unique=True)


@given(ids, st.integers(0, 2**40), st.randoms())
def test_default_splits(names, seed, random):
    splits = assign_splits(names, seed=seed)
    counts = Counter(splits.values())
    assert set(splits) == set(names)
    assert counts["test"] == counts["val"] == max(1, round(len(names) / 10))
    assert counts["train"] >= 1
    shuffled = list(names)
    random.shuffle(shuffled)
    assert assign_splits(shuffled, seed=seed) == splits


@given(ids, st.integers(1, 5), st.floats(0.01, 0.4))
def test_counts_and_shares(names, val, test):
    if val + max(1, round(test * len(names))) >= len(names):
        with pytest.raises(InvalidInputError, match="leave none to train on"):
            assign_splits(names, val_size=val, test_size=test)
        return
    counts = Counter(assign_splits(names, val_size=val, test_size=test).values())
    assert counts["val"] == val
    assert counts["test"] == max(1, round(test * len(names)))


@given(ids)
def test_a_larger_test_split_holds_the_smaller_one(names):
    """The shuffle is fixed: the first N are test, whatever N is."""
    if len(names) < 4:
        return
    small = assign_splits(names, val_size=1, test_size=1)
    large = assign_splits(names, val_size=1, test_size=2)
    assert {n for n, s in small.items() if s == "test"} < {n for n, s in large.items() if s == "test"}


def test_splits_are_fixed_for_ever():
    """A change of these would move micrographs from test to training in everybody's datasets."""
    splits = assign_splits([f"m{n}.mrc" for n in range(10)])
    assert [name for name, split in splits.items() if split != "train"] == PINNED
    assert assign_splits(splits, seed=1) != splits


PINNED = ["m6.mrc", "m0.mrc"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_micrographs(count):
    with pytest.raises(InvalidInputError, match=f"{count} micrographs with particles; at least 3"):
        assign_splits([str(n) for n in range(count)])


@pytest.mark.parametrize("size", [0, -1, 1.5, float("nan"), float("inf")])
def test_impossible_sizes(size):
    with pytest.raises(InvalidInputError, match="is not possible"):
        split_size(size, 10)
