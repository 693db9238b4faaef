"""Particles of one micrograph, and whose rows their y counts.

RELION, EMAN2, IMOD and MotionCor count y from the first stored row of an MRC file (some draw that row at the bottom,
hence "y up", but the numbers are the same as ours). Reading a **TIFF** they put the last stored row first, so that
MRC and TIFF of one exposure look alike (RELION: ``src/rwTIFF.h``, "Flip the Y axis"; EMAN2: ``libEM/io/tifio.cpp``,
``Util::flip_image``). HydraPicker keeps the stored order for both. So y in a STAR or BOX file over a TIFF is
``height - 1 - y`` of ours; over an MRC it is ours. CSV (ours) and Topaz' tables count stored rows.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.files.micrographs import is_tiff

__all__ = ["Convention", "Particles", "from_program_convention", "to_program_convention"]


class Convention(StrEnum):
    """Which row of the micrograph has y = 0."""

    STORED = "stored"
    """The first stored row, whatever the file: HydraPicker, CSV, Topaz."""
    PROGRAM = "program"
    """The first stored row of an MRC, the last of a TIFF: RELION (STAR), EMAN (BOX)."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles (or picks) of one micrograph.

    ``xy`` is float32 (n, 2), x then y, in pixels with centres at integers; ``score`` float32 (n,) or None;
    ``pixel_size_angstrom`` of the micrograph if the file states it; ``convention`` says which row has y = 0.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32] | None = None
    pixel_size_angstrom: float | None = None
    convention: Convention = Convention.STORED


def to_program_convention(xy: NDArray[np.float32], path: str | Path, height: int) -> NDArray[np.float32]:
    """Coordinates in stored rows of the micrograph ``path``, ``height`` rows high, as RELION and EMAN count them.

    Call it before :func:`~hydrapicker.files.star.write_autopick_star` and the other STAR and BOX writers.
    ``xy`` is float32 (n, 2) and is not changed; only y of a TIFF differs.
    """
    converted = np.array(xy, dtype=np.float32).reshape(-1, 2)
    if is_tiff(path):
        converted[:, 1] = height - 1 - converted[:, 1]
    return converted


def from_program_convention(xy: NDArray[np.float32], path: str | Path, height: int) -> NDArray[np.float32]:
    """The inverse of :func:`to_program_convention` (a flip is its own inverse)."""
    return to_program_convention(xy, path, height)
