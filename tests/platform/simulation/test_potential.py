"""Potential and projections, against closed forms and the library's own projection."""

import gemmi
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fourier_slice import project_3d_to_2d

from hydrapicker.simulation.builtin import build
from hydrapicker.simulation.potential import potential_volume
from hydrapicker.simulation.projection import MAX_VOXELS, Projector, random_rotations
from hydrapicker.simulation.structure import Structure


def _contrast_of_one_atom(element: str) -> float:
    """Integral of the potential above ice, in V A^3: scattering length times h^2/2 pi m e, less its water."""
    return 47.878 * float(gemmi.Element(element).c4322.calculate_sf(0)) - 3.6 * 16.4


def test_integral_and_centre() -> None:
    structure = build("globule")
    volume = potential_volume(structure, 3.0, 40).astype(np.float64)
    counts = {symbol: int((structure.atomic_numbers == z).sum()) for symbol, z in (("C", 6), ("N", 7), ("O", 8))}
    expected = sum(n * _contrast_of_one_atom(symbol) for symbol, n in counts.items())
    assert volume.sum() * 27 == pytest.approx(expected, rel=5e-3)  # gemmi cuts off the tails
    weight = volume / volume.sum()
    for axis in range(3):
        other = tuple({0, 1, 2} - {axis})
        assert weight.sum(axis=other) @ np.arange(40) == pytest.approx(20, abs=0.05)


def test_axes_are_z_y_x() -> None:
    positions = np.array([[12.0, 6.0, -9.0]], np.float32)  # x, y, z
    volume = potential_volume(Structure(positions, np.array([16], np.uint8)), 3.0, 32)
    assert np.unravel_index(volume.argmax(), volume.shape) == (16 - 3, 16 + 2, 16 + 4)


def test_one_atom_is_its_gaussians() -> None:
    """c4322: sum a exp(-b s^2 / 4), blurred by B = 32 p^2, less a Gaussian of water, blurred alike."""
    voxel, side = 1.5, 24
    volume = potential_volume(Structure(np.zeros((1, 3), np.float32), np.array([6], np.uint8)), voxel, side)
    radius = voxel * np.arange(6)
    blur = 32 * voxel**2
    factors = gemmi.Element("C").c4322
    atom = sum(
        a * (4 * np.pi / (b + blur)) ** 1.5 * np.exp(-4 * np.pi**2 * radius**2 / (b + blur))
        for a, b in zip(factors.a, factors.b, strict=True)
    )
    variance = blur / (8 * np.pi**2) + 16.4 ** (2 / 3) / (2 * np.pi)
    water = 16.4 * np.exp(-(radius**2) / (2 * variance)) / (2 * np.pi * variance) ** 1.5
    np.testing.assert_allclose(volume[12, 12, 12:18], 47.878 * atom - 3.6 * water, atol=0.03)


def test_projection_is_the_librarys() -> None:
    structure = build("globule")
    projector = Projector(structure, 4.0)
    rotations = random_rotations(3, np.random.default_rng(0))
    volume = torch.from_numpy(potential_volume(structure, 4.0, projector.box_px))
    theirs = 4.0 * project_3d_to_2d(volume, torch.from_numpy(rotations))
    ours = projector.project(rotations)
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() < 0.02 * theirs.max()


def test_projecting_is_turning_and_summing_along_z() -> None:
    structure = build("globule")
    rotation = random_rotations(1, np.random.default_rng(1))
    turned = Structure(structure.positions_angstrom @ rotation[0], structure.atomic_numbers)
    projector = Projector(structure, 4.0)
    expected = 4.0 * potential_volume(turned, 4.0, projector.box_px).sum(axis=0)
    projection = projector.project(rotation)[0].numpy()
    assert np.abs(projection - expected).max() < 0.08 * expected.max()
    assert np.corrcoef(projection.ravel(), expected.ravel())[0, 1] > 0.995


def test_large_particles_keep_place_and_mass() -> None:
    atoms = np.array([[300.0, 0, 0], [-300, 0, 0], [0, 120, 0], [0, -120, 0]], np.float32)
    structure = Structure(atoms, np.full(4, 26, np.uint8))
    projector = Projector(structure, 2.0)
    assert projector.box_px > MAX_VOXELS
    image = projector.project(np.eye(3, dtype=np.float32)[None])[0].numpy().astype(np.float64)
    # The correction for interpolation is too strong for the one frequency that is never interpolated, the mean.
    assert image.sum() * 4 == pytest.approx(4 * _contrast_of_one_atom("Fe"), rel=0.15)
    centre = projector.box_px // 2
    half = image[:, centre + 75 :]
    y, x = np.unravel_index(half.argmax(), half.shape)
    assert abs(x + 75 - 150) <= 1
    assert abs(y - centre) <= 1


def test_no_rotations_give_no_projections() -> None:
    projector = Projector(build("globule"), 6.0)
    nothing = projector.project(random_rotations(0, np.random.default_rng(0)))
    assert nothing.shape == (0, projector.box_px, projector.box_px)


def test_rotations_are_uniform() -> None:
    rotations: NDArray[np.float32] = random_rotations(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(
        rotations[:50] @ rotations[:50].transpose(0, 2, 1), np.eye(3)[None].repeat(50, 0), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(rotations[:50]), 1, atol=1e-5)
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.02)
    # The angle of a uniform rotation has density (1 - cos a) / pi, whose mean is pi / 2 + 2 / pi.
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    assert np.arccos(np.clip(cosine, -1, 1)).mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.02)
