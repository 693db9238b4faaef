"""Particles in EMAN's BOX files: a line ``x y width height`` per particle, one file per micrograph, no header.

``x y`` is the corner of the box with the smallest coordinates (EMAN draws the first row at the bottom and calls it the
lower left corner). The particle is the pixel at ``x + width // 2``, ``y + height // 2``: so RELION imports boxes
(``Preprocessing::readCoordinates``: ``xpos = num1 + num3 / 2`` in integers) and so EMAN2 cuts them
(``Region(x - boxsize // 2, ...)``). y is in EMAN's convention (:mod:`hydrapicker.files.coordinates`). Further columns
(EMAN1's helix marks) are left alone. A file without lines means no particles: the format has no other way to say it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.tables import check_text, common_value
from hydrapicker.storage.atomic import atomic_write

__all__ = ["read_box", "write_box"]


def read_box(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read one micrograph's boxes as centres, under the name ``unnamed``.

    Raises
    ------
    ParticlesError
        A line that is not four finite numbers with a positive size.
    """
    check_text(path, may_be_empty=True)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ParticlesError(f"{path}: binary data where text is expected; give a BOX file") from error
    boxes = [
        _box(path, number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")
    ]
    corner_and_size = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    centres = corner_and_size[:, :2] + corner_and_size[:, 2:] // 2
    box_px = common_value(corner_and_size[:, 2:].ravel())
    return {unnamed: Particles(centres.astype(np.float32), convention=Convention.PROGRAM, box_px=box_px)}


def write_box(path: str | Path, xy: NDArray[np.float32], box_size_px: int) -> None:
    """Write one micrograph's particles as boxes, all or nothing.

    EMAN, RELION and Topaz read integers only, so centres are rounded to the nearest pixel.

    Parameters
    ----------
    path : str or Path
    xy : ndarray (n, 2)
        Centres in EMAN's convention: :func:`~hydrapicker.files.coordinates.to_program_convention` first.
    box_size_px : int
        Side of the boxes.

    Raises
    ------
    InvalidInputError
        ``box_size_px`` is not positive.
    OutputError
        The file cannot be written.
    """
    if box_size_px < 1:
        raise InvalidInputError(f"{path}: box size {box_size_px} was given; give at least 1 pixel")
    corners = np.floor(np.asarray(xy, np.float64).reshape(-1, 2) + 0.5).astype(int) - box_size_px // 2
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{x}\t{y}\t{box_size_px}\t{box_size_px}\n" for x, y in corners), encoding="utf-8")


def _box(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(word) for word in line.replace(",", " ").split()[:4]]
    except ValueError:
        values = []
    if len(values) != 4 or not np.isfinite(values).all() or min(values[2:]) <= 0:
        raise ParticlesError(f"{path}: line {number} is '{line.strip()[:60]}'; a box is four numbers: x y width height")
    return values
