"""The picks to be inspected, how they were made as far as that is on record, and their micrographs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files import Convention, Particles, find_micrographs, micrograph_stem, read_header, read_particles
from hydrapicker.files.locate import locate_micrographs
from hydrapicker.files.micrographs import is_tiff
from hydrapicker.picking.record import ALL_PICKS, RECORD, PickingRecord

NOTHING = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class PickSource:
    """Picks by micrograph, as their file names them, also of micrographs without any.

    Attributes:
        file: What was read: a file, a folder or a pattern.
        picks: By micrograph.
        record: How they were made; None for picks of another program.
    """

    file: Path
    picks: dict[str, Particles]
    record: PickingRecord | None

    @classmethod
    def read(cls, path: Path) -> "PickSource":
        """Read a particle file, or a folder; of one that ``hydrapicker pick`` wrote, the file with all picks.

        Raises:
            InvalidInputError: Nothing there, or files that cannot be used.
        """
        file = path / ALL_PICKS if (path / ALL_PICKS).is_file() else path
        picks = read_particles(file)
        beside = file.parent / RECORD
        record = PickingRecord.read(file.parent) if file.name == ALL_PICKS and beside.is_file() else None
        if record is not None:
            picks = {name: picks.get(name, NOTHING) for name in record.micrographs} | picks
        return cls(file, picks, record)

    def hint(self) -> str | None:
        """A word for somebody who gave the picks above a threshold where all of them are at hand."""
        beside = self.file.parent / ALL_PICKS
        if self.file.is_file() and self.file.name != ALL_PICKS and beside.is_file():
            return f"{self.file.name} holds only picks above its threshold; give {self.file.parent} for all of them"
        return None

    def with_micrographs(self, patterns: Sequence[str]) -> "PickSource":
        """With the micrographs given that the picks do not mention, as micrographs without picks."""
        stems = {micrograph_stem(name) for name in self.picks}
        more = [str(path) for path in (find_micrographs(patterns) if patterns else ())]
        empty = {name: NOTHING for name in more if micrograph_stem(name) not in stems}
        return replace(self, picks=self.picks | empty)


@dataclass(frozen=True, eq=False)
class InspectedMicrograph:
    """One micrograph of a report.

    Attributes:
        name: As the picks name it.
        path: Its file; None where it is not found or cannot be read.
        width, height: In pixels; guessed where there is no file.
        pixel_size_angstrom: Angstrom per pixel.
        xy: float32 ``(n, 2)``, as in the picks' file, most confident first.
        score: float32 ``(n,)``, descending; zeros where there are none.
        rows_from_below: Whether y = 0 is the last stored row (RELION's coordinates over a TIFF).
    """

    name: str
    path: Path | None
    width: int
    height: int
    pixel_size_angstrom: float
    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    rows_from_below: bool


def inspected(
    source: PickSource, micrographs: Sequence[str], pixel_size_angstrom: float | None
) -> tuple[list[InspectedMicrograph], dict[str, str]]:
    """The micrographs of a report, by name, and why files of some cannot be used.

    Raises:
        InvalidInputError: No pixel size is known for one of them.
    """
    paths = locate_micrographs(source.picks, source.file, micrographs)
    headers, failed = {}, {}
    for name in paths:
        try:
            headers[name] = read_header(paths[name])
        except MicrographError as error:
            failed[name] = str(error)
    sizes = Counter((header.width, header.height) for header in headers.values())
    stated = {header.pixel_size_angstrom for header in headers.values()} | {
        each.pixel_size_angstrom for each in source.picks.values()
    }
    common = pixel_size_angstrom or next(iter(stated - {None}), None) if len(stated - {None}) < 2 else None
    found = []
    for name, picks in sorted(source.picks.items()):
        header = headers.get(name)
        file = paths[name] if header else None
        width, height = (header.width, header.height) if header else _guessed_size(picks, sizes)
        own = picks.pixel_size_angstrom or (header.pixel_size_angstrom if header else None)
        pixel_size = pixel_size_angstrom or own or common
        if pixel_size is None:
            raise InvalidInputError(f"the pixel size of {name} is not known: give --pixel-size-angstrom")
        score = np.zeros(len(picks.xy), np.float32) if picks.score is None else picks.score
        order = np.argsort(-score, kind="stable")
        from_below = picks.convention is Convention.PROGRAM and is_tiff(name) and header is not None
        found.append(
            InspectedMicrograph(name, file, width, height, pixel_size, picks.xy[order], score[order], from_below)
        )
    return found, failed


def _guessed_size(picks: Particles, sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """The commonest size of the other micrographs into which the picks fit, or else what the picks reach."""
    width, height = (int(np.ceil(reach)) + 1 for reach in picks.xy.max(axis=0)) if len(picks.xy) else (1, 1)
    fitting = [size for size in sizes if size[0] >= width and size[1] >= height]
    if fitting:
        return max(fitting, key=lambda size: sizes[size])
    return (width, height) if len(picks.xy) else (1000, 1000)
