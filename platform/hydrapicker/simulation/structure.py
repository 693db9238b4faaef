"""Atoms of one particle, from a PDB or mmCIF file."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError

# Directions along which the extent is measured to find the outermost atoms: some 5 degrees apart.
_DIRECTIONS = 1000
_CHUNK_BYTES = 1 << 20


class StructureError(InvalidInputError):
    """A structure that cannot be simulated."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Heavy atoms of one particle, their centre of mass at the origin.

    Parameters
    ----------
    positions_angstrom : NDArray[np.float32]
        Shape (n, 3), x, y, z in Angstrom.
    atomic_numbers : NDArray[np.uint8]
        Shape (n,).

    Raises
    ------
    StructureError
        When there is no atom or a position is not a number.
    """

    positions_angstrom: NDArray[np.float32]
    atomic_numbers: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if len(self.positions_angstrom) == 0:
            raise StructureError("the structure holds no atoms: give a file with coordinates of heavy atoms")
        if not np.isfinite(self.positions_angstrom).all():
            raise StructureError("the structure has atoms whose position is not a number: mend the file")

    @classmethod
    def centred(cls, positions: NDArray[np.float64], atomic_numbers: NDArray[np.uint8]) -> "Structure":
        """Build a structure from atoms anywhere in space by moving its centre of mass to the origin."""
        if len(positions):
            weights = atomic_numbers.astype(np.float64)  # near enough proportional to mass
            positions = positions - weights @ positions / weights.sum()
        return cls(positions.astype(np.float32), atomic_numbers)

    @property
    def radius_angstrom(self) -> float:
        """Distance of the outermost atom from the centre of mass, in Angstrom."""
        return float(np.linalg.norm(self.positions_angstrom, axis=1).max())


def read_structure(path: Path, chains: Sequence[str] = ()) -> Structure:
    """Read a PDB or mmCIF file, gzipped or not, with its first biological assembly built.

    Waters, hydrogens, alternative conformations and all models but the first are dropped. A file that
    names no biological assembly is taken as it is.

    Parameters
    ----------
    path : Path
        The file.
    chains : sequence of str
        Names of chains: only these are taken, as they lie in the file; empty: the assembly.

    Raises
    ------
    StructureError
        When the file is missing, is not a structure, holds no atoms, or lacks one of the chains.
    """
    import gemmi

    if not path.is_file():
        raise StructureError(f"{path} is not a file: give a PDB or mmCIF file, or builtin:NAME")
    if path.suffix.lower() == ".gz":
        _check_complete(path)
    try:
        structure = gemmi.read_structure(str(path))
        if len(structure) == 0:
            raise StructureError(f"{path} holds no atoms: give a PDB or mmCIF file of the particle")
        del structure[1:]
        if chains:
            _keep_chains(structure[0], chains, path)
        elif structure.assemblies:
            structure.transform_to_assembly(structure.assemblies[0].name, gemmi.HowToNameCopiedChain.Dup)
        # Only now: the assembly may be defined by chains that consist of waters.
        structure.remove_alternative_conformations()
        structure.remove_hydrogens()
        structure.remove_waters()
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        if isinstance(error, StructureError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StructureError(f"{path} cannot be read as PDB or mmCIF: {reason}") from error
    atoms = [site.atom for site in structure[0].all()]
    positions = np.array([atom.pos.tolist() for atom in atoms], dtype=np.float64).reshape(-1, 3)
    numbers = np.array([atom.element.atomic_number for atom in atoms], dtype=np.uint8)
    known = numbers > 0
    if not known.any():
        raise StructureError(f"{path} holds no atoms: give a PDB or mmCIF file of the particle")
    return Structure.centred(positions[known], numbers[known])


def _keep_chains(model: Any, chains: Sequence[str], path: Path) -> None:
    there = [chain.name for chain in model]
    if missing := [name for name in chains if name not in there]:
        raise StructureError(f"{path} has no chain {', '.join(missing)}: it has {', '.join(dict.fromkeys(there))}")
    for name in set(there) - set(chains):
        model.remove_chain(name)


def _check_complete(path: Path) -> None:
    """Read a gzipped file to its end: gemmi takes the first half of a broken one for the whole."""
    try:
        with gzip.open(path) as stream:
            while stream.read(_CHUNK_BYTES):
                pass
    except (EOFError, zlib.error, OSError) as error:
        raise StructureError(f"{path} is damaged or incomplete ({error}): get the file again") from error


def diameter_angstrom(structure: Structure) -> float:
    """Return the greatest distance between two atoms, in Angstrom: the diameter to give when picking."""
    steps = np.arange(_DIRECTIONS) + 0.5
    z = 1 - steps / _DIRECTIONS  # half the sphere: opposite directions measure the same extent
    azimuth = steps * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z**2)
    directions = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z]).astype(np.float32)
    outermost: set[int] = set()
    for block in np.array_split(directions, 10, axis=1):
        along = structure.positions_angstrom @ block
        outermost.update(along.argmin(axis=0).tolist(), along.argmax(axis=0).tolist())
    hull = structure.positions_angstrom[sorted(outermost)].astype(np.float64)
    return max(float(np.linalg.norm(hull - atom, axis=1).max()) for atom in hull)
