"""Merging: neighbouring byte ranges of one file become one request, for requests cost more than the bytes between."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["LARGEST_GAP", "LONGEST", "MOST_PIECES", "Piece", "merge"]

T = TypeVar("T")

LARGEST_GAP = 64 * 1024
"""Bytes that are read for nothing rather than asking twice."""
LONGEST = 16 * 1024 * 1024
"""Bytes of a merged range; beyond that several connections beat one request."""
MOST_PIECES = 256
"""Pieces of a merged range; one call of the operating system takes about 1,000 buffers, gaps included."""


@dataclass(slots=True)
class Piece(Generic[T]):
    """Bytes that somebody wants.

    Attributes:
        path: The file.
        offset: First byte.
        length: Number of bytes.
        purpose: What they are for; merging does not look at it.
    """

    path: str
    offset: int
    length: int
    purpose: T


def merge(
    pieces: Iterable[Piece[T]],
    largest_gap: int = LARGEST_GAP,
    longest: int = LONGEST,
    most_pieces: int = MOST_PIECES,
) -> list[tuple[Piece[T], ...]]:
    """Group pieces that are to be read by one request each.

    Parameters
    ----------
    pieces : iterable of Piece
        In the order in which they are needed.
    largest_gap : int
        Pieces of a group are at most so many bytes apart; they never overlap.
    longest : int
        A group of several pieces spans at most so many bytes.
    most_pieces : int
        Pieces in a group.

    Returns
    -------
    list of tuple of Piece
        Every piece once; within a group by offset, the groups by their piece that is needed first.
    """

    def joins(piece: Piece[T], group: list[tuple[int, Piece[T]]]) -> bool:
        first, last = group[0][1], group[-1][1]
        gap = piece.offset - (last.offset + last.length)
        span = piece.offset + piece.length - first.offset
        return piece.path == first.path and 0 <= gap <= largest_gap and span <= longest and len(group) < most_pieces

    groups: list[list[tuple[int, Piece[T]]]] = []
    for entry in sorted(enumerate(pieces), key=lambda entry: (entry[1].path, entry[1].offset, entry[0])):
        if groups and joins(entry[1], groups[-1]):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    groups.sort(key=lambda group: min(number for number, _ in group))
    return [tuple(piece for _, piece in group) for group in groups]
