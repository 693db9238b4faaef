"""Files of picks and of particles, brought to common names, rows and pixel size so that they can be compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import (
    MicrographHeader,
    Particles,
    micrograph_stem,
    read_header,
    to_program_convention,
)
from hydrapicker.files.locate import locate_micrographs
from hydrapicker.files.micrographs import is_tiff
from hydrapicker.picking.source import PickSource

_SAME_PIXEL_SIZE = 1e-4
"""Pixel sizes that differ by no more than this share are one, written with more or fewer digits."""


@dataclass(frozen=True, eq=False)
class PickFile:
    """What a file of picks or particles says, by the micrographs' stems, and how it names the micrographs."""

    path: Path
    by_stem: dict[str, Particles]
    names: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "PickFile":
        """Read a file or folder; of one that ``hydrapicker pick`` wrote, all picks, whatever its threshold."""
        named = PickSource.read(path).picks
        names: dict[str, str] = {}
        for name in named:
            stem = micrograph_stem(name)
            if stem in names:
                raise ParticlesError(f"{path}: two micrographs are called {stem}: evaluate their folders one by one")
            names[stem] = name
        return cls(path, {stem: named[name] for stem, name in names.items()}, names)

    def headers(self, stems: Iterable[str]) -> Iterator[MicrographHeader]:
        """Of the micrographs themselves, as far as they are where the file says."""
        return map(read_header, locate_micrographs((self.names[stem] for stem in stems), self.path).values())

    def in_rows_of(self, other: "PickFile", stem: str) -> Particles:
        """A micrograph's picks, with y counted as the other file counts it."""
        own, wanted = self.by_stem[stem], other.by_stem[stem].convention
        name = next((file.names[stem] for file in (self, other) if is_tiff(file.names[stem])), None)
        if own.convention is wanted or name is None:
            return own
        header = next((header for file in (self, other) for header in file.headers([stem])), None)
        if header is None:
            raise ParticlesError(
                f"{self.path} and {other.path} count the rows of {name} from opposite ends, as STAR and CSV files do "
                f"for TIFF, and its height is not known: give both as STAR files, or put {name} where they name it"
            )
        # A flip is its own inverse: from either convention to the other.
        return replace(own, xy=to_program_convention(own.xy, name, header.height), convention=wanted)


def pixel_size_of(*files: PickFile) -> float:
    """Angstrom per pixel, as the files or the micrographs they name say.

    Raises:
        InvalidInputError: When none says, or they disagree.
    """
    stated = {each.pixel_size_angstrom for file in files for each in file.by_stem.values()}
    if stated <= {None}:
        stated = {header.pixel_size_angstrom for file in files for header in file.headers(file.names)}
    sizes = sorted(size for size in stated if size is not None)
    if not sizes:
        paths = " nor ".join(str(file.path) for file in files)
        raise InvalidInputError(f"neither {paths} states a pixel size: give --pixel-size-angstrom")
    if sizes[-1] > sizes[0] * (1 + _SAME_PIXEL_SIZE):
        raise InvalidInputError(
            f"the files state different pixel sizes ({', '.join(f'{s:g}' for s in sizes)} Angstrom): "
            "give --pixel-size-angstrom"
        )
    return sizes[0]
