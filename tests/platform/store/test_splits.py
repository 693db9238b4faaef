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


def test_no_micrographs():
    with pytest.raises(InvalidInputError, match="no micrographs with particles"):
        assign_splits([])


@pytest.mark.parametrize(
    ("count", "sizes", "expected"),
    [
        (1, {}, {"train": 1}),
        (2, {}, {"train": 1, "test": 1}),
        (2, {"val_size": 1}, None),
        (2, {"val_size": 1, "test_size": 0}, {"train": 1, "val": 1}),
        (2, {"test_size": 0}, {"train": 2}),
        (3, {}, {"train": 1, "val": 1, "test": 1}),
        (3, {"test_size": 0}, {"train": 2, "val": 1}),
        (3, {"val_size": 0}, {"train": 2, "test": 1}),
        (3, {"val_size": 0, "test_size": 0}, {"train": 3}),
    ],
)
def test_few_micrographs(count, sizes, expected):
    names = [str(n) for n in range(count)]
    if expected is None:
        with pytest.raises(InvalidInputError, match="leave none to train on"):
            assign_splits(names, **sizes)
        return
    assert Counter(assign_splits(names, **sizes).values()) == expected


@pytest.mark.parametrize("size", [-1, 1.5, float("nan"), float("inf")])
def test_impossible_sizes(size):
    with pytest.raises(InvalidInputError, match="is not possible"):
        split_size(size, 10)
