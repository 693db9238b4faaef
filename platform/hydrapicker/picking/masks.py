"""Where no particle can be: carbon, large contaminants, the edges; found on a micrograph at the working scale.

Carbon, ice crystals and aggregates are much darker than the ice around them (empty holes are lighter), and larger
than a particle. So the micrograph is averaged over half a particle and compared with a plane fitted to its ice, the
grey that is commonest. Of what sticks out all is kept into which a disc half as large again as a particle fits. Nothing
is learnt, so nothing has to be known of the sample; what is no larger than a particle is left to the network.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hydrapicker_core.preprocess import PreparedMicrograph

__all__ = ["contamination_mask", "edge_mask", "excluded_area"]

_LEAST_DEVIATION = 5.0
"""In standard deviations of the averaged ice, particles on it included."""
_LEAST_RADIUS_BOXES = 0.75
_ICE_DEVIATION = 3.0
_LAGS_BOXES = (0.5, 0.75, 1.0)
_MOST_FITS = 10
_SIGMA_PER_MAD = 1.4826


def excluded_area(
    prepared: PreparedMicrograph, box_px: float, edges_px: float, contamination: bool
) -> NDArray[np.bool_]:
    """Where nothing is to be picked on a micrograph at the working scale.

    Args:
        prepared: The micrograph.
        box_px: As in :func:`contamination_mask`.
        edges_px: Width of the edges in the original micrograph's pixels.
        contamination: Whether that is masked.
    """
    image = prepared.image.numpy()
    edges = edge_mask(image.shape, (edges_px * prepared.scale_y, edges_px * prepared.scale_x))
    return edges | contamination_mask(image, box_px) if contamination else edges


def contamination_mask(image: NDArray[np.float32], box_px: float) -> NDArray[np.bool_]:
    """Find carbon and contaminants that are larger than a particle.

    Args:
        image: Normalised, at the working scale, float32 ``(h, w)``.
        box_px: The particle's diameter in the image's pixels.

    Returns:
        True where no particle can be, ``(h, w)``.
    """
    window = max(3, round(box_px / 2))
    averaged = ndimage.uniform_filter(image, window, mode="nearest")
    step = max(1, window // 2)
    coarse = averaged[::step, ::step].astype(np.float64)
    spread = max(_spread(coarse, max(1, round(lag * box_px / step))) for lag in _LAGS_BOXES)
    if spread == 0:  # nothing but one grey: no ice to compare with
        return np.zeros(image.shape, np.bool_)
    ice = _ice(coarse, spread)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    plane = ice[0] + ice[1] * (x / step) + ice[2] * (y / step)
    return _opened(np.abs(averaged - plane) > _LEAST_DEVIATION * spread, _LEAST_RADIUS_BOXES * box_px)


def edge_mask(shape: tuple[int, int], margins: tuple[float, float]) -> NDArray[np.bool_]:
    """Mark what is nearer to an edge of the image than it may be.

    Args:
        shape: Height and width.
        margins: Rows and columns at each edge; of a pixel its centre counts.

    Returns:
        True at the edges, ``(h, w)``.
    """
    rows, columns = (
        np.minimum(np.arange(side), side - 1 - np.arange(side)) + 0.5 < margin
        for side, margin in zip(shape, margins, strict=True)
    )
    return np.asarray(rows[:, None] | columns[None, :])


def _spread(averaged: NDArray[np.float64], lag: int) -> float:
    """Standard deviation, from differences over a distance: a large dark area adds to it only along its rim."""
    across = (averaged[lag:] - averaged[:-lag], averaged[:, lag:] - averaged[:, :-lag])
    differences = np.concatenate([each.ravel() for each in across])
    return float(_SIGMA_PER_MAD * np.median(np.abs(differences)) / math.sqrt(2)) if len(differences) else 0.0


def _ice(averaged: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """The ice's grey as a plane (constant, per column, per row): first what most of the image has, then its slope."""
    y, x = (each.ravel() for each in np.indices(averaged.shape))
    terms, values = np.stack([np.ones(len(x)), x, y], axis=1), averaged.ravel()
    plane = np.array([_commonest(values, _ICE_DEVIATION * spread), 0.0, 0.0])
    for _ in range(_MOST_FITS):
        of_ice = np.abs(values - terms @ plane) < _ICE_DEVIATION * spread
        fitted = np.linalg.lstsq(terms[of_ice], values[of_ice])[0]
        if np.allclose(terms @ fitted, terms @ plane, rtol=0, atol=1e-3 * spread):
            break
        plane = fitted
    return plane


def _commonest(values: NDArray[np.float64], width: float) -> float:
    """The mean of those values that lie in the fullest interval of a width."""
    ordered = np.sort(values)
    ends = np.searchsorted(ordered, ordered + width, side="right")
    first = int(np.argmax(ends - np.arange(len(ordered))))
    return float(ordered[first : ends[first]].mean())


def _opened(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """What of a mask discs of a radius cover that fit into it; beyond the image it goes on as it is at the edge."""
    margin = math.ceil(radius) + 1
    padded = np.pad(mask, margin, mode="edge")
    centres = ndimage.distance_transform_edt(padded) > radius if padded.any() else padded
    if padded.all() or not centres.any():
        return np.asarray(mask if padded.all() else np.zeros_like(mask))
    opened = ndimage.distance_transform_edt(~centres) <= radius
    return np.asarray(opened[margin:-margin, margin:-margin])
