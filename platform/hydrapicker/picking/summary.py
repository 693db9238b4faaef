"""A word on all micrographs at the end: how many picks, and which micrographs look odd."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["MicrographCount", "Summary", "summarise"]

_FEWEST_TO_COMPARE = 8
_FAR_MADS = 5.0
_MAD_OF_NORMAL = 1.4826
_USUAL_SHARE = 0.5
_SAME_PIXEL_SIZE = 0.01


@dataclass(frozen=True)
class MicrographCount:
    """One micrograph, counted: its name, how many picks, (height, width) in pixels, Angstrom per pixel."""

    name: str
    picks: int
    shape: tuple[int, int]
    pixel_size_angstrom: float


@dataclass(frozen=True)
class Summary:
    """Picks in total and per micrograph.

    Attributes:
        picks: In total.
        micrographs: How many there are.
        median, fewest, most: Picks per micrograph.
        odd: Micrographs that look odd, each with the reason, in one line.
    """

    picks: int
    micrographs: int
    median: float
    fewest: int
    most: int
    odd: tuple[str, ...]


def summarise(counts: Sequence[MicrographCount]) -> Summary:
    """Sum up, and say which micrographs are unlike the others; `counts` must not be empty.

    Square roots of counts, whose spread by chance alone is the same whatever the count (Anscombe 1948), are compared
    with their median: farther away than 5 times 1.4826 of the median distance is odd, and at least 2.5 (five times
    the spread of chance) so that a run of equal counts does not make the next one odd. Of fewer than 8 micrographs
    none is called odd for its picks. Size and pixel size are odd where more than half of all have one that differs
    (for the pixel size by more than 1 %).
    """
    numbers = np.array([each.picks for each in counts])
    odd = [*_odd_counts(counts, numbers), *_odd_sizes(counts), *_odd_pixel_sizes(counts)]
    median, fewest, most = float(np.median(numbers)), int(numbers.min()), int(numbers.max())
    return Summary(int(numbers.sum()), len(counts), median, fewest, most, tuple(odd))


def _odd_counts(counts: Sequence[MicrographCount], numbers: "np.ndarray[tuple[int], np.dtype[np.int_]]") -> list[str]:
    if len(counts) < _FEWEST_TO_COMPARE:
        return []
    roots = np.sqrt(numbers + 3 / 8)
    away = roots - np.median(roots)
    far = _FAR_MADS * max(0.5, _MAD_OF_NORMAL * float(np.median(np.abs(away))))
    median = f"{np.median(numbers):g}"
    return [
        f"{each.name}: {'few' if distance < 0 else 'many'} picks, {each.picks} where the median is {median}"
        for each, distance in zip(counts, away, strict=True)
        if abs(distance) > far
    ]


def _odd_sizes(counts: Sequence[MicrographCount]) -> list[str]:
    ((usual, number),) = Counter(each.shape for each in counts).most_common(1)
    if number <= _USUAL_SHARE * len(counts):
        return []
    return [
        f"{each.name}: {each.shape[1]} x {each.shape[0]} pixels where most are {usual[1]} x {usual[0]}"
        for each in counts
        if each.shape != usual
    ]


def _odd_pixel_sizes(counts: Sequence[MicrographCount]) -> list[str]:
    sizes = np.array([each.pixel_size_angstrom for each in counts])
    usual = float(np.median(sizes))
    differs = np.abs(sizes / usual - 1) > _SAME_PIXEL_SIZE
    if differs.sum() >= _USUAL_SHARE * len(counts):
        return []
    return [
        f"{each.name}: {each.pixel_size_angstrom:.4g} A per pixel where most have {usual:.4g}"
        for each, odd in zip(counts, differs, strict=True)
        if odd
    ]
