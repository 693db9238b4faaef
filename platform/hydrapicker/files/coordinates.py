"""Particles of one micrograph, and whose rows their y counts.

RELION, EMAN2, IMOD and MotionCor count y from the first stored row of an MRC file (some draw that row at the bottom,
hence "y up", but the numbers are the same as ours). Reading a **TIFF** they put the last stored row first, so that
MRC and TIFF of one exposure look alike (RELION: ``src/rwTIFF.h``, "Flip the Y axis"; EMAN2: ``libEM/io/tifio.cpp``,
``Util::flip_image``). HydraPicker keeps the stored order for both. So y in a STAR or BOX file over a TIFF is
``height - 1 - y`` of ours; over an MRC it is ours. crYOLO turns an MRC upside down on reading and counts y upwards
(its ``read_mrc``: ``np.flipud``), which makes its numbers those of RELION and EMAN. cryoSPARC and Topaz keep
the stored order, as we do: y in their files, in CSV and in Parquet counts stored rows, of a TIFF too.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import ParticlesError
from hydrapicker.files.micrographs import is_tiff

__all__ = ["Convention", "OnDemand", "Particles", "from_program_convention", "in_convention", "to_program_convention"]


class Convention(StrEnum):
    """Which row of the micrograph has y = 0."""

    STORED = "stored"
    """The first stored row, whatever the file: HydraPicker, CSV, Parquet, Topaz, cryoSPARC."""
    PROGRAM = "program"
    """The first stored row of an MRC, the last of a TIFF: RELION (STAR), EMAN (BOX), crYOLO (CBOX)."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles (or picks) of one micrograph.

    ``xy`` is float32 (n, 2), x then y, in pixels with centres at integers; ``score`` float32 (n,) or None;
    ``convention`` says which row has y = 0. Of what a file may state besides, None if it does not:
    ``pixel_size_angstrom`` and ``shape`` (height, width) of the micrograph, and ``box_px``, the side of the boxes.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32] | None = None
    pixel_size_angstrom: float | None = None
    convention: Convention = Convention.STORED
    shape: tuple[int, int] | None = None
    box_px: float | None = None


class OnDemand(Mapping[str, Particles]):
    """Particles by micrograph, each made when it is asked for: there may be more than memory holds.

    Parameters
    ----------
    names : collection of str
        Of the micrographs, in their order.
    of : callable of name
        Gives a micrograph's particles.
    """

    def __init__(self, names: Collection[str], of: Callable[[str], Particles]) -> None:
        self._names, self._of = names, of

    def __getitem__(self, name: str) -> Particles:
        return self._of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def in_convention(particles: Particles, wanted: Convention, name: str) -> Particles:
    """The particles of micrograph ``name`` with y counted as ``wanted``.

    Raises
    ------
    ParticlesError
        The rows of a TIFF have to be counted from the other end and its height is not known.
    """
    if particles.convention is wanted or len(particles.xy) == 0 or not is_tiff(name):
        return replace(particles, convention=wanted)
    if particles.shape is None:
        raise ParticlesError(
            f"{name}: its rows are counted from the other end in the file to be written, as programs differ for TIFF,"
            " and its height is not known; give the micrographs"
        )
    # A flip is its own inverse: from either convention to the other.
    xy = to_program_convention(particles.xy, name, particles.shape[0])
    return replace(particles, xy=xy, convention=wanted)


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
