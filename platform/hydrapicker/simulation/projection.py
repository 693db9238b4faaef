"""Projections of a particle in any orientation."""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor
from torch_fourier_slice import extract_central_slices_rfft_3d

from hydrapicker.simulation.potential import potential_volume
from hydrapicker.simulation.structure import Structure

# Ice around the particle inside its box, so that the blur of the atoms is not cut off.
_MARGIN_ANGSTROM = 8.0
_MARGIN_PX = 3
# Larger particles are computed on coarser voxels (their projections are not: they are resampled).
MAX_VOXELS = 192
# The volume is surrounded by as much empty space again, so that interpolating its spectrum makes no ghosts.
_PAD_FACTOR = 2
_BATCH = 16


def random_rotations(count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw rotations uniformly over SO(3), shape (count, 3, 3), as unit quaternions of normal numbers."""
    quaternions = generator.normal(size=(count, 4))
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows, dtype=np.float32), -1, 0)


def projection_box_px(structure: Structure, pixel_size_angstrom: float) -> int:
    """Return the side (even) of a box that holds the particle in any orientation, in pixels."""
    return 2 * math.ceil((structure.radius_angstrom + _MARGIN_ANGSTROM) / pixel_size_angstrom + _MARGIN_PX)


class Projector:
    """A particle's potential, ready to be projected in any orientation.

    Parameters
    ----------
    structure : Structure
        Centred atoms.
    pixel_size_angstrom : float
        Pixel size of the projections.

    Attributes
    ----------
    box_px : int
        Side of a projection (even). The centre of mass falls on pixel ``box_px // 2``.
    """

    def __init__(self, structure: Structure, pixel_size_angstrom: float) -> None:
        self.box_px = projection_box_px(structure, pixel_size_angstrom)
        voxels = min(self.box_px, MAX_VOXELS)
        self._voxel_angstrom = self.box_px * pixel_size_angstrom / voxels
        self._voxels = voxels
        volume = torch.from_numpy(potential_volume(structure, self._voxel_angstrom, voxels))
        self._spectrum = _centred_spectrum(volume)

    def project(self, rotations: NDArray[np.float32]) -> Float[Tensor, "n box box"]:
        """Project the potential along z after rotating the particle.

        Parameters
        ----------
        rotations : NDArray[np.float32]
            Shape (n, 3, 3); they multiply column vectors x, y, z **of the projection** and give those of the
            particle (the convention of torch_fourier_slice). n may be 0.

        Returns
        -------
        Tensor
            Shape (n, box_px, box_px), rows y, columns x, in volt Angstrom.
        """
        matrices = torch.from_numpy(rotations)
        batches = [self._project(matrices[start : start + _BATCH]) for start in range(0, len(matrices), _BATCH)]
        return torch.cat(batches) if batches else torch.zeros(0, self.box_px, self.box_px)

    def _project(self, matrices: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b box box"]:
        slices = extract_central_slices_rfft_3d(self._spectrum, matrices, fftfreq_max=0.5)
        coarse, fine = _PAD_FACTOR * self._voxels, _PAD_FACTOR * self.box_px
        if fine > coarse:
            rows = (fine - coarse) // 2
            slices = torch.nn.functional.pad(slices, (0, (fine - coarse) // 2, rows, rows))
        images = torch.fft.irfft2(torch.fft.ifftshift(slices, dim=-2), s=(fine, fine))
        images = torch.fft.fftshift(images, dim=(-2, -1))
        edge = (fine - self.box_px) // 2
        inner = images[:, edge : edge + self.box_px, edge : edge + self.box_px]
        projected: Tensor = inner * (self._voxel_angstrom * (fine / coarse) ** 2)
        return projected


def _centred_spectrum(volume: Float[Tensor, "d d d"]) -> Complex[Tensor, "d2 d2 half"]:
    """Spectrum of the padded volume, corrected for the trilinear interpolation to come."""
    pad = volume.shape[0] * (_PAD_FACTOR - 1) // 2
    padded = torch.nn.functional.pad(volume, [pad] * 6)
    side = padded.shape[0]
    damping = torch.sinc(torch.fft.fftshift(torch.fft.fftfreq(side))) ** 2
    padded = padded / damping / damping[:, None] / damping[:, None, None]
    spectrum = torch.fft.rfftn(torch.fft.ifftshift(padded, dim=(-3, -2, -1)), dim=(-3, -2, -1))
    centred: Tensor = torch.fft.fftshift(spectrum, dim=(-3, -2))
    return centred
