"""A target's micrographs as files: which file a stored micrograph came from, and particles of a few of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import find_micrographs, read_particles, write_combined_star
from hydrapicker.files.matching import resolve_names
from hydrapicker.store.store import Dataset

__all__ = ["TargetFiles", "labelling_order"]


def labelling_order(dataset: Dataset) -> list[int]:
    """Rows of the training micrographs with particles, in an order that depends on nothing but their names.

    The first three hold the first one, and so on: few-shot heads with more labels have seen all that others saw.
    """
    rows = [int(row) for row in dataset.split("train") if dataset.rows.particle_counts[row]]
    return sorted(rows, key=lambda row: hashlib.sha256(f"few/{dataset.rows[row].id}".encode()).digest())


@dataclass(frozen=True)
class TargetFiles:
    """Files of a dataset that was made from them.

    Attributes:
        dataset: In the store.
        particles: File with the particles of all its micrographs.
        by_row: The micrographs' files by row, of train and test.
    """

    dataset: Dataset
    particles: Path
    by_row: Mapping[int, Path]

    @classmethod
    def of(cls, dataset: Dataset, folder: Path) -> "TargetFiles":
        """Find a dataset's files in a folder with micrographs and particles.star.

        Raises:
            InvalidInputError: When one of its micrographs is not there, or there are no particles.
        """
        particles = folder / "particles.star"
        if not particles.is_file():
            raise InvalidInputError(f"{particles}: no such file: give the folder that {dataset.name} was ingested from")
        there = find_micrographs([folder / "micrographs"])
        rows = [int(row) for split in ("train", "test") for row in dataset.split(split)]
        meant = resolve_names([dataset.rows[row].id for row in rows], there, f"dataset {dataset.name}")
        return cls(dataset, particles, {row: Path(str(meant[dataset.rows[row].id])) for row in rows})

    def true_particles(self, row: int) -> NDArray[np.float32]:
        """A micrograph's particles in pixels of its file, float32 (n, 2), x then y."""
        entry = self.dataset.rows[row]
        scale = np.array([entry.width / entry.original_width, entry.height / entry.original_height], np.float32)
        return entry.particles / scale

    def box_px(self, row: int) -> float:
        """The particle's diameter in pixels of a micrograph's file."""
        return self.dataset.diameter_angstrom / self.dataset.rows[row].pixel_size_angstrom

    def write_few(self, rows: Sequence[int], path: Path) -> None:
        """Write the particles of some micrographs, as the dataset's own file has them.

        Raises:
            OutputError: When it cannot be written.
        """
        everything = read_particles(self.particles)
        there = find_micrographs([self.particles.parent / "micrographs"])
        meant = resolve_names(list(everything), there, self.particles)
        wanted = {self.by_row[row].absolute() for row in rows}
        few = {name: part for name, part in everything.items() if meant[name].absolute() in wanted}
        write_combined_star(path, few)
