"""Random positions that keep their distance."""

import math

import numpy as np
from numpy.typing import NDArray

# Random placing of discs jams when they cover 54.7 % of the plane and crawls well before.
MAX_COVERAGE = 0.46
_TRIES_PER_PARTICLE = 60


def max_particles(area: float, spacing: float) -> int:
    """Return how many particles can be placed at random on an area with this least distance."""
    return int(MAX_COVERAGE * area / (math.pi * spacing**2 / 4))


def scatter(
    count: int, spacing: float, allowed: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Throw darts until ``count`` of them stick or patience ends.

    Parameters
    ----------
    count : int
        Number of positions wanted over the whole field, as if every pixel were allowed: darts that land on
        a pixel that is not are lost and not thrown again.
    spacing : float
        Least distance between two positions in pixels.
    allowed : NDArray[np.bool_]
        Shape (height, width): where a position may be.
    generator : np.random.Generator
        Source of all randomness.

    Returns
    -------
    NDArray[np.int64]
        Shape (n, 2), x then y, whole pixels.
    """
    height, width = allowed.shape
    taken: dict[tuple[int, int], list[tuple[int, int]]] = {}
    placed: list[tuple[int, int]] = []
    stuck = 0
    darts = generator.integers((0, 0), (width, height), size=(_TRIES_PER_PARTICLE * count, 2))
    for x, y in darts.tolist():
        if stuck == count:
            break
        column, row = int(x // spacing), int(y // spacing)
        near = (
            other for cell in np.ndindex(3, 3) for other in taken.get((column + cell[0] - 1, row + cell[1] - 1), ())
        )
        if any(math.hypot(x - other[0], y - other[1]) < spacing for other in near):
            continue
        stuck += 1
        taken.setdefault((column, row), []).append((x, y))
        if allowed[y, x]:
            placed.append((x, y))
    return np.array(placed, dtype=np.int64).reshape(-1, 2)
