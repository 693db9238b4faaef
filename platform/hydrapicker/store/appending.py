"""Appending: what of an ingest the dataset has already, and what only seems to be the same, or to be new."""

from collections.abc import Sequence

import numpy as np

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.micrographs import MicrographHeader
from hydrapicker.store.rows import Row, Rows

__all__ = ["Base", "other_image", "other_particles", "refuse_copies"]

_ROUNDING_PX = 1e-3
"""By how much the same particle may differ, in working pixels."""


class Base:
    """The version that an ingest appends to, as far as a survey needs it: its fingerprint and its rows by their ids."""

    def __init__(self, fingerprint: str, rows: Rows) -> None:
        self.fingerprint, self._rows = fingerprint, rows
        self._numbers = {name: number for number, name in enumerate(rows.column("id"))}

    def row(self, name: str) -> Row | None:
        """Return a micrograph's row; None when it is not there."""
        return self._rows[self._numbers[name]] if name in self._numbers else None


def other_image(header: MicrographHeader, pixel_size: float | None, there: Row) -> str:
    """Say in what a file's image differs from the one in the dataset, as far as headers tell; empty if in nothing."""
    if (header.height, header.width) != (there.original_height, there.original_width):
        return f"{there.original_width} x {there.original_height} pixels there, {header.width} x {header.height} here"
    if pixel_size is not None and not np.isclose(pixel_size, there.pixel_size_angstrom, rtol=1e-5):
        return f"{there.pixel_size_angstrom:g} Angstrom per pixel there, {pixel_size:g} here"
    return ""


def other_particles(found: Particles | None, there: Row) -> str:
    """Say in what particles differ from those in the dataset, whatever their order; empty if in nothing."""
    here = np.empty((0, 2)) if found is None else found.xy
    if len(here) != len(there.particles):
        return f"{len(there.particles)} particles there, {len(here)} here"
    scaled = here.astype(np.float32) * [there.width / there.original_width, there.height / there.original_height]
    ours, theirs = (xy[np.lexsort(xy.T)] for xy in (scaled.astype(np.float32), there.particles))
    return "" if np.allclose(ours, theirs, rtol=0, atol=_ROUNDING_PX) else "particles at other places"


def refuse_copies(rows: Sequence[Row], base: Rows) -> None:
    """Refuse to append a micrograph that is there under another name: it might be trained on and held out at once.

    Parameters
    ----------
    rows : sequence of Row
        The new micrographs.
    base : Rows
        Those of the version that is appended to.

    Raises
    ------
    InvalidInputError
        When a new one has the pixels of one that is there, or of another new one.
    """
    there = dict(zip(base.column("checksum"), base.column("id"), strict=True))
    copies = []
    for row in rows:
        if row.checksum in there:
            copies.append(f"{row.id}: its pixels are those of {there[row.checksum]}, which the dataset has already")
        there.setdefault(row.checksum, row.id)
    if copies:
        more = f" (and so it is with {len(copies) - 1} more)" if len(copies) > 1 else ""
        raise InvalidInputError(f"{copies[0]}{more}; leave it out")
