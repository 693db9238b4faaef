"""Rotation groups of symmetric assemblies."""

import numpy as np
from numpy.typing import NDArray

Rotations = NDArray[np.float64]


def rotation(axis: tuple[float, float, float], degrees: float) -> Rotations:
    """Return the (3, 3) matrix that turns column vectors about an axis (Rodrigues' formula)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def group(*generators: Rotations) -> Rotations:
    """Return all rotations that the generators produce, shape (g, 3, 3), the identity first."""
    elements = [np.eye(3)]
    for element in elements:  # grows while it is walked through, until nothing new appears
        for generator in generators:
            product = generator @ element
            if not any(np.allclose(product, known, atol=1e-6) for known in elements):
                elements.append(product)
    return np.stack(elements)


def cyclic(order: int) -> Rotations:
    """Return C(order) about z."""
    return group(rotation((0, 0, 1), 360 / order))


def dihedral(order: int) -> Rotations:
    """Return D(order) about z, with a twofold axis along x."""
    return group(rotation((0, 0, 1), 360 / order), rotation((1, 0, 0), 180))


def tetrahedral() -> Rotations:
    """Return the 12 rotations of the tetrahedron with a corner along (1, 1, 1)."""
    return group(rotation((0, 0, 1), 180), rotation((1, 1, 1), 120))


def octahedral() -> Rotations:
    """Return the 24 rotations of the octahedron with corners on the axes."""
    return group(rotation((0, 0, 1), 90), rotation((1, 1, 1), 120))
