"""Picks where there is nothing to pick."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydrapicker.files import find_micrographs
from hydrapicker.picking.picker import Picker

__all__ = ["EmptyFolder", "count_picks"]


@dataclass(frozen=True)
class EmptyFolder:
    """Picks at the default threshold on micrographs without particles.

    Attributes:
        name: Of the folder.
        counts: Picks on each of its micrographs, by the diameter picked for.
    """

    name: str
    counts: Mapping[float, Sequence[int]]

    @property
    def micrographs(self) -> int:
        """How many there are."""
        return len(next(iter(self.counts.values())))


def count_picks(
    picker: Picker, folder: Path, diameters_angstrom: Sequence[float], progress: Callable[[int, int, str], None]
) -> EmptyFolder:
    """Pick a folder's micrographs (those in its folder `micrographs`, where it has one) for particles of some sizes.

    Raises:
        InvalidInputError: When there are no micrographs.
        MicrographError: For a file that cannot be used, or has no pixel size.
    """
    inside = folder / "micrographs"
    files = find_micrographs([inside if inside.is_dir() else folder])
    counts = {}
    for number, diameter in enumerate(diameters_angstrom):
        counts[diameter] = [len(picker.pick(path, diameter_angstrom=diameter)) for path in files]
        progress(number + 1, len(diameters_angstrom), f"{folder.name}, {diameter:g} Angstrom")
    return EmptyFolder(folder.name, counts)
