from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.gather import gather
from hydrapicker.streaming.merge import LARGEST_GAP, Piece


@st.composite
def pieces(draw):
    """Pieces of two files that do not overlap, in any order; the first few are due."""
    laid = []
    for path in "ab":
        end = 0
        for gap, length in draw(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), max_size=12)):
            laid.append((path, end + gap, length))
            end += gap + length
    wanted = [Piece(*where, number) for number, where in enumerate(draw(st.permutations(laid)))]
    return wanted, draw(st.integers(0, len(wanted)))


def brute_force(due, later, room, gap):
    """Again and again take the first that fits and touches anything that is fetched."""

    def touch(a, b):
        return a.path == b.path and a.offset < b.offset and b.offset - a.offset - a.length <= gap and not between(a, b)

    def between(a, b):
        return any(p.path == a.path and a.offset < p.offset < b.offset for p in [*due, *later])

    chosen = []
    while True:
        fetched = [*due, *chosen]
        fits = (p for p in later if p not in chosen and p.length <= room)
        found = next((p for p in fits if any(touch(p, q) or touch(q, p) for q in fetched)), None)
        if found is None:
            return sorted(chosen, key=lambda p: p.purpose)
        chosen.append(found)
        room -= found.length


@given(pieces(), st.integers(0, 40), st.integers(0, 6))
def test_as_taking_the_first_that_touches_one_by_one(given_pieces, room, gap):
    wanted, count = given_pieces
    due, later = wanted[:count], wanted[count:]
    chosen = gather(due, later, room, gap)
    assert chosen == brute_force(due, later, room, gap)
    assert sum(piece.length for piece in chosen) <= room


def test_nothing_is_due_and_nothing_is_wanted_later():
    piece = Piece("a", 0, 10, 0)
    assert gather([], [piece], 100) == []
    assert gather([piece], [], 100) == []


def test_what_is_wanted_twice_comes_twice():
    due, twice = Piece("a", 0, 10, 0), [Piece("a", 10, 10, 1), Piece("a", 10, 10, 2)]
    assert gather([due], twice, 100) == twice[:1]  # the other one overlaps it, and comes by itself
    far = Piece("a", 20 + LARGEST_GAP + 1, 10, 3)
    assert gather([due], [far], 100) == []
