"""Opening an index: the little of it that planning takes, by a few ranged reads, and the whole of it when it is needed.

All that is used is checked: a whole index against the manifest's sha256; of a part of it the footer against the
manifest's sha256 of that, and what the planning columns say against a sha256 in the footer.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.index import (
    PLANNING_COLUMNS,
    PLANNING_SHA256,
    IndexMeta,
    fingerprint_of,
    index_from_bytes,
    meta_of,
    numbered,
    planning_sha256,
)
from hydrapicker.store.intact import DamagedError, until_intact
from hydrapicker.store.layout import SPLITS, VersionEntry
from hydrapicker.store.rows import Rows

__all__ = ["WHOLE_BELOW_BYTES", "Outline", "read_index", "read_outline", "read_rows"]

WHOLE_BELOW_BYTES = 256 * 1024
"""A smaller index is read whole: one request, however little of it is needed."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Outline:
    """What an epoch is planned from.

    Attributes:
        meta: What holds for all micrographs.
        splits: For ``train``, ``val`` and ``test`` the row numbers, ascending, int64, read-only.
        shard_numbers: For every row which shard it lies in, each shard having a number of its own; int32, read-only.
    """

    meta: IndexMeta
    splits: dict[str, NDArray[np.int64]]
    shard_numbers: NDArray[np.int32]


def read_outline(location: Location, path: str, entry: VersionEntry) -> Outline:
    """Read what an epoch is planned from.

    Parameters
    ----------
    location : Location
        The store.
    path : str
        The index.
    entry : VersionEntry
        What the manifest says about it.

    Raises
    ------
    StoreError
        When the index is damaged, or of a format version that is not known.
    """
    where = location.url(path)
    if entry.index_bytes < WHOLE_BELOW_BYTES:  # also where the manifest, of format version 1, does not say
        content = _until_intact(where, lambda: _whole(location, path, entry))
        return _outline(pa.BufferReader(content), None, where)
    footer = _until_intact(where, lambda: _footer(location, path, entry))
    metadata = pq.read_metadata(io.BytesIO(footer))
    return _until_intact(where, lambda: _outline(_planning_columns(location, path, entry, metadata), metadata, where))


def read_rows(location: Location, path: str, entry: VersionEntry) -> Rows:
    """Read all rows; parameters and errors as of :func:`read_outline`."""
    where = location.url(path)
    content = _until_intact(where, lambda: _whole(location, path, entry))
    rows = Rows(index_from_bytes(content, where)[0])
    pa.default_memory_pool().release_unused()  # of a million micrographs that is more than the rows
    return rows


def read_index(location: Location, path: str, entry: VersionEntry) -> bytes:
    """Read the whole file; parameters as of :func:`read_outline`.

    Raises
    ------
    DamagedError
        When it is damaged.
    StoreError
        When it cannot be read.
    """
    return until_intact(lambda: _whole(location, path, entry))


def _until_intact(where: str, fetch: Callable[[], T]) -> T:
    try:
        return until_intact(fetch)
    except DamagedError as error:
        raise StoreError(f"{where}: damaged, {error}; ingest the same input again to repair it") from error


def _whole(location: Location, path: str, entry: VersionEntry) -> bytes:
    content = location.read(path)
    if fingerprint_of(content) != entry.fingerprint:
        raise DamagedError("its sha256 is not the manifest's")
    return content


def _footer(location: Location, path: str, entry: VersionEntry) -> bytes:
    footer = location.read_range(path, entry.index_bytes - entry.footer_bytes, entry.footer_bytes)
    if hashlib.sha256(footer).hexdigest() != entry.footer_sha256:
        raise DamagedError("the sha256 of its footer is not the manifest's")
    return footer


def _planning_columns(location: Location, path: str, entry: VersionEntry, metadata: pq.FileMetaData) -> pa.NativeFile:
    """Return the index as a file in which only the planning columns are filled in."""
    sparse = np.zeros(entry.index_bytes, np.uint8)  # the system gives memory only to the pages that are written
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        wanted = [column for column in columns if column.path_in_schema in PLANNING_COLUMNS]
        start = min(_first_byte(column) for column in wanted)
        stop = max(_first_byte(column) + column.total_compressed_size for column in wanted)
        content = location.read_range(path, start, stop - start)
        if len(content) != stop - start:
            raise DamagedError("it is shorter than it was")
        sparse[start:stop] = np.frombuffer(content, np.uint8)
    return pa.BufferReader(pa.py_buffer(sparse))


def _first_byte(column: Any) -> int:
    """First byte of a column's part of a row group."""
    pages: list[int] = [page for page in (column.dictionary_page_offset, column.data_page_offset) if page]
    return min(pages)


def _outline(source: pa.NativeFile, metadata: pq.FileMetaData | None, where: str) -> Outline:
    """Decode the planning columns, and check them; without ``metadata`` the source has been checked as a whole."""
    names = list(PLANNING_COLUMNS)
    try:
        file = pq.ParquetFile(source, metadata=metadata, read_dictionary=names, page_checksum_verification=True)
        notes = file.metadata.metadata or {}
        meta = meta_of(notes, where)
        table = file.read(names, use_threads=False)
        columns = [numbered(table.column(name)) for name in names]
    except StoreError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        if metadata is not None:
            raise DamagedError(reason) from error
        raise StoreError(f"{where}: not a dataset's index ({reason}); ingest the dataset again") from error
    if metadata is not None and planning_sha256(columns) != notes[PLANNING_SHA256.encode()].decode():
        raise DamagedError("what it says of splits and shards is not what was written")
    (split_numbers, split_names), (shard_numbers, _) = columns
    splits = {}
    for split in SPLITS:
        number = split_names.index(split) if split in split_names else -1
        splits[split] = np.flatnonzero(split_numbers == number)
        splits[split].setflags(write=False)
    shard_numbers.setflags(write=False)
    return Outline(meta, splits, shard_numbers)
