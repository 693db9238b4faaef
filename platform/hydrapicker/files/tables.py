"""What all particle files share: looking at the file first, and turning a table into particles by micrograph."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Convention, Particles

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_text", "common_value", "numbers", "particles_by_micrograph", "pooled_portions"]

_ROWS_AT_ONCE = 200_000


def check_text(path: Path, *, may_be_empty: bool = False) -> None:
    """Refuse what cannot be a particle file before a parser stumbles over it.

    Raises
    ------
    ParticlesError
        The file is missing, unreadable, empty (unless it may be) or binary.
    """
    try:
        with path.open("rb") as file:
            head = file.read(65536)
            while chunk := file.read(2**22):
                head = head if b"\0" not in chunk else chunk
    except OSError as error:
        raise ParticlesError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    if not head.strip() and not may_be_empty:
        raise ParticlesError(f"{path}: empty file; write it again, or leave it out")
    if b"\0" in head:
        raise ParticlesError(f"{path}: binary data where text is expected; give a STAR, CBOX, BOX, TXT or CSV file")


def numbers(path: Path, table: "pd.DataFrame", column: str) -> NDArray[np.float64]:
    """A column as finite float64 (n,).

    Raises
    ------
    ParticlesError
        Entries that are not finite numbers: how many, and the first; two columns of this name.
    """
    import pandas as pd

    entries = _column(path, table, column)
    if entries.dtype == object:  # an integer of 400 digits is no float, and pandas says so by an OverflowError
        entries = entries.astype(str)
    values = pd.to_numeric(entries, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ParticlesError(
            f"{path}: {bad.size} of {len(values)} entries of {column} are not finite numbers"
            f" (the first, row {bad[0] + 1}: '{str(entries.iloc[bad[0]])[:60]}'); correct or remove those rows"
        )
    return values


def _column(path: Path, table: "pd.DataFrame", column: str) -> "pd.Series[Any]":
    import pandas as pd

    found = table[column]
    if isinstance(found, pd.DataFrame):
        raise ParticlesError(f"{path}: {found.shape[1]} columns are called {column}; keep one of them")
    return found


def common_value(values: NDArray[Any]) -> float | None:
    """The one number that all ``values`` are, or None where they differ or there are none."""
    return float(values[0]) if values.size and (values == values[0]).all() else None


def particles_by_micrograph(
    path: Path,
    table: "pd.DataFrame",
    columns: tuple[str | None, str, str, str | None],
    unnamed: str,
    convention: Convention,
    pixel_sizes: NDArray[np.float64] | None = None,
) -> dict[str, Particles]:
    """Group rows by micrograph, in the order in which the file first names them.

    Parameters
    ----------
    path : Path
        For messages.
    table : DataFrame
    columns : tuple
        Names of the columns of micrograph, x, y and score; micrograph and score may be None.
    unnamed : str
        The micrograph's name where no column gives it; then a table of no rows is a micrograph without particles.
    convention : Convention
    pixel_sizes : ndarray (n,), optional
        Angstrom per pixel of each row, NaN where unknown; used where a micrograph's rows agree.

    Raises
    ------
    ParticlesError
        Coordinates or scores that are not finite numbers, a row without a micrograph's name.
    """
    name_column, x_column, y_column, score_column = columns
    xy = np.stack([numbers(path, table, x_column), numbers(path, table, y_column)], axis=1).astype(np.float32)
    score = None if score_column is None else numbers(path, table, score_column).astype(np.float32)

    def part(rows: NDArray[np.intp]) -> Particles:
        known = np.unique(pixel_sizes[rows]) if pixel_sizes is not None and rows.size else np.empty(0)
        pixel_size = float(known[0]) if known.size == 1 and np.isfinite(known[0]) and known[0] > 0 else None
        return Particles(xy[rows], None if score is None else score[rows], pixel_size, convention)

    if name_column is None:
        return {unnamed: part(np.arange(len(table)))}
    names = _column(path, table, name_column)
    missing = names.isna() | (names.astype(str).str.strip() == "")
    if missing.any():
        raise ParticlesError(f"{path}: {int(missing.sum())} of {len(table)} rows name no micrograph; correct them")
    groups = names.astype(str).str.strip().groupby(names.astype(str).str.strip(), sort=False).indices
    return {str(name): part(np.asarray(rows)) for name, rows in groups.items()}


def pooled_portions(
    path: str | Path,
    particles: Mapping[str, Particles],
    names: tuple[str, str, str, str],
    pixel_size: str | None = None,
    otherwise: float | None = None,
) -> Iterator[dict[str, Any]]:
    """One table's columns of the particles of all micrographs, some hundred thousand rows at a time.

    Parameters
    ----------
    path : str or Path
        The file they are for, to be named in the error.
    particles : mapping of micrograph name to Particles
        Gone through twice, one micrograph after the other: it need not hold them all in memory.
    names : tuple of str
        Of the columns: micrograph, x, y and score; the last is left out where there are no scores.
    pixel_size : str, optional
        Name of one more column: the micrographs' pixel sizes, where they are known for all.
    otherwise : float, optional
        Pixel size of micrographs whose own is not known.

    Returns
    -------
    iterator of dict of str to array
        All with the same columns; at least one, which may have no rows.

    Raises
    ------
    InvalidInputError
        Some micrographs have scores and some have none; at once, before anything is written.
    """
    known = [(part.score is not None, bool(part.pixel_size_angstrom or otherwise)) for part in particles.values()]
    if len({scored for scored, _ in known}) > 1:
        raise InvalidInputError(f"{path}: some micrographs have scores and some have none; give them for all or none")
    sized = bool(known) and all(sized for _, sized in known)
    return _portions(particles, names, pixel_size if sized else None, otherwise)


def _portions(
    particles: Mapping[str, Particles],
    names: tuple[str, str, str, str],
    pixel_size: str | None,
    otherwise: float | None,
) -> Iterator[dict[str, Any]]:
    portion: dict[str, Particles] = {}
    rows, begun = 0, False
    for name, part in particles.items():
        portion[name] = part
        rows += len(part.xy)
        if rows >= _ROWS_AT_ONCE:
            yield _columns(portion, names, pixel_size, otherwise)
            portion, rows, begun = {}, 0, True
    if portion or not begun:
        yield _columns(portion, names, pixel_size, otherwise)


def _columns(
    particles: Mapping[str, Particles],
    names: tuple[str, str, str, str],
    pixel_size: str | None,
    otherwise: float | None,
) -> dict[str, Any]:
    parts = particles.values()
    counts = [len(part.xy) for part in parts]
    xy = np.concatenate([np.empty((0, 2), np.float32), *(part.xy for part in parts)])
    micrograph, x, y, score = names
    columns: dict[str, Any] = {
        micrograph: np.repeat(np.array(list(particles), dtype=object), counts),
        x: xy[:, 0],
        y: xy[:, 1],
    }
    if scores := [part.score for part in parts if part.score is not None]:
        columns[score] = np.concatenate(scores)
    if pixel_size is not None:
        sizes = np.array([part.pixel_size_angstrom or otherwise for part in parts], np.float64)
        columns[pixel_size] = np.repeat(sizes, counts)
    return columns
