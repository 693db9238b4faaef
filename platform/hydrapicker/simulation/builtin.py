"""Symmetric assemblies built on the spot, clearly different in shape and size, so that nothing need be downloaded.

Each is a union of spheres, repeated by a rotation group and filled with pseudo-residues at the density of protein.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hydrapicker.simulation.structure import Structure
from hydrapicker.simulation.symmetry import Rotations, cyclic, dihedral, octahedral, tetrahedral

# A residue of protein takes 134 cubic Angstrom: a cube of this edge.
_RESIDUE_SPACING_ANGSTROM = 5.1
_RESIDUE_SPREAD_ANGSTROM = 1.6
# Heavy atoms of an average residue.
_RESIDUE_ATOMIC_NUMBERS = np.array([6, 6, 6, 6, 6, 7, 8, 8], dtype=np.uint8)

Sphere = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Shape:
    """Spheres (x, y, z, radius in Angstrom) of one subunit and the group that repeats it."""

    symmetry: Callable[[], Rotations]
    spheres: tuple[Sphere, ...]


def _polar(radius: float, degrees: float, z: float, size: float) -> Sphere:
    angle = np.radians(degrees)
    return float(radius * np.cos(angle)), float(radius * np.sin(angle)), z, size


_SHAPES = {
    # Two rings of seven back to back with an open channel, like a chaperonin: 150 x 130 Angstrom.
    "barrel": _Shape(lambda: dihedral(7), (_polar(44, 0, 17, 23), _polar(50, 8, 38, 18), _polar(46, 20, 56, 21))),
    # A thin, wide, open ring: 200 Angstrom across, 45 high.
    "ring": _Shape(lambda: cyclic(8), (_polar(76, 0, 0, 22), _polar(78, 22.5, 4, 19))),
    # Four straight arms in a plane with a knob on top: 220 Angstrom from tip to tip.
    "cross": _Shape(
        lambda: cyclic(4),
        (
            (0, 0, 22, 18),
            (6, 0, 0, 22),
            (30, 0, 0, 20),
            (50, 0, 0, 19),
            (70, 0, 0, 20),
            (88, 0, 2, 24),
        ),
    ),
    # Two globes on a thin rod: 250 Angstrom long.
    "dumbbell": _Shape(
        lambda: cyclic(2),
        ((0, 6, 0, 13), (16, 3, 0, 13), (32, 0, 0, 14), (48, 0, 0, 14), (84, 0, 8, 40), (76, 10, -8, 34)),
    ),
    # A hollow shell of 24, like apoferritin: 130 Angstrom.
    "shell": _Shape(octahedral, ((14, 30, 40, 15), (26, 38, 24, 14), (8, 40, 30, 13))),
    # Four lobes at the corners of a tetrahedron: 140 Angstrom.
    "tetrahedron": _Shape(tetrahedral, ((36, 36, 36, 30), (18, 18, 18, 16), (30, 48, 36, 18))),
    # Three bent arms, like clathrin: 240 Angstrom across.
    "triskelion": _Shape(
        lambda: cyclic(3),
        (
            (12, 0, 8, 24),
            (32, 4, 4, 20),
            (52, 12, 0, 20),
            (70, 26, -4, 20),
            (82, 44, -8, 21),
            (86, 66, -12, 24),
        ),
    ),
    # A solid, flat disc: 160 Angstrom across, 40 thick.
    "disc": _Shape(
        lambda: dihedral(6),
        ((4, 0, 3, 20), _polar(32, 10, 3, 19), _polar(58, 0, 2, 20), _polar(56, 30, 2, 20)),
    ),
    # A small compact protein of 70 Angstrom.
    "globule": _Shape(lambda: cyclic(2), ((15, 8, 4, 19), (7, -14, 10, 16), (12, 2, -14, 15))),
}


def builtin_names() -> tuple[str, ...]:
    """Return the names of the builtin structures."""
    return tuple(_SHAPES)


def build(name: str) -> Structure:
    """Build the structure of one of :func:`builtin_names`; always the same atoms for the same name."""
    shape = _SHAPES[name]
    operators = shape.symmetry()
    generator = np.random.default_rng(np.random.SeedSequence([17, *name.encode()]))
    residues = _subunit(operators, np.array(shape.spheres), generator)
    spread = generator.normal(scale=_RESIDUE_SPREAD_ANGSTROM, size=(len(residues), len(_RESIDUE_ATOMIC_NUMBERS), 3))
    atoms = (residues[:, None] + spread).reshape(-1, 3)
    positions = np.concatenate([atoms @ operator.T for operator in operators])
    return Structure.centred(positions, np.tile(_RESIDUE_ATOMIC_NUMBERS, len(residues) * len(operators)))


def _subunit(operators: Rotations, spheres: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return residues, shape (n, 3), of that part of the whole shape that belongs to one subunit.

    Each point of the shape goes to the copy whose landmark is nearest, so that copies that overlap share the
    space between them instead of filling it twice.
    """
    centres, radii = spheres[:, :3], spheres[:, 3]
    # Off every axis of symmetry, so that no two copies of it coincide.
    landmark = centres.mean(axis=0) + np.array([3.1, 1.7, 2.3])
    reach = (np.linalg.norm(centres, axis=1) + radii).max()
    ticks = np.arange(-reach, reach, _RESIDUE_SPACING_ANGSTROM)
    lattice = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice += generator.uniform(-1.2, 1.2, size=lattice.shape)
    copies = np.einsum("gji,nj->gni", operators, lattice)  # every point seen from every copy
    depth = np.linalg.norm(copies[:, :, None] - centres, axis=-1) / radii
    inside = depth.min(axis=(0, 2)) <= 1
    nearest = np.linalg.norm(copies - landmark, axis=-1).argmin(axis=0) == 0
    return np.asarray(lattice[inside & nearest])
