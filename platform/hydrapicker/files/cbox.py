"""Particles in crYOLO's CBOX files: a STAR table ``data_cryolo`` per micrograph, with boxes and confidences.

``_CoordinateX _CoordinateY`` are the corner of the box with the smallest coordinates (crYOLO: "lower left corner"), in
pixels; the centre is the corner plus half of ``_Width`` and ``_Height``, in fractions and without rounding
(``cryolo/CoordsIO.py``: ``write_cbox_file``; ``write_star_file`` adds ``box.w / 2``). y is in the convention of EMAN
and RELION (:mod:`hydrapicker.files.coordinates`). What does not apply to single images is ``<NA>``, as crYOLO writes
it. The file does not name its micrograph: its own name does.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.star import read_blocks, write_blocks
from hydrapicker.files.tables import common_value, numbers

__all__ = ["read_cbox", "write_cbox"]

_X, _Y, _WIDTH, _HEIGHT, _SCORE = "CoordinateX", "CoordinateY", "Width", "Height", "Confidence"
_BLOCK = "cryolo"


def read_cbox(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read one micrograph's boxes as centres, with their confidences, under the name ``unnamed``.

    Raises
    ------
    ParticlesError
        Not a CBOX file, entries that are not finite numbers, sizes that are not positive.
    """
    import pandas as pd

    table = read_blocks(path).get(_BLOCK)
    if isinstance(table, dict):  # a table of one row may be written without a loop
        table = pd.DataFrame([table])
    if table is None or not {_X, _Y, _WIDTH, _HEIGHT} <= set(table.columns):
        raise ParticlesError(
            f"{path}: no table data_{_BLOCK} with {_X}, {_Y}, {_WIDTH} and {_HEIGHT}; give a CBOX file of crYOLO 1.8"
            " or newer"
        )
    corner = np.stack([numbers(path, table, column) for column in (_X, _Y)], axis=1)
    size = np.stack([numbers(path, table, column) for column in (_WIDTH, _HEIGHT)], axis=1)
    if (size <= 0).any():
        raise ParticlesError(f"{path}: row {int(np.argmax((size <= 0).any(axis=1))) + 1} has a box without a size")
    score = numbers(path, table, _SCORE).astype(np.float32) if _SCORE in table else None
    xy = (corner + size / 2).astype(np.float32)
    return {unnamed: Particles(xy, score, None, Convention.PROGRAM, box_px=common_value(size.ravel()))}


def write_cbox(path: str | Path, name: str, particles: Particles) -> None:
    """Write the particles of micrograph ``name``, in crYOLO's convention, all or nothing.

    Raises
    ------
    InvalidInputError
        No size of the boxes, or no scores.
    OutputError
        The file cannot be written.
    """
    if particles.box_px is None:
        raise InvalidInputError(f"{path}: a CBOX file needs the size of the boxes; give it")
    if particles.score is None:
        raise InvalidInputError(f"{path}: a CBOX file needs scores, and {name} has none; write BOX files instead")
    count = len(particles.xy)
    size, absent = np.full(count, particles.box_px), np.full(count, np.nan)
    corner = particles.xy.astype(np.float64) - particles.box_px / 2
    table: dict[str, Any] = {
        _X: corner[:, 0],
        _Y: corner[:, 1],
        "CoordinateZ": absent,
        _WIDTH: size,
        _HEIGHT: size,
        "Depth": absent,
        "EstWidth": size,
        "EstHeight": size,
        _SCORE: particles.score,
        "NumBoxes": absent,
        "Angle": absent,
    }
    # The list of slices belongs to tomograms; crYOLO writes it, empty, for single images.
    blocks = {
        "global": {"cbox_format_version": "1.0"},
        _BLOCK: table,
        f"{_BLOCK}_include": {"slice_index": np.empty(0)},
    }
    write_blocks(path, blocks)
