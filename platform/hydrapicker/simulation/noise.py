"""What hides the particles: the grain of ice and carbon, uneven ice, and the graininess of electrons."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.potential import VOLTS_PER_SCATTERING_DENSITY

# Water molecules (carbon atoms) per cubic Angstrom, scattering length of one in Angstrom at low frequency, and
# how much less its density fluctuates than an ideal gas's (structure factor at low frequency).
_ICE = (0.0314, 3.04, 0.09)
_CARBON = (0.100, 2.51, 0.30)
# Path in ice over which one electron in e is lost to the image.
_ICE_PATH_ANGSTROM = 3000.0
# The ice at the edge of the field differs from the average by at most this.
_MAX_SLOPE = 0.15
# Its surfaces are not flat either: standard deviation of the thickness and the width of the hills.
_ROUGHNESS_ANGSTROM = 6.0
_HILL_ANGSTROM = 90.0


def ice_thickness(
    shape: tuple[int, int], config: SimulateConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return the thickness of the ice in Angstrom, shape (h, w): a slope, a slight bow and low hills."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    angle = generator.uniform(0, 2 * np.pi)
    slope, bow = generator.uniform(0, _MAX_SLOPE / 2, size=2)
    relative = slope * (np.cos(angle) * x + np.sin(angle) * y) + bow * (x**2 + y**2 - 2 / 3)
    hills = _hills(shape, _HILL_ANGSTROM / config.pixel_size_angstrom, generator)
    # Thin ice cannot be rougher than it is thick.
    roughness = min(_ROUGHNESS_ANGSTROM, 0.1 * config.ice_thickness_angstrom)
    return np.asarray(config.ice_thickness_angstrom * (1 + relative) + roughness * hills, dtype=np.float32)


def _hills(shape: tuple[int, int], width: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Smooth random hills of unit height: random numbers on a coarse grid, interpolated."""
    coarse = [max(2, round(side / width)) for side in shape]
    heights = torch.from_numpy(generator.standard_normal((1, 1, *coarse), dtype=np.float32))
    fine = torch.nn.functional.interpolate(heights, size=shape, mode="bicubic", align_corners=True)
    return np.asarray(fine[0, 0].numpy())


def ice_grain_volt_angstrom(
    thickness: NDArray[np.float32], pixel_size_angstrom: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return the random part of the projected potential of amorphous ice, shape (h, w)."""
    return _grain(_ICE, thickness, pixel_size_angstrom, generator)


def carbon_grain_volt_angstrom(
    thickness: NDArray[np.float32], pixel_size_angstrom: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return the random part of the projected potential of amorphous carbon, shape (h, w)."""
    return _grain(_CARBON, thickness, pixel_size_angstrom, generator)


def _grain(
    material: tuple[float, float, float],
    thickness: NDArray[np.float32],
    pixel_size_angstrom: float,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Counting noise of the atoms in each column of one pixel."""
    density, scattering_length, structure_factor = material
    area = pixel_size_angstrom**2
    per_atom = VOLTS_PER_SCATTERING_DENSITY * scattering_length / area
    deviation = per_atom * np.sqrt(structure_factor * density * area * np.maximum(thickness, 0))
    return np.asarray(generator.standard_normal(thickness.shape, dtype=np.float32) * deviation, np.float32)


def ice_transmission(thickness: NDArray[np.float32], mean_angstrom: float) -> NDArray[np.float32]:
    """Return the share of electrons that arrive, relative to ice of average thickness."""
    return np.asarray(np.exp((mean_angstrom - thickness) / _ICE_PATH_ANGSTROM), dtype=np.float32)


def detect(expected: Float[Tensor, "h w"], generator: np.random.Generator) -> Float[Tensor, "h w"]:
    """Count electrons: a Poisson number for every pixel's expectation."""
    counts = generator.poisson(expected.clamp_min(0).numpy())
    return torch.from_numpy(counts.astype(np.float32))
