"""Particles in CSV files: ``micrograph,x,y[,score]`` with a header line.

y counts stored rows, for TIFF too. Also read: tabs, semicolons or blanks between columns, and Topaz' names
``image_name x_coord y_coord score``; without a micrograph column the file belongs to one micrograph, named like it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.tables import check_text, particles_by_micrograph, pooled_portions
from hydrapicker.storage.atomic import atomic_write

__all__ = ["read_csv", "write_csv"]

_NAMES = {
    "micrograph": ("micrograph", "micrograph_name", "image_name", "rlnmicrographname"),
    "x": ("x", "x_coord", "rlncoordinatex"),
    "y": ("y", "y_coord", "rlncoordinatey"),
    "score": ("score", "confidence", "rlnautopickfigureofmerit"),
}


def read_csv(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read a table of particles, by micrograph.

    Parameters
    ----------
    path : Path
    unnamed : str
        The micrograph's name where the table has no such column.

    Raises
    ------
    ParticlesError
        No columns of x and y, rows of different lengths, entries that are not finite numbers.
    """
    import pandas as pd

    check_text(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        header = next((line for line in lines if line.strip()), "")
        separator = max("\t,;", key=header.count)
        table = pd.read_csv(
            path,
            sep=separator if separator in header else r"\s+",
            dtype=str,
            encoding="utf-8-sig",
            skipinitialspace=True,
            keep_default_na=False,
        )
    except ValueError as error:  # pandas' parser errors and undecodable text are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise ParticlesError(f"{path}: not a table of particles ({reason}); write it again") from error
    if not isinstance(table.index, pd.RangeIndex):  # what pandas makes of columns that the header does not name
        raise ParticlesError(f"{path}: rows have more columns than the first line names; name them all")
    columns = {word: _column(table, names) for word, names in _NAMES.items()}
    if columns["x"] is None or columns["y"] is None:
        given = ", ".join(str(column) for column in table.columns)[:100]
        raise ParticlesError(f"{path}: no columns x and y; the first line has to name them (it is: {given})")
    chosen = (columns["micrograph"], columns["x"], columns["y"], columns["score"])
    return particles_by_micrograph(path, table, chosen, unnamed, Convention.STORED)


def write_csv(path: str | Path, particles: Mapping[str, Particles]) -> None:
    """Write the particles of all micrographs as ``micrograph,x,y[,score]``, all or nothing.

    Parameters
    ----------
    path : str or Path
    particles : mapping of micrograph name to Particles
        y counts stored rows. Scores for all micrographs or for none.

    Raises
    ------
    InvalidInputError
        Some micrographs have scores and some have none.
    OutputError
        The file cannot be written.
    """
    import pandas as pd

    portions = pooled_portions(path, particles, ("micrograph", "x", "y", "score"))
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for columns in portions:
            first = file.tell() == 0
            pd.DataFrame(columns).to_csv(file, header=first, index=False, float_format="%.7g", lineterminator="\n")


def _column(table: Any, names: tuple[str, ...]) -> str | None:
    by_name = {str(column).strip().strip("_").lower(): str(column) for column in table.columns}
    return next((by_name[name] for name in names if name in by_name), None)
