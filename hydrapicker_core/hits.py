"""Which picks are hits: the matching of picks with particles by the paper's protocol."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from .errors import InvalidInputError

DEFAULT_IOU_THRESHOLD = 0.6

NO_PARTICLE = -1
"""What :func:`matched_particles` says of a pick that hits nothing."""


def match_picks(
    picks: Float[np.ndarray, "n 2"],
    scores: Float[np.ndarray, " scores"],
    particles: Float[np.ndarray, "m 2"],
    box_px: float,
    iou_threshold: float = DEFAULT_IOU_THRESHOLD,
) -> Bool[np.ndarray, " n"]:
    """Tell which picks of one micrograph hit a particle: ``(n,)``, True for hits, in the order of `picks`.

    Parameters and errors are those of :func:`matched_particles`, which also tells the particle.
    """
    hits: NDArray[np.bool_] = matched_particles(picks, scores, particles, box_px, iou_threshold) != NO_PARTICLE
    return hits


def matched_particles(
    picks: Float[np.ndarray, "n 2"],
    scores: Float[np.ndarray, " scores"],
    particles: Float[np.ndarray, "m 2"],
    box_px: float,
    iou_threshold: float = DEFAULT_IOU_THRESHOLD,
) -> Int[np.ndarray, " n"]:
    """Tell which particle each pick of one micrograph hits.

    In order of decreasing score (equal scores: as given), each pick takes, of the particles not yet taken whose
    box overlaps its own by more than the threshold, the one it overlaps most (equal overlaps: the first
    given). Picks that find none are false: so of several picks on one particle only the most confident is a hit.

    Parameters
    ----------
    picks, particles
        ``(n, 2)`` and ``(m, 2)`` box centres x, y, in the same pixels.
    scores
        ``(n,)``, larger is more confident.
    box_px
        Side of all boxes, in the pixels of the coordinates.
    iou_threshold
        Intersection over union a hit must exceed, in [0, 1).

    Returns
    -------
    ndarray
        ``(n,)`` index of the particle, or :data:`NO_PARTICLE`, in the order of `picks`.

    Raises
    ------
    InvalidInputError
        When lengths differ, values are not finite, or box or threshold are out of range.
    """
    if len(picks) != len(scores):
        raise InvalidInputError(f"{len(picks)} picks but {len(scores)} scores: give one score per pick")
    if not (np.isfinite(box_px) and box_px > 0):
        raise InvalidInputError(f"the box side is {box_px} pixels: give a positive number")
    if not 0 <= iou_threshold < 1:
        raise InvalidInputError(f"the IoU threshold is {iou_threshold}: give a number from 0 up to, not including, 1")
    for name, values in (("picks", picks), ("scores", scores), ("particles", particles)):
        if not np.isfinite(values).all():
            raise InvalidInputError(f"the {name} hold NaN or infinite numbers: remove those rows")

    # Sorted by x, the particles one pick can hit are one short slice: memory stays linear in their number.
    by_x = np.argsort(particles[:, 0], kind="stable")
    sorted_x = particles[by_x, 0].astype(np.float64)
    first = np.searchsorted(sorted_x, picks[:, 0] - float(box_px), side="left")
    last = np.searchsorted(sorted_x, picks[:, 0] + float(box_px), side="right")
    centres = particles.astype(np.float64)
    taken = np.zeros(len(particles), dtype=np.bool_)
    matched = np.full(len(picks), NO_PARTICLE, dtype=np.int64)
    for pick in np.argsort(-scores, kind="stable"):
        near = by_x[first[pick] : last[pick]]
        near = np.sort(near[~taken[near]])
        if len(near) == 0:
            continue
        iou = _square_iou(picks[pick].astype(np.float64) - centres[near], float(box_px))
        best = int(iou.argmax())
        if iou[best] > iou_threshold:
            taken[near[best]] = True
            matched[pick] = near[best]
    return matched


def _square_iou(offsets: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """Intersection over union of equal squares whose centres are `offsets` ``(n, 2)`` apart."""
    overlap = np.clip(side - np.abs(offsets), 0, None)
    intersection = overlap[:, 0] * overlap[:, 1]
    union: NDArray[np.float64] = 2 * side**2 - intersection
    return intersection / union
