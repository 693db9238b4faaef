"""Electrostatic potential of a particle in ice."""

import numpy as np
from numpy.typing import NDArray

from hydrapicker.simulation.structure import Structure

# h^2 / (2 pi m e): turns a density of electron scattering lengths (1/Angstrom^2) into volts.
VOLTS_PER_SCATTERING_DENSITY = 47.878
# Mean inner potential of vitreous ice; hydrogens of the particle are left out, which the lower measured
# value (a sum of neutral atoms gives 4.5 V) makes up for: protein comes out 3 V above ice, as measured.
ICE_POTENTIAL_VOLTS = 3.6
# Volume of water that one heavy atom (with its hydrogens) pushes aside: 1.21 A^3/Da times 13.5 Da.
_DISPLACED_ANGSTROM3 = 16.4
# Width of the Gaussian of displaced water of one atom, exp(-pi r^2 / v^(2/3)) (Fraser et al. 1978).
_DISPLACED_SIGMA_ANGSTROM = _DISPLACED_ANGSTROM3 ** (1 / 3) / np.sqrt(2 * np.pi)
# B = 32 p^2 leaves exp(-2) of the amplitude at the Nyquist frequency of voxels of size p: no aliasing.
_B_PER_VOXEL_AREA = 32.0


def potential_volume(structure: Structure, voxel_size_angstrom: float, side: int) -> NDArray[np.float32]:
    """Compute the potential of a particle above that of the ice it replaces, in volts.

    Parameters
    ----------
    structure : Structure
        Centred atoms.
    voxel_size_angstrom : float
        Edge of a voxel in Angstrom.
    side : int
        Voxels along each edge of the cube. The centre of mass is at voxel ``side // 2``.

    Returns
    -------
    NDArray[np.float32]
        Shape (side, side, side), axes z, y, x.

    Notes
    -----
    Atoms by electron scattering factors (c4322, International Tables C 4.3.2.2) through gemmi; displaced water
    by one Gaussian per atom.
    """
    centre = side // 2 * voxel_size_angstrom
    positions = structure.positions_angstrom.astype(np.float64) + centre
    volume = _atoms(positions, structure.atomic_numbers, voxel_size_angstrom, side)
    volume -= ICE_POTENTIAL_VOLTS * _displaced_fraction(positions, voxel_size_angstrom, side)
    return volume


def _atoms(
    positions: NDArray[np.float64], atomic_numbers: NDArray[np.uint8], voxel: float, side: int
) -> NDArray[np.float32]:
    import gemmi

    calculator = gemmi.DensityCalculatorE()
    edge = side * voxel
    calculator.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_size(side, side, side)
    elements = {int(number): gemmi.Element(int(number)) for number in np.unique(atomic_numbers)}
    atom = gemmi.Atom()
    atom.b_iso = _B_PER_VOXEL_AREA * voxel**2
    atom.occ = 1.0
    for position, number in zip(positions.tolist(), atomic_numbers.tolist(), strict=True):
        atom.element = elements[number]
        atom.pos = gemmi.Position(*position)
        calculator.add_atom_density_to_grid(atom)
    density = np.asarray(calculator.grid.array, dtype=np.float32)
    return np.ascontiguousarray(density.transpose(2, 1, 0)) * np.float32(VOLTS_PER_SCATTERING_DENSITY)


def _displaced_fraction(positions: NDArray[np.float64], voxel: float, side: int) -> NDArray[np.float32]:
    """Share of every voxel from which water is displaced: atoms shared out to 8 voxels each, then blurred."""
    base = np.floor(positions / voxel).astype(np.int64)
    part = positions / voxel - base
    counts = np.zeros(side**3)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(np.array(corner) == 1, part, 1 - part).prod(axis=1)
        x, y, z = ((base + corner) % side).T
        counts += np.bincount((z * side + y) * side + x, weights=share, minlength=side**3)
    # The blur of the atoms' potential, B / (8 pi^2), and that of the water itself.
    variance = _B_PER_VOXEL_AREA * voxel**2 / (8 * np.pi**2) + _DISPLACED_SIGMA_ANGSTROM**2
    frequency = np.fft.fftfreq(side, voxel)
    full = np.exp(-2 * np.pi**2 * variance * frequency**2)
    spectrum = np.fft.rfftn(counts.reshape(side, side, side))
    spectrum *= full[:, None, None] * full[None, :, None] * full[None, None, : side // 2 + 1]
    fraction = np.fft.irfftn(spectrum, s=(side, side, side), axes=(0, 1, 2))
    return np.asarray(fraction * (_DISPLACED_ANGSTROM3 / voxel**3), dtype=np.float32)
