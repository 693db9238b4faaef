"""The micrographs of a report: their sizes, pixel sizes and files as far as these are there, and their picks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files import Convention, MicrographHeader, Particles, read_header
from hydrapicker.files.locate import locate_micrographs
from hydrapicker.files.micrographs import is_tiff
from hydrapicker.picking.source import PickSource


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
    headers: dict[str, MicrographHeader] = {}
    failed: dict[str, str] = {}
    for name in paths:
        try:
            headers[name] = read_header(paths[name])
        except MicrographError as error:
            failed[name] = str(error)
    sizes = Counter((header.width, header.height) for header in headers.values())
    pixel_sizes = known_pixel_sizes(source.picks, headers, pixel_size_angstrom)
    found = []
    for name, picks in sorted(source.picks.items()):
        header = headers.get(name)
        file = paths[name] if header else None
        width, height = (header.width, header.height) if header else _guessed_size(picks, sizes)
        pixel_size = pixel_sizes.get(name)
        if pixel_size is None:
            raise InvalidInputError(f"the pixel size of {name} is not known: give --pixel-size-angstrom")
        score = np.zeros(len(picks.xy), np.float32) if picks.score is None else picks.score
        order = np.argsort(-score, kind="stable")
        from_below = picks.convention is Convention.PROGRAM and is_tiff(name) and header is not None
        found.append(
            InspectedMicrograph(name, file, width, height, pixel_size, picks.xy[order], score[order], from_below)
        )
    return found, failed


def known_pixel_sizes(
    picks: Mapping[str, Particles], headers: Mapping[str, MicrographHeader], given: float | None
) -> dict[str, float]:
    """Angstrom per pixel by micrograph: as given, else as its picks or its header say, else as all others say."""
    own = {name: given or each.pixel_size_angstrom for name, each in picks.items()}
    own |= {name: own[name] or header.pixel_size_angstrom for name, header in headers.items()}
    stated = {size for size in own.values() if size is not None}
    common = next(iter(stated)) if len(stated) == 1 else None
    known = {name: size or common for name, size in own.items()}
    return {name: size for name, size in known.items() if size is not None}


def _guessed_size(picks: Particles, sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """The commonest size of the other micrographs into which the picks fit, or else what the picks reach."""
    width, height = (int(np.ceil(reach)) + 1 for reach in picks.xy.max(axis=0)) if len(picks.xy) else (1, 1)
    fitting = [size for size in sizes if size[0] >= width and size[1] >= height]
    if fitting:
        return max(fitting, key=lambda size: sizes[size])
    return (width, height) if len(picks.xy) else (1000, 1000)
