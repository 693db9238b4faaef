"""The index of a dataset version: a Parquet table with a row per micrograph, readable by any Parquet reader.

==================== ================================== =======================================================
column               type                               meaning (in full at :class:`~hydrapicker.store.rows.Row`)
==================== ================================== =======================================================
split                string                             train, val or test
shard                string                             file that holds the pixels
offset, length       int64                              where in the shard, in bytes
id                   string                             the micrograph's name
dtype                string                             type of the pixels
height, width        int64                              working pixels
checksum             string                             xxh3-128 of the pixels' bytes, in hex
scale                double                             nominal working / original scale
original_height,     int64                              pixels of the file
original_width
pixel_size_angstrom  double                             of the file
background_mean,     double                             of the working image
background_std
particles            list<struct<x: float, y: float>>   working pixels
==================== ================================== =======================================================

No value is null. Key-value metadata: ``format_version``, what holds for all micrographs (:class:`IndexMeta`), and
``planning_sha256``. Columns are found by name; those of format version 1 come in another order. Planning an epoch takes
``split`` and ``shard`` only, so these come first, and the particles, which are most of the bytes, last. Every page has
a checksum; as that leaves out the page's header, ``planning_sha256`` is over what those two columns say.

Its bytes are a pure function of what it says (no dates, no paths of a machine), so its sha256 is the dataset's
fingerprint.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.store.layout import FORMAT_VERSION, check_format
from hydrapicker.store.rows import PLAIN_COLUMNS, Row, Rows
from hydrapicker_registry.metadata import Contrast

__all__ = [
    "PLANNING_COLUMNS", "PLANNING_SHA256", "IndexMeta", "Row", "fingerprint_of", "footer_of", "index_from_bytes",
    "index_to_bytes", "meta_of", "numbered", "planning_sha256", "rows_of",
]  # fmt: skip

PLANNING_COLUMNS = ("split", "shard")
"""What the plan of an epoch is made of."""
PLANNING_SHA256 = "planning_sha256"
"""Key of the checksum of what these say."""
_FIRST = (*PLANNING_COLUMNS, "offset", "length")
_REPEATED = ["split", "shard", "dtype"]
"""Columns with few different values: written, and read, as numbers and a list of what they stand for."""
_ROW_GROUP = 50_000
"""Rows that are read in one piece; with some hundred particles each that is some ten megabytes."""

Numbered = tuple[NDArray[np.int32], list[str]]
"""Strings as numbers, by where each first appears, and the strings that these stand for."""


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


_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_POINT = pa.struct([pa.field("x", pa.float32(), nullable=False), pa.field("y", pa.float32(), nullable=False)])
_PARTICLES = pa.list_(pa.field("element", _POINT, nullable=False))
_PLAIN = {name: _ARROW_TYPES[PLAIN_COLUMNS[name]] for name in (*_FIRST, *(n for n in PLAIN_COLUMNS if n not in _FIRST))}
_SCHEMA = pa.schema(
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
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    planning = [numbered(table.column(name).dictionary_encode()) for name in PLANNING_COLUMNS]
    notes = {
        "format_version": str(FORMAT_VERSION),
        **{key: str(value) for key, value in vars(meta).items()},
        PLANNING_SHA256: planning_sha256(planning),
    }
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        _SCHEMA,
        compression="zstd",
        use_dictionary=_REPEATED,
        write_page_checksum=True,
        store_schema=False,  # Arrow's own copy of the schema would be half of a small footer
    ) as writer:
        writer.write_table(table, _ROW_GROUP)
        writer.add_key_value_metadata(notes)
    return sink.getvalue()


def index_from_bytes(content: bytes, where: str) -> tuple[pa.Table, IndexMeta]:
    """Read an index; ``where`` names the file in errors.

    Raises
    ------
    StoreError
        When it is not an index, or of a format version that is not known.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=_REPEATED) as file:
            meta = meta_of(file.metadata.metadata or {}, where)
            # Read whole, a million micrographs' particles would take twice the time and memory.
            pieces = [file.read_row_group(number) for number in range(file.num_row_groups)]
            return pa.concat_tables(pieces or [file.read()]).select(_SCHEMA.names), meta
    except StoreError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{where}: not a dataset's index ({reason}); ingest the dataset again") from error


def meta_of(notes: Mapping[bytes, bytes], where: str) -> IndexMeta:
    """Read an index's key-value metadata; ``where`` names the file in errors.

    Raises
    ------
    StoreError
        When it is of a format version that is not known.
    KeyError, ValueError
        When this is no index.
    """
    found = {key.decode(): value.decode() for key, value in notes.items()}
    check_format(int(found["format_version"]), where)
    return IndexMeta(
        dataset=found["dataset"],
        box_px=int(found["box_px"]),
        diameter_angstrom=float(found["diameter_angstrom"]),
        contrast="light" if found["contrast"] == "light" else "dark",
        normalisation=found["normalisation"],
    )


def rows_of(table: pa.Table) -> tuple[Row, ...]:
    """Turn an index's table into rows."""
    return tuple(Rows(table))


def numbered(column: pa.ChunkedArray) -> Numbered:
    """Take apart a dictionary-encoded column of strings."""
    chunks = column.unify_dictionaries().chunks
    numbers = [chunk.indices.to_numpy().astype(np.int32) for chunk in chunks]
    names = chunks[0].dictionary.to_pylist() if chunks else []
    return np.concatenate([np.empty(0, np.int32), *numbers]), names


def planning_sha256(columns: Iterable[Numbered]) -> str:
    """Return the sha256, in hex, of what the planning columns say."""
    digest = hashlib.sha256()
    for numbers, names in columns:
        digest.update(json.dumps(names).encode())
        digest.update(numbers.astype("<i4").tobytes())
    return digest.hexdigest()


def fingerprint_of(index: bytes) -> str:
    """Return a dataset version's fingerprint: the sha256 of its index, in hex."""
    return hashlib.sha256(index).hexdigest()


def footer_of(index: bytes) -> tuple[int, str]:
    """Return the size in bytes and the sha256 of an index's footer, as the manifest has them."""
    footer_bytes = int.from_bytes(index[-8:-4], "little") + 8  # Parquet: footer, its length, and the magic number
    return footer_bytes, hashlib.sha256(index[-footer_bytes:]).hexdigest()
