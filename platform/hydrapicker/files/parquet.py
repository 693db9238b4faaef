"""Particles in Parquet files: columns ``micrograph, x, y[, score][, pixel_size_angstrom]``, y counting stored rows."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.tables import numbers, particles_by_micrograph, pooled_portions
from hydrapicker.storage.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_parquet", "write_parquet"]

_NAME, _X, _Y, _SCORE, _PIXEL_SIZE = "micrograph", "x", "y", "score", "pixel_size_angstrom"
_MOST_ROWS_PER_BYTE = 8
"""Coordinates that differ do not compress further: a file that claims more rows is damaged."""


def read_parquet(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read a table of particles, by micrograph.

    Parameters
    ----------
    path : Path
    unnamed : str
        The micrograph's name where the table has no such column.

    Raises
    ------
    ParticlesError
        Not a Parquet file, no columns of numbers x and y, entries that are not finite numbers.
    """
    from pyarrow import ArrowException

    try:
        table = _table(path)
    except (ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        if isinstance(error, ParticlesError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ParticlesError(f"{path}: not a Parquet file, or a damaged one ({reason}); write it again") from error
    columns = (_NAME if _NAME in table else None, _X, _Y, _SCORE if _SCORE in table else None)
    known = _PIXEL_SIZE in table and not table[_PIXEL_SIZE].isna().any()
    sizes = numbers(path, table, _PIXEL_SIZE) if known else None
    return particles_by_micrograph(path, table, columns, unnamed, Convention.STORED, sizes)


def write_parquet(path: str | Path, particles: Mapping[str, Particles]) -> None:
    """Write the particles of all micrographs, all or nothing.

    Parameters
    ----------
    path : str or Path
    particles : mapping of micrograph name to Particles
        y counts stored rows. Scores for all micrographs or for none; pixel sizes are written where all are known.

    Raises
    ------
    InvalidInputError
        Some micrographs have scores and some have none.
    OutputError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    portions = pooled_portions(path, particles, (_NAME, _X, _Y, _SCORE), _PIXEL_SIZE)
    with atomic_write(path) as temporary, ExitStack() as stack:
        writer = None
        for columns in portions:
            table = pa.table({**columns, _NAME: pa.array(columns[_NAME], pa.string())})
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema, compression="zstd"))
            writer.write_table(table)


def _table(path: Path) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        if rows > _MOST_ROWS_PER_BYTE * path.stat().st_size:
            raise ParticlesError(f"{path}: claims {rows} rows, which it is too short for; write it again")
        kinds = {name: schema.field(name).type for name in schema.names}
        wanted = [name for name in (_NAME, _X, _Y, _SCORE, _PIXEL_SIZE) if name in kinds]
        for name in (_X, _Y, *wanted):
            if name not in kinds or not (_is_text if name == _NAME else _is_number)(kinds[name]):
                what = "text" if name == _NAME else "numbers"
                given = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())[:200]
                raise ParticlesError(f"{path}: no column {name} of {what}; it has: {given or 'none'}")
        # One thread: a damaged file is found damaged in the same way every time.
        table: pa.Table = file.read(columns=wanted, use_threads=False)
        table.validate(full=True)
        frame: pd.DataFrame = table.to_pandas(use_threads=False)
    return frame


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or _is_dictionary_of_text(kind))


def _is_dictionary_of_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(
        types.is_dictionary(kind) and (types.is_string(kind.value_type) or types.is_large_string(kind.value_type))
    )


def _is_number(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_floating(kind) or types.is_integer(kind))
