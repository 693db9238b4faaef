"""The rows of an index: what is known of every micrograph, held as columns, so that a million of them are cheap."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["PLAIN_COLUMNS", "Row", "Rows"]


@dataclass(frozen=True)
class Row:
    """One micrograph in the index.

    Attributes:
        id: The micrograph's name, unique in its dataset.
        split: ``train``, ``val`` or ``test``.
        shard: The shard's file, relative to the version's folder; with a folder in it, such as
            ``v0001/00000.shard``, relative to the dataset's (see :func:`~hydrapicker.store.layout.shard_path`).
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


PLAIN_COLUMNS: dict[str, type] = {column.name: column.type for column in fields(Row) if column.name != "particles"}  # type: ignore[misc]
"""The columns with one value per row, and of which type it is."""


class Rows(Sequence[Row]):
    """The rows of an index, in its order; a row is made when it is asked for. Safe to use from several threads.

    Parameters
    ----------
    table : pyarrow.Table
        As of :func:`~hydrapicker.store.index.index_from_bytes`.
    """

    def __init__(self, table: pa.Table) -> None:
        self._length: int = table.num_rows
        self._values = {name: _values(table.column(name)) for name in PLAIN_COLUMNS}
        pieces = table.column("particles").chunks  # piece by piece, as points take more memory than all the rest
        self._bounds = np.zeros(self._length + 1, np.int64)
        counts = [piece.value_lengths().to_numpy() for piece in pieces]
        np.cumsum(np.concatenate([np.empty(0, np.int64), *counts]), out=self._bounds[1:])
        self._points = np.empty((self._bounds[-1], 2), np.float32)
        start = 0
        for piece in pieces:
            points = piece.flatten()
            for axis, name in enumerate("xy"):
                self._points[start : start + len(points), axis] = points.field(name).to_numpy()
            start += len(points)
        self._points.setflags(write=False)
        self._getters = [*(_getter(values) for values in self._values.values()), self._particles]

    def __len__(self) -> int:
        """Return the number of micrographs."""
        return self._length

    def __iter__(self) -> Iterator[Row]:
        """Go through all rows."""
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        """Return one row, or those of a slice."""
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]  # refuses what is outside, as a tuple would
        return Row(*(get(number) for get in self._getters))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column for all rows, any but ``particles``: int64, float64, or strings as objects; read-only."""
        return _read_only(self._values[name].to_numpy(zero_copy_only=False))

    def getter(self, name: str) -> Callable[[int], Any]:
        """Return what gives a column's value of one row, sooner than the whole row is made; not for ``particles``."""
        return _getter(self._values[name])

    @property
    def particle_counts(self) -> NDArray[np.int64]:
        """How many particles each micrograph has; int64 (len(self),)."""
        return np.diff(self._bounds)

    def _particles(self, number: int) -> NDArray[np.float32]:
        return self._points[self._bounds[number] : self._bounds[number + 1]]


def _values(column: pa.ChunkedArray) -> pa.Array:
    """Return a column's values in one piece, strings that repeat themselves only once."""
    column = column.unify_dictionaries()
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _getter(values: pa.Array) -> Callable[[int], Any]:
    """Return what gives a value as Python's own type; a plain Arrow scalar takes ten times as long."""
    if pa.types.is_dictionary(values.type):
        code, names = values.indices.to_numpy().item, values.dictionary.to_pylist()
        return lambda number: names[code(number)]
    if pa.types.is_string(values.type):
        return lambda number: values[number].as_py()
    getter: Callable[[int], Any] = values.to_numpy().item
    return getter


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
