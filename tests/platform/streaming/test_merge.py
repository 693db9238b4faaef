from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.merge import LARGEST_GAP, LONGEST, Piece, merge


@st.composite
def pieces(draw):
    spans = draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.integers(1, 12)), max_size=25))
    return [Piece(path, offset, length, number) for number, (path, offset, length) in enumerate(spans)]


def brute_force(wanted, gap, longest, most):
    """Start with every piece alone, and join two neighbouring groups from the left as long as any may be joined."""
    groups = [[piece] for piece in sorted(wanted, key=lambda p: (p.path, p.offset, p.purpose))]
    number = 0
    while number + 1 < len(groups):
        here, there = groups[number], groups[number + 1]
        between = there[0].offset - here[-1].offset - here[-1].length
        together = there[0].offset + there[0].length - here[0].offset
        if here[0].path == there[0].path and 0 <= between <= gap and together <= longest and len(here) < most:
            groups[number : number + 2] = [here + there]
        else:
            number += 1
    return sorted((tuple(group) for group in groups), key=lambda group: min(p.purpose for p in group))


@given(pieces(), st.integers(0, 8), st.integers(1, 40), st.integers(1, 5))
def test_as_joining_neighbours_one_by_one(wanted, gap, longest, most):
    assert merge(wanted, gap, longest, most) == brute_force(wanted, gap, longest, most)


@given(pieces(), st.integers(0, 8), st.integers(1, 40), st.integers(1, 5))
def test_every_piece_once_and_within_the_bounds(wanted, gap, longest, most):
    groups = merge(wanted, gap, longest, most)
    assert Counter(p.purpose for group in groups for p in group) == Counter(p.purpose for p in wanted)
    first_needed = [min(p.purpose for p in group) for group in groups]
    assert first_needed == sorted(first_needed)
    for group in groups:
        assert len(group) <= most
        assert len({p.path for p in group}) == 1
        covered = [byte for p in group for byte in range(p.offset, p.offset + p.length)]
        assert len(set(covered)) == len(covered), "pieces of a group overlap"
        if len(group) > 1:
            assert covered[-1] - covered[0] + 1 <= longest
        assert all(b - a <= gap + 1 for a, b in pairwise(covered))


def test_nothing_wanted():
    assert merge([]) == []


def test_the_defaults():
    near = [Piece("a", 0, 1_000, 0), Piece("a", 1_000 + LARGEST_GAP, 1_000, 1)]
    far = [Piece("a", 0, 1_000, 0), Piece("a", 1_001 + LARGEST_GAP, 1_000, 1)]
    long = [Piece("a", 0, LONGEST // 2, 0), Piece("a", LONGEST // 2, LONGEST // 2, 1), Piece("a", LONGEST, 1, 2)]
    assert [len(merge(wanted)) for wanted in (near, far, long)] == [1, 2, 2]
