"""Which micrographs come along with those that are due: a few long requests cost a server less than many short ones."""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TypeVar

from hydrapicker.streaming.merge import LARGEST_GAP, Piece

__all__ = ["gather"]

T = TypeVar("T")


def gather(
    due: Sequence[Piece[T]], later: Iterable[Piece[T]], room: int, largest_gap: int = LARGEST_GAP
) -> list[Piece[T]]:
    """Choose pieces that lie beside those due, or beside one that was chosen, those needed first first.

    Parameters
    ----------
    due : sequence of Piece
        What is fetched now.
    later : iterable of Piece
        What could be, in the order in which it is needed.
    room : int
        Bytes that may be chosen.
    largest_gap : int
        Pieces are beside each other if they are at most so many bytes apart; they never overlap.

    Returns
    -------
    list of Piece
        Some of ``later``, in its order.
    """
    pieces = [*due, *later]
    lies = sorted(range(len(pieces)), key=lambda number: (pieces[number].path, pieces[number].offset, number))
    place_of = {number: place for place, number in enumerate(lies)}
    chosen, beside = set[int](), list[int]()

    def offer_neighbours(number: int) -> None:
        place = place_of[number]
        for here, there in ((place - 1, place), (place, place + 1)):
            if here >= 0 and there < len(lies) and _touch(pieces[lies[here]], pieces[lies[there]], largest_gap):
                neighbour = lies[here] if here != place else lies[there]
                if neighbour >= len(due) and neighbour not in chosen:
                    heappush(beside, neighbour)

    for number in range(len(due)):
        offer_neighbours(number)
    while beside:
        number = heappop(beside)
        if number not in chosen and pieces[number].length <= room:
            chosen.add(number)
            room -= pieces[number].length
            offer_neighbours(number)
    return [pieces[number] for number in sorted(chosen)]


def _touch(piece: Piece[T], following: Piece[T], largest_gap: int) -> bool:
    return piece.path == following.path and 0 <= following.offset - piece.offset - piece.length <= largest_gap
