"""Loops over feature maps that torch would pass over memory for many times, compiled by Numba.

Maps are C-contiguous float32 ``(rows, columns, channels)`` with a frame of one zero pixel around them, so that a 3x3
convolution needs no other care at the borders; `row` and `column` count pixels inside the frame. A *tile* is 4 x 4
pixels of output. Each function is one thread's work and lets other threads run; what it compiles to is kept on disk.
"""

from collections.abc import Callable
from inspect import unwrap

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]

TILE = 4
SPAN = 6
"""Rows (or columns) of input that a tile of a 3x3 convolution depends on."""


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    compile_it = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
    return compile_it(unwrap(function))  # tests wrap it in a checker of types


def _inlined(function: Callable[..., None]) -> Callable[..., None]:
    # By Numba itself: the compiler would leave it a function, not knowing that its arrays do not overlap.
    return njit(inline="always")(unwrap(function))


_2, _4, _5, _8 = (np.float32(value) for value in (2, 4, 5, 8))


@_inlined
def _transform_input(d0, d1, d2, d3, d4, d5, v0, v1, v2, v3, v4, v5):  # type: ignore[no-untyped-def]
    # B^T of the points 0, 1, -1, 2, -2 and infinity
    for c in range(d0.shape[0]):
        even, odd = d4[c] - _4 * d2[c], d3[c] - _4 * d1[c]
        near, far = d4[c] - d2[c], _2 * (d3[c] - d1[c])
        v0[c] = _4 * d0[c] - _5 * d2[c] + d4[c]
        v1[c] = even + odd
        v2[c] = even - odd
        v3[c] = near + far
        v4[c] = near - far
        v5[c] = _4 * d1[c] - _5 * d3[c] + d5[c]


@_inlined
def _transform_output(m0, m1, m2, m3, m4, m5, bias, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    # A^T of the same points
    for c in range(m0.shape[0]):
        sum1, difference1 = m1[c] + m2[c], m1[c] - m2[c]
        sum2, difference2 = m3[c] + m4[c], m3[c] - m4[c]
        y0[c] = m0[c] + sum1 + sum2 + bias[c]
        y1[c] = difference1 + _2 * difference2 + bias[c]
        y2[c] = sum1 + _4 * sum2 + bias[c]
        y3[c] = difference1 + _8 * difference2 + m5[c] + bias[c]


@_compiled
def tiles_to_winograd(source: Array, row: int, first: int, scratch: Array, v: Array) -> None:
    """Transform the inputs of neighbouring tiles.

    Args:
        source: The framed map.
        row: Of the tiles' first pixels.
        first: Number of the first tile in its row; there are ``v.shape[2]``.
        scratch: ``(6, 6, channels)``, overwritten.
        v: ``(6, 6, tiles, channels)``, written.
    """
    for tile in range(v.shape[2]):
        left = TILE * (first + tile)
        for x in range(SPAN):
            d0, d1, d2 = source[row, left + x], source[row + 1, left + x], source[row + 2, left + x]
            d3, d4, d5 = source[row + 3, left + x], source[row + 4, left + x], source[row + 5, left + x]
            _transform_input(
                d0, d1, d2, d3, d4, d5,
                scratch[0, x], scratch[1, x], scratch[2, x], scratch[3, x], scratch[4, x], scratch[5, x],
            )  # fmt: skip
        for y in range(SPAN):
            _transform_input(
                scratch[y, 0], scratch[y, 1], scratch[y, 2], scratch[y, 3], scratch[y, 4], scratch[y, 5],
                v[y, 0, tile], v[y, 1, tile], v[y, 2, tile], v[y, 3, tile], v[y, 4, tile], v[y, 5, tile],
            )  # fmt: skip


@_compiled
def winograd_to_tiles(m: Array, bias: Array, scratch: Array, target: Array, row: int, first: int) -> None:
    """Transform products back into neighbouring tiles of output; the inverse of :func:`tiles_to_winograd`.

    Args:
        m: ``(6, 6, tiles, channels)``.
        bias: ``(channels,)``.
        scratch: ``(6, 4, channels)``, overwritten.
        target: The framed map that is written.
        row: Of the tiles' first pixels.
        first: Number of the first tile in its row.
    """
    nothing = np.zeros_like(bias)
    for tile in range(m.shape[2]):
        left = 1 + TILE * (first + tile)
        for y in range(SPAN):
            _transform_output(
                m[y, 0, tile], m[y, 1, tile], m[y, 2, tile], m[y, 3, tile], m[y, 4, tile], m[y, 5, tile], nothing,
                scratch[y, 0], scratch[y, 1], scratch[y, 2], scratch[y, 3],
            )  # fmt: skip
        for x in range(TILE):
            y0, y1 = target[row + 1, left + x], target[row + 2, left + x]
            y2, y3 = target[row + 3, left + x], target[row + 4, left + x]
            _transform_output(
                scratch[0, x], scratch[1, x], scratch[2, x], scratch[3, x], scratch[4, x], scratch[5, x], bias,
                y0, y1, y2, y3,
            )  # fmt: skip


@_compiled
def sums(x: Array, row: int, out: NDArray[np.float64]) -> None:
    """Sums of a row's values, and of their squares, per channel: ``(2, channels)``, in double precision."""
    total, squares = out[0], out[1]
    total[:] = 0
    squares[:] = 0
    for column in range(1, x.shape[1] - 1):
        pixel = x[row + 1, column]
        for c in range(len(pixel)):
            value = np.float64(pixel[c])
            total[c] += value
            squares[c] += value * value


@_compiled
def normalise_row(x: Array, row: int, scale: Array, shift: Array) -> None:
    """``x = relu(x * scale + shift)`` in a row, scale and shift per channel."""
    for column in range(1, x.shape[1] - 1):
        pixel = x[row + 1, column]
        for c in range(len(pixel)):
            pixel[c] = max(pixel[c] * scale[c] + shift[c], np.float32(0))


@_compiled
def add_normalised_row(x: Array, y: Array, row: int, scale: Array, shift: Array) -> None:
    """``x = relu(x + y * scale + shift)`` in a row, scale and shift per channel."""
    for column in range(1, x.shape[1] - 1):
        pixel, other = x[row + 1, column], y[row + 1, column]
        for c in range(len(pixel)):
            pixel[c] = max(pixel[c] + (other[c] * scale[c] + shift[c]), np.float32(0))
