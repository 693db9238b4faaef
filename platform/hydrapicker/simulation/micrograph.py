"""One micrograph: what is in it, and what the detector sees of it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hydrapicker.simulation import noise, optics
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.contamination import Contamination, draw_contamination
from hydrapicker.simulation.layout import max_particles, scatter
from hydrapicker.simulation.potential import ICE_POTENTIAL_VOLTS
from hydrapicker.simulation.projection import Projector, random_rotations
from hydrapicker.simulation.structure import StructureError

_CARBON_POTENTIAL_VOLTS = 8.0
# One independent stream of random numbers for each purpose, so that none shifts another.
_STREAMS = ("defocus", "contamination", "positions", "orientations", "ice", "detector", "empty")
_FAST_FACTORS = (2, 3, 5)


@dataclass(frozen=True)
class Plan:
    """What one micrograph shows.

    Attributes
    ----------
    margin : tuple of int
        Rows above and columns left of the micrograph that are computed and then cut off.
    positions : NDArray[np.int64]
        Centres of all particles, also those in the margin, shape (n, 2), x then y, in the padded field.
    """

    defocus: optics.Defocus
    margin: tuple[int, int]
    positions: NDArray[np.int64]
    contamination: Contamination

    def labelled(self, config: SimulateConfig) -> NDArray[np.float32]:
        """Return the particles whose centre is in the micrograph, shape (n, 2), x then y, in its pixels."""
        inside = self.positions - np.array(self.margin[::-1])
        keep = ((inside >= 0) & (inside < (config.width, config.height))).all(axis=1)
        return np.asarray(inside[keep], dtype=np.float32)


def particle_count(config: SimulateConfig, diameter_angstrom: float) -> float:
    """Return the average number of particles in a micrograph.

    Raises
    ------
    StructureError
        When the number asked for does not fit, or the particle is larger than the micrograph.
    """
    diameter_px = diameter_angstrom / config.pixel_size_angstrom
    if diameter_px > min(config.height, config.width):
        raise StructureError(
            f"{config.structure} is {diameter_angstrom:.0f} A in diameter and the micrograph only "
            f"{min(config.height, config.width) * config.pixel_size_angstrom:.0f} A across: give a larger "
            "height and width or a larger pixel_size_angstrom"
        )
    area = config.height * config.width
    spacing = config.spacing_diameters * diameter_px
    most = max_particles(area, spacing)
    if config.particles is None:
        return min(float(most), config.coverage * area / (math.pi * diameter_px**2 / 4))
    if config.particles > most:
        raise StructureError(
            f"{config.particles} particles of {diameter_angstrom:.0f} A do not fit side by side: give at most "
            f"{most} particles, a larger micrograph, or a smaller spacing_diameters"
        )
    return config.particles


def streams(config: SimulateConfig, index: int) -> dict[str, np.random.Generator]:
    """Return the random numbers of micrograph ``index``: a function of the seed and the index alone."""
    sequence = np.random.SeedSequence(config.seed, spawn_key=(index,))
    children = sequence.spawn(len(_STREAMS))
    return {name: np.random.default_rng(child) for name, child in zip(_STREAMS, children, strict=True)}


def plan_micrograph(config: SimulateConfig, diameter_angstrom: float, box_px: int, index: int) -> Plan:
    """Draw what micrograph ``index`` shows."""
    generators = streams(config, index)
    reach = box_px // 2 + optics.spread_px(config)
    shape = _fast_size(config.height + 2 * reach), _fast_size(config.width + 2 * reach)
    spacing = config.spacing_diameters * diameter_angstrom / config.pixel_size_angstrom
    contamination = draw_contamination(shape, config, spacing, generators["contamination"])
    mean = particle_count(config, diameter_angstrom)
    scaled = mean * shape[0] * shape[1] / (config.height * config.width)
    count = int(generators["positions"].poisson(scaled))
    if generators["empty"].random() < config.empty:
        count, contamination = 0, contamination.without_clumps()
    return Plan(
        defocus=optics.draw_defocus(config, generators["defocus"]),
        margin=(reach, reach),
        positions=scatter(count, spacing, contamination.free, generators["positions"]),
        contamination=contamination,
    )


def expected_counts(config: SimulateConfig, projector: Projector, plan: Plan, index: int) -> Float[Tensor, "h w"]:
    """Return the expected number of electrons in every pixel: everything but the detector's counting noise."""
    generators = streams(config, index)
    shape = plan.contamination.free.shape
    pixel = config.pixel_size_angstrom
    centres = np.concatenate([plan.positions, plan.contamination.clumped])
    rotations = random_rotations(len(centres), generators["orientations"])
    potential = _place(projector, rotations, centres, shape)
    thickness = noise.ice_thickness(shape, config, generators["ice"])
    solid = noise.ice_grain_volt_angstrom(thickness, pixel, generators["ice"])
    crystal, carbon = plan.contamination.crystal_angstrom, plan.contamination.carbon_angstrom
    solid += ICE_POTENTIAL_VOLTS * (thickness - config.ice_thickness_angstrom + crystal)
    if carbon.any():
        solid += _CARBON_POTENTIAL_VOLTS * carbon
        solid += noise.carbon_grain_volt_angstrom(carbon, pixel, generators["ice"])
    potential += torch.from_numpy(solid)
    phase = optics.interaction_rad_per_volt_angstrom(config.voltage_kv) * potential
    image = optics.form_image(phase, optics.transfer(shape, config, plan.defocus))
    through = noise.ice_transmission(thickness, config.ice_thickness_angstrom)
    image *= torch.from_numpy(through * plan.contamination.transmission())
    top, left = plan.margin
    cut = image[top : top + config.height, left : left + config.width]
    return cut.clamp_min(0) * (config.dose_e_per_angstrom2 * pixel**2)


def render_micrograph(config: SimulateConfig, projector: Projector, plan: Plan, index: int) -> Float[Tensor, "h w"]:
    """Return micrograph ``index``: electrons counted in every pixel, particles dark."""
    return noise.detect(expected_counts(config, projector, plan, index), streams(config, index)["detector"])


def _place(
    projector: Projector, rotations: NDArray[np.float32], centres: NDArray[np.int64], shape: tuple[int, int]
) -> Float[Tensor, "h w"]:
    """Add the projections to an empty field, in whole pixels; what sticks out of it is cut off."""
    box = projector.box_px
    field = torch.zeros(shape[0] + 2 * box, shape[1] + 2 * box)
    onto = (centres >= -box // 2).all(axis=1) & (centres < np.array(shape[::-1]) + box // 2).all(axis=1)
    for start in range(0, int(onto.sum()), 64):
        some = slice(start, start + 64)
        images = projector.project(rotations[onto][some])
        for image, (x, y) in zip(images, centres[onto][some].tolist(), strict=True):
            top, left = y + box - box // 2, x + box - box // 2
            field[top : top + box, left : left + box] += image
    return field[box:-box, box:-box].clone()


def _fast_size(least: int) -> int:
    """Return the next even number that a Fourier transform handles quickly."""
    size = least + least % 2
    while True:
        rest = size
        for factor in _FAST_FACTORS:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2
