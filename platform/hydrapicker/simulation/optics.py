"""The microscope: from the phase shift of the electrons to the contrast of the image."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch_ctf import calculate_ctf_2d

from hydrapicker.simulation.config import SimulateConfig

_ELECTRON_REST_ENERGY_KEV = 510.999
# Largest difference between the defocus along the two axes, as a fraction of the defocus.
_MAX_ASTIGMATISM = 0.015
# Loss of contrast by beam-induced motion, charging and partial coherence.
ENVELOPE_B_ANGSTROM2 = 80.0
# Modulation transfer of the detector at its Nyquist frequency.
_MTF_AT_NYQUIST = 0.5


@dataclass(frozen=True)
class Defocus:
    """Underfocus of one micrograph, as torch_ctf takes it."""

    mean_um: float
    astigmatism_um: float
    astigmatism_angle_degrees: float


def draw_defocus(config: SimulateConfig, generator: np.random.Generator) -> Defocus:
    """Draw the defocus of one micrograph, with a little astigmatism."""
    mean = generator.uniform(config.defocus_min_um, config.defocus_max_um)
    astigmatism = mean * generator.uniform(0, _MAX_ASTIGMATISM)
    return Defocus(float(mean), float(astigmatism), float(generator.uniform(0, 180)))


def wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic wavelength of the electrons in Angstrom."""
    volts = voltage_kv * 1e3
    return 12.26426 / math.sqrt(volts + 0.97845e-6 * volts**2)


def interaction_rad_per_volt_angstrom(voltage_kv: float) -> float:
    """Return the phase shift per projected potential, 2 pi / (lambda V) (m c^2 + eV) / (2 m c^2 + eV)."""
    relativity = (_ELECTRON_REST_ENERGY_KEV + voltage_kv) / (2 * _ELECTRON_REST_ENERGY_KEV + voltage_kv)
    return 2 * math.pi / (wavelength_angstrom(voltage_kv) * voltage_kv * 1e3) * relativity


def spread_px(config: SimulateConfig) -> int:
    """Return how far the microscope spreads what the envelope lets through, lambda * defocus * frequency."""
    finest_angstrom = max(2 * config.pixel_size_angstrom, 7.0)
    shift = wavelength_angstrom(config.voltage_kv) * config.defocus_max_um * 1e4 / finest_angstrom
    return math.ceil(shift / config.pixel_size_angstrom)


def transfer(shape: tuple[int, int], config: SimulateConfig, defocus: Defocus) -> Float[Tensor, "h half_w"]:
    """Return what the microscope and its detector do to every frequency of the phase image.

    The result is laid out as ``torch.fft.rfft2`` gives it. It is positive below the first zero, where an
    underfocused microscope shows matter **dark**: the image is ``1 - 2 * filtered phase``.
    """
    ctf = calculate_ctf_2d(
        defocus=defocus.mean_um,
        astigmatism=defocus.astigmatism_um,
        astigmatism_angle=defocus.astigmatism_angle_degrees,
        voltage=config.voltage_kv,
        spherical_aberration=config.spherical_aberration_mm,
        amplitude_contrast=config.amplitude_contrast,
        phase_shift=0.0,
        pixel_size=config.pixel_size_angstrom,
        image_shape=shape,
        rfft=True,
        fftshift=False,
    )
    down = torch.fft.fftfreq(shape[0])[:, None]
    across = torch.fft.rfftfreq(shape[1])[None, :]
    squared = down**2 + across**2  # cycles per pixel, squared
    detector = -math.log(_MTF_AT_NYQUIST) / 0.5**2
    motion = ENVELOPE_B_ANGSTROM2 / (4 * config.pixel_size_angstrom**2)
    damped: Tensor = ctf * torch.exp(-(detector + motion) * squared)
    return damped


def form_image(phase: Float[Tensor, "h w"], transfer: Float[Tensor, "h half_w"]) -> Float[Tensor, "h w"]:
    """Return the intensity of the image relative to the beam, in the weak-phase approximation."""
    contrast: Tensor = torch.fft.irfft2(torch.fft.rfft2(phase) * transfer, s=phase.shape)
    return 1 - 2 * contrast
