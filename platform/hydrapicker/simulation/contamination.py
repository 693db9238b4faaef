"""What is on every grid and is no particle: ice crystals, the edge of the carbon film, aggregates."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hydrapicker.simulation.config import SimulateConfig

_CRYSTAL_RADIUS_ANGSTROM = (60.0, 260.0)
_CRYSTAL_THICKNESS_ANGSTROM = (100.0, 350.0)
# Crystals diffract, so they lose far more electrons than amorphous ice of the same thickness.
_CRYSTAL_PATH_ANGSTROM = 2000.0
_CARBON_THICKNESS_ANGSTROM = 150.0
_CARBON_PATH_ANGSTROM = 2500.0
_CARBON_EDGE_ANGSTROM = 25.0
_HOLE_RADIUS_ANGSTROM = (5000.0, 10000.0)
_AGGREGATE_COPIES = (4, 12)


@dataclass(frozen=True)
class _Level:
    """How much of it there is: per square micrometre, and the chance of a carbon edge."""

    crystals: float
    aggregates: float
    carbon: float


_LEVELS = {
    "none": _Level(0, 0, 0),
    "light": _Level(crystals=40, aggregates=15, carbon=0.15),
    "heavy": _Level(crystals=110, aggregates=60, carbon=0.5),
}


@dataclass(frozen=True, eq=False)
class Contamination:
    """Contamination of one micrograph, over the field with its margins.

    Attributes
    ----------
    crystal_angstrom, carbon_angstrom : NDArray[np.float32]
        Thickness of crystalline ice and of carbon, shape (h, w).
    clumped : NDArray[np.int64]
        Centres of the copies in aggregates, shape (n, 2), x then y.
    free : NDArray[np.bool_]
        Where a particle may be, shape (h, w).
    """

    crystal_angstrom: NDArray[np.float32]
    carbon_angstrom: NDArray[np.float32]
    clumped: NDArray[np.int64]
    free: NDArray[np.bool_]

    def without_clumps(self) -> "Contamination":
        """Return the same without aggregates, which consist of particles."""
        return replace(self, clumped=self.clumped[:0])

    def transmission(self) -> NDArray[np.float32]:
        """Return the share of electrons that get through, shape (h, w)."""
        loss = self.crystal_angstrom / _CRYSTAL_PATH_ANGSTROM + self.carbon_angstrom / _CARBON_PATH_ANGSTROM
        return np.asarray(np.exp(-loss), dtype=np.float32)


def draw_contamination(
    shape: tuple[int, int], config: SimulateConfig, spacing: float, generator: np.random.Generator
) -> Contamination:
    """Draw the contamination of one micrograph.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the field with its margins.
    config : SimulateConfig
        Holds the level and the pixel size.
    spacing : float
        Distance in pixels that particles keep from each other and from aggregates.
    generator : np.random.Generator
        Source of all randomness.
    """
    level = _LEVELS[config.contamination]
    pixel = config.pixel_size_angstrom
    area_um2 = shape[0] * shape[1] * (pixel * 1e-4) ** 2
    crystal = np.zeros(shape, np.float32)
    for _ in range(generator.poisson(level.crystals * area_um2)):
        _add_crystal(crystal, pixel, generator)
    carbon = np.zeros(shape, np.float32)
    if generator.random() < level.carbon:
        carbon = _carbon_film(shape, pixel, generator)
    free = (crystal == 0) & (carbon < 1)
    clumps = [_clump(shape, spacing, generator) for _ in range(generator.poisson(level.aggregates * area_um2))]
    clumped = np.concatenate([np.zeros((0, 2), np.int64), *clumps])
    for x, y in clumped.tolist():
        _block_disc(free, x, y, spacing)
    return Contamination(crystal, carbon, clumped, free)


def _add_crystal(thickness: NDArray[np.float32], pixel: float, generator: np.random.Generator) -> None:
    """Add one angular blob: the corner of a hexagon seen from anywhere, with an uneven outline."""
    radius = generator.uniform(*_CRYSTAL_RADIUS_ANGSTROM) / pixel
    height = generator.uniform(*_CRYSTAL_THICKNESS_ANGSTROM)
    x0, y0 = generator.uniform((0, 0), (thickness.shape[1], thickness.shape[0]))
    waves, phases = generator.normal(scale=(0.13, 0.06, 0.03, 0.03)), generator.uniform(0, 2 * np.pi, 4)
    left, top = (max(0, math.floor(c - 1.8 * radius)) for c in (x0, y0))
    patch = thickness[top : math.ceil(y0 + 1.8 * radius), left : math.ceil(x0 + 1.8 * radius)]
    y, x = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    angle, distance = np.arctan2(y - y0, x - x0), np.hypot(x - x0, y - y0)
    outline = radius * (1 + sum(waves[k] * np.cos((2, 3, 4, 6)[k] * angle + phases[k]) for k in range(4)))
    inside = np.clip(1 - (distance / np.maximum(outline, 1)) ** 2, 0, None)
    patch += (height * np.sqrt(inside)).astype(np.float32)


def _carbon_film(shape: tuple[int, int], pixel: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Carbon outside a round hole whose rim crosses the field."""
    radius = generator.uniform(*_HOLE_RADIUS_ANGSTROM) / pixel
    angle = generator.uniform(0, 2 * np.pi)
    # The rim stays in the outer part of the field: most of a micrograph is taken inside the hole.
    reach = generator.uniform(0.25, 0.42) * min(shape)
    x0 = shape[1] / 2 + (reach - radius) * np.cos(angle)
    y0 = shape[0] / 2 + (reach - radius) * np.sin(angle)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    beyond = (np.hypot(x - x0, y - y0) - radius) * pixel / _CARBON_EDGE_ANGSTROM
    return np.asarray(_CARBON_THICKNESS_ANGSTROM * np.clip(beyond, 0, 1), dtype=np.float32)


def _clump(shape: tuple[int, int], spacing: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Centres of overlapping copies, each close to one before it."""
    copies = [generator.uniform((0, 0), (shape[1], shape[0]))]
    for _ in range(generator.integers(*_AGGREGATE_COPIES)):
        neighbour = copies[generator.integers(len(copies))]
        angle, step = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 0.6) * spacing
        copies.append(neighbour + step * np.array([np.cos(angle), np.sin(angle)]))
    return np.rint(np.array(copies)).astype(np.int64)


def _block_disc(free: NDArray[np.bool_], x: int, y: int, radius: float) -> None:
    reach = math.ceil(radius)
    top, left = max(0, y - reach), max(0, x - reach)
    patch = free[top : max(0, y + reach + 1), left : max(0, x + reach + 1)]
    rows, columns = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch[np.hypot(columns - x, rows - y) < radius] = False
