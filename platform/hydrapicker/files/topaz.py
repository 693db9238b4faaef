"""Picks in Topaz' tables: ``image_name x_coord y_coord score`` between tabs, with a header line.

The image is named without folder and suffix, and coordinates are whole pixels from the first stored row, for TIFF too
(``topaz/utils/files.py``: ``write_coordinates``, ``strip_image_ext``; Topaz cuts fractions off when it reads them, so
they are rounded here). Read by :func:`~hydrapicker.files.csv.read_csv`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.micrographs import micrograph_stem
from hydrapicker.files.tables import pooled_portions
from hydrapicker.storage.atomic import atomic_write

__all__ = ["write_topaz"]


def write_topaz(path: str | Path, particles: Mapping[str, Particles]) -> None:
    """Write the particles of all micrographs, y counting stored rows, to the nearest pixel, all or nothing.

    Raises
    ------
    InvalidInputError
        Some micrographs have scores and some have none; two micrographs whose names without folder are the same.
    OutputError
        The file cannot be written.
    """
    import pandas as pd

    image, *axes, score = ("image_name", "x_coord", "y_coord", "score")
    if len({micrograph_stem(name) for name in particles}) < len(particles):
        raise InvalidInputError(f"{path}: Topaz names images without their folder, and two are the same; split them")
    portions = pooled_portions(path, particles, (image, axes[0], axes[1], score))
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for columns in portions:
            columns[image] = [micrograph_stem(name) for name in columns[image]]
            for axis in axes:
                columns[axis] = np.floor(columns[axis].astype(np.float64) + 0.5).astype(np.int64)
            table, first = pd.DataFrame(columns), file.tell() == 0
            table.to_csv(file, header=first, sep="\t", index=False, float_format="%.7g", lineterminator="\n")
