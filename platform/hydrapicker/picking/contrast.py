"""Whether micrographs are as --contrast says: what the head finds on the middle of some, and on its inverse.

A head that is given particles of the wrong contrast takes gaps for particles, and is much less sure of them. So the
first micrographs of a run are compared with their inverse. Nothing is changed by what comes of it; it is said.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hydrapicker.picking.picker import AtScale, Picker, Picks
from hydrapicker_core.normalisation import Background
from hydrapicker_registry.metadata import Contrast

__all__ = ["COMPARED", "ContrastEvidence", "compare_with_inverse", "contrast_doubt"]

COMPARED = 3
"""So many micrographs of a run are compared with their inverse, the first ones."""

_SIDE_PX = 512
"""Of the part that is compared at most, at the working scale: the pass takes no longer on a large micrograph."""

_SURE = 0.5
_SUREST = 0.95
"""Above it a pick counts no more, so that a crystal or two do not decide."""

_TIMES, _LEAST_EVIDENCE = 2.0, 10.0
"""Chosen on the collection of simulated datasets and EMPIAR-10146, empty micrographs included: no false word."""


@dataclass(frozen=True)
class ContrastEvidence:
    """How much speaks for particles on one part of a micrograph: the log odds of all picks above 0.5, summed.

    Attributes:
        as_given: With the contrast that was given.
        inverse: With the other one.
    """

    as_given: float
    inverse: float


def compare_with_inverse(
    picker: Picker, micrograph: AtScale, picks: Picks, min_distance_angstrom: float | None, memory_bound_gib: float
) -> ContrastEvidence:
    """Pick the inverse of a micrograph's middle, in one more pass of the network over 512 x 512 pixels at most.

    Args:
        picker: The head.
        micrograph: What the network saw.
        picks: What came of it, down to a score of 0.5 at least.
        min_distance_angstrom, memory_bound_gib: As the picks were made.
    """
    prepared = micrograph.prepared
    top, left = (max(0, (side - _SIDE_PX) // 2) for side in prepared.image.shape)
    part = (slice(top, top + _SIDE_PX), slice(left, left + _SIDE_PX))
    image = -prepared.image[part]
    xy = picks.xy * np.array([prepared.scale_x, prepared.scale_y], np.float32) - np.array([left, top], np.float32)
    inside = ((xy >= -0.5) & (xy < np.array(image.shape[::-1], np.float32) - 0.5)).all(axis=1)
    inverse = replace(
        micrograph,
        prepared=replace(
            prepared, image=image, background=Background(-prepared.background.mean, prepared.background.std)
        ),
        excluded=None if micrograph.excluded is None else micrograph.excluded[part],
    )
    found = picker.pick_prepared(inverse, _SURE, min_distance_angstrom, memory_bound_gib)
    return ContrastEvidence(_evidence(picks.score[inside]), _evidence(found.score))


def contrast_doubt(compared: Iterable[ContrastEvidence | None], contrast: Contrast) -> str | None:
    """One line where the inverse has at least twice the evidence; None where nothing is odd or nothing can be told."""
    found: Sequence[ContrastEvidence] = [each for each in compared if each is not None]
    as_given, inverse = sum(each.as_given for each in found), sum(each.inverse for each in found)
    if inverse < _LEAST_EVIDENCE or inverse <= _TIMES * as_given:
        return None
    other, lighter = ("light", "lighter") if contrast == "dark" else ("dark", "darker")
    number = "the one that was" if len(found) == 1 else f"the {len(found)} that were"
    return (
        f"these micrographs look inverted: in {number} compared, the head is much surer of {other} particles than of "
        f"{contrast} ones (evidence {inverse:.0f} against {as_given:.0f}): if particles are {lighter} than the ice, "
        f"give --contrast {other} --overwrite"
    )


def _evidence(score: NDArray[np.float32]) -> float:
    sure = score[score > _SURE].astype(np.float64)
    counted = np.minimum(sure, _SUREST)
    return round(math.fsum(np.log(counted / (1 - counted))), 2)
