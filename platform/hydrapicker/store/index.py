"""The index of a dataset version: a Parquet table with a row per micrograph, readable by any Parquet reader.

Its bytes are a pure function of what it says (no dates, no paths of a machine), so its sha256 is the dataset's
fingerprint.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.store.layout import FORMAT_VERSION, check_format
from hydrapicker_registry.metadata import Contrast

__all__ = ["IndexMeta", "Row", "fingerprint_of", "index_from_bytes", "index_to_bytes", "rows_of"]


_ROW_GROUP = 10_000


@dataclass(frozen=True)
class IndexMeta:
    """What holds for every micrograph of a dataset version; the Parquet file's key-value metadata.

    Attributes:
        dataset: The dataset's name.
        box_px: Side of a particle's box, and its diameter, in working pixels.
        diameter_angstrom: The particle's diameter.
        contrast: Whether particles were dark or light in the files; in the store they are always dark.
        normalisation: Name of the normalisation applied to the pixels.
    """

    dataset: str
    box_px: int
    diameter_angstrom: float
    contrast: Contrast
    normalisation: str


@dataclass(frozen=True)
class Row:
    """One micrograph in the index.

    Attributes:
        id: The micrograph's name, unique in its dataset.
        split: ``train``, ``val`` or ``test``.
        shard: The shard's file, relative to the version's folder.
        offset: First byte in the shard.
        length: Number of bytes.
        dtype: Type of the pixels (``float16``, little-endian, rows of the image one after the other).
        height: Working height in pixels.
        width: Working width in pixels.
        checksum: xxh3-128 of the bytes, in hex.
        scale: Nominal working / original scale; exact are width / original_width and height / original_height.
        original_height: Height of the file's image in pixels.
        original_width: Width of the file's image in pixels.
        pixel_size_angstrom: Pixel size of the file's image.
        background_mean: Mean of the background in the working image.
        background_std: Standard deviation of the background in the working image.
        particles: float32 (n, 2), x then y, in working pixels.
    """

    id: str
    split: str
    shard: str
    offset: int
    length: int
    dtype: str
    height: int
    width: int
    checksum: str
    scale: float
    original_height: int
    original_width: int
    pixel_size_angstrom: float
    background_mean: float
    background_std: float
    particles: NDArray[np.float32] = field(compare=False, repr=False)


_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_POINT = pa.struct([pa.field("x", pa.float32(), nullable=False), pa.field("y", pa.float32(), nullable=False)])
_PARTICLES = pa.list_(pa.field("element", _POINT, nullable=False))
_PLAIN = {column.name: _ARROW_TYPES[column.type] for column in fields(Row) if column.name != "particles"}  # type: ignore[index]
SCHEMA = pa.schema(
    [
        *(pa.field(name, kind, nullable=False) for name, kind in _PLAIN.items()),
        pa.field("particles", _PARTICLES, nullable=False),
    ]
)


def index_to_bytes(rows: Sequence[Row], meta: IndexMeta) -> bytes:
    """Write rows as Parquet: same rows, same bytes."""
    columns: list[Any] = [pa.array([getattr(row, name) for row in rows], kind) for name, kind in _PLAIN.items()]
    offsets = np.concatenate([[0], np.cumsum([len(row.particles) for row in rows])]).astype(np.int32)
    points = np.concatenate([np.empty((0, 2), np.float32), *(row.particles for row in rows)]).astype(np.float32)
    xy = pa.StructArray.from_arrays([pa.array(points[:, 0]), pa.array(points[:, 1])], fields=list(_POINT))
    columns.append(pa.ListArray.from_arrays(pa.array(offsets), xy, type=_PARTICLES))
    notes = {"format_version": str(FORMAT_VERSION), **{key: str(value) for key, value in vars(meta).items()}}
    table = pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(notes))
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        use_dictionary=["split", "shard", "dtype"],
    )
    return sink.getvalue()


def index_from_bytes(content: bytes, where: str) -> tuple[pa.Table, IndexMeta]:
    """Read an index; ``where`` names the file in errors.

    Raises
    ------
    StoreError
        When it is not an index, or of a format version that is not known.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
        notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        check_format(int(notes["format_version"]), where)
        meta = IndexMeta(
            dataset=notes["dataset"],
            box_px=int(notes["box_px"]),
            diameter_angstrom=float(notes["diameter_angstrom"]),
            contrast="light" if notes["contrast"] == "light" else "dark",
            normalisation=notes["normalisation"],
        )
        return table.select(SCHEMA.names), meta
    except (pa.ArrowException, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{where}: not a dataset's index ({reason}); ingest the dataset again") from error


def rows_of(table: pa.Table) -> tuple[Row, ...]:
    """Turn an index's table into rows."""
    if table.num_rows == 0:
        return ()
    plain = [table.column(name).to_pylist() for name in _PLAIN]
    particles = table.column("particles").combine_chunks()
    xy = particles.flatten()
    points = np.stack([np.asarray(xy.field("x")), np.asarray(xy.field("y"))], axis=1).astype(np.float32)
    bounds = np.concatenate([[0], np.cumsum(particles.value_lengths().to_numpy())])
    points.setflags(write=False)
    cut = [points[start:stop] for start, stop in pairwise(bounds)]
    return tuple(Row(*values) for values in zip(*plain, cut, strict=True))


def fingerprint_of(index: bytes) -> str:
    """Return a dataset version's fingerprint: the sha256 of its index, in hex."""
    return hashlib.sha256(index).hexdigest()
