"""Particles in RELION's STAR files, through ``starfile``.

Coordinates are pixels of the micrograph, centres at integers from 0 (RELION windows an extracted box of even size n
from ``round(x) - n / 2``), y in RELION's convention (:mod:`hydrapicker.files.coordinates`).

Pixel size: only ``rlnMicrographPixelSize`` (in the table or its optics table) is the pixel of the micrograph that
coordinates count. ``rlnImagePixelSize`` belongs to extracted and perhaps binned images,
``rlnMicrographOriginalPixelSize`` to the movie before motion correction binned it: neither is used.
"""

import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.tables import check_text, numbers, particles_by_micrograph, pooled_portions
from hydrapicker.storage.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "read_blocks",
    "read_star",
    "write_autopick_list",
    "write_autopick_star",
    "write_blocks",
    "write_combined_star",
]

_NAME, _X, _Y = "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"
_SCORE, _PIXEL_SIZE, _GROUP = "rlnAutopickFigureOfMerit", "rlnMicrographPixelSize", "rlnOpticsGroup"
_FILE = "rlnMicrographCoordinates"
_FORMAT = "%.7g"  # all that float32 knows, without its noise


def read_star(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read the table with ``rlnCoordinateX`` and ``rlnCoordinateY``, whatever its name, by micrograph.

    Parameters
    ----------
    path : Path
    unnamed : str
        The micrograph's name where the table has no ``rlnMicrographName``.

    Returns
    -------
    dict of str to Particles
        ``rlnAutopickFigureOfMerit`` as score; y in RELION's convention.

    Raises
    ------
    ParticlesError
        Not a STAR file, no or several tables of coordinates, entries that are not finite numbers.
    """
    import pandas as pd

    blocks = read_blocks(path)
    tables = {name: block for name, block in blocks.items() if isinstance(block, pd.DataFrame)}
    found = [name for name, table in tables.items() if {_X, _Y} <= set(table.columns)]
    if len(found) != 1:
        raise _no_coordinates(path, tables, found)
    table = tables[found[0]]
    columns = (_NAME if _NAME in table else None, _X, _Y, _SCORE if _SCORE in table else None)
    pixel_sizes = _pixel_sizes(path, table, blocks.get("optics"))
    return particles_by_micrograph(path, table, columns, unnamed, Convention.PROGRAM, pixel_sizes)


def write_autopick_star(path: str | Path, xy: NDArray[np.float32], score: NDArray[np.float32] | None) -> None:
    """Write one micrograph's picks as RELION's autopicker does (``<micrograph>_autopick.star``), all or nothing.

    Parameters
    ----------
    path : str or Path
    xy : ndarray (n, 2)
        In RELION's convention: :func:`~hydrapicker.files.coordinates.to_program_convention` first.
    score : ndarray (n,) or None
        Written as ``rlnAutopickFigureOfMerit``.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    columns: dict[str, Any] = {_X: xy[:, 0], _Y: xy[:, 1]}
    if score is not None:
        columns[_SCORE] = score
    # RELION's own pickers without references write class 0 and angle 0.
    columns |= {"rlnClassNumber": np.zeros(len(xy), int), "rlnAnglePsi": np.zeros(len(xy))}
    write_blocks(path, {"": columns}, "# version 30001\n")


def write_autopick_list(path: str | Path, coordinate_files: Mapping[str, Path]) -> None:
    """Write the list by which a RELION 4 or 5 job takes over an AutoPick job's picks (``autopick.star``).

    RELION reads both names relative to its project's folder (``src/autopicker.cpp``: table ``coordinate_files``).

    Parameters
    ----------
    path : str or Path
    coordinate_files : mapping of micrograph name to Path
        The file of :func:`write_autopick_star` of each micrograph.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    names = np.array(list(coordinate_files), dtype=object)
    files = np.array([str(file) for file in coordinate_files.values()], dtype=object)
    write_blocks(path, {"coordinate_files": {_NAME: names, _FILE: files}}, "# version 30001\n\n")


def write_combined_star(
    path: str | Path, particles: Mapping[str, Particles], pixel_size_angstrom: float | None = None
) -> None:
    """Write the particles of all micrographs as one table, all or nothing. The same particles give the same bytes.

    Parameters
    ----------
    path : str or Path
    particles : mapping of micrograph name to Particles
        In RELION's convention. Scores for all micrographs or for none.
    pixel_size_angstrom : float or None
        Pixel size of micrographs whose own is None; the column is written where it is known for all.

    Raises
    ------
    InvalidInputError
        Some micrographs have scores and some have none.
    OutputError
        The file cannot be written.
    """
    portions = pooled_portions(path, particles, (_NAME, _X, _Y, _SCORE), _PIXEL_SIZE, pixel_size_angstrom)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for columns in portions:
            head, last, rows = _text({"particles": columns}).partition(f" #{len(columns)}\n")
            if file.tell() == 0:
                file.write(head + last)
            file.write(rows.rstrip("\n") + "\n" if rows.strip() else "")
        file.write("\n\n")


def read_blocks(path: Path) -> dict[str, Any]:
    """Read all blocks of a STAR file: loops as DataFrames, others as dicts.

    Raises
    ------
    ParticlesError
        Not a STAR file, or a damaged one.
    """
    import starfile

    check_text(path)
    try:
        linecache.checkcache(str(path))  # starfile reads through linecache, which may remember an older file
        blocks: dict[str, Any] = starfile.read(path, always_dict=True, parse_as_string=[_NAME])
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParticlesError(f"{path}: not a STAR file, or a damaged one ({reason}); write it again") from error
    finally:
        linecache.clearcache()
    if not blocks:
        raise ParticlesError(f"{path}: not a STAR file (no data_ block); give a STAR or CBOX file")
    return blocks


def _no_coordinates(path: Path, tables: dict[str, "pd.DataFrame"], found: list[str]) -> ParticlesError:
    if found:
        names = ", ".join(f"data_{name}" for name in found)
        return ParticlesError(f"{path}: {len(found)} tables have coordinates ({names[:200]}); keep one of them")
    for table in tables.values():
        if _FILE in table and len(table):
            folder = str(Path(str(table[_FILE].iloc[0])).parent)[:200]
            return ParticlesError(
                f"{path}: lists coordinate files instead of coordinates; give the folder that holds them: {folder}"
            )
    columns = ", ".join(dict.fromkeys(str(column) for table in tables.values() for column in table.columns))
    return ParticlesError(f"{path}: no table with {_X} and {_Y} (columns: {columns[:200] or 'none'}); give coordinates")


def _pixel_sizes(path: Path, table: "pd.DataFrame", optics: Any) -> NDArray[np.float64] | None:
    import pandas as pd

    if _PIXEL_SIZE in table:
        return numbers(path, table, _PIXEL_SIZE)
    if isinstance(optics, dict):
        optics = pd.DataFrame([optics])
    if optics is None or _PIXEL_SIZE not in optics:
        return None
    of_group = numbers(path, optics, _PIXEL_SIZE)
    if _GROUP in table and _GROUP in optics:
        by_group = dict(zip(optics[_GROUP].tolist(), of_group.tolist(), strict=True))
        return table[_GROUP].map(by_group).to_numpy(dtype=np.float64)
    return np.full(len(table), of_group[0]) if len(set(of_group.tolist())) == 1 else None


def write_blocks(path: str | Path, blocks: Mapping[str, Any], first_lines: str = "") -> None:
    """Write blocks as a STAR file, all or nothing, the same blocks as the same bytes.

    Parameters
    ----------
    path : str or Path
    blocks : mapping of block name to dict
        Columns of a loop (arrays), or the values of a block without one.
    first_lines : str
        Put above.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(first_lines + _text(blocks), encoding="utf-8")


def _text(blocks: Mapping[str, Any]) -> str:
    import pandas as pd
    import starfile

    def loop(block: Mapping[str, Any]) -> Any:
        return pd.DataFrame(block) if any(isinstance(value, np.ndarray) for value in block.values()) else block

    text = starfile.to_string({name: loop(block) for name, block in blocks.items()}, float_format=_FORMAT)
    return str(text).split("\n", 1)[1].lstrip("\n")  # starfile's first line holds the time
