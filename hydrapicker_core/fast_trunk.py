"""The trunk on a CPU by fewer multiplications: the same features as the plain trunk's, up to rounding.

- The stem's two convolutions have no non-linearity between them: they are one 5x5 convolution of the image (3,200
  operations per pixel in place of 75,000 at the paper's width). At the outermost pixels alone they differ, since the
  second convolution sees zeros where the first one's output would go on; these pixels are computed the plain way.
- Every other convolution is done by Winograd's minimal filtering F(4x4, 3x3) [Lavin and Gray 2016, arXiv 1509.09308]:
  36 multiplications for 16 pixels in place of 144. (One 5x5 convolution for a pair would be 64 for 16 pixels, and two
  3x3 are 72: hardly less, but less exact.)
- Both convolutions of a pair, and the sums for the normalisation that follows, go over a band of rows while it is in
  the processor's cache. Two maps are held in all.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from hydrapicker_core import kernels
from hydrapicker_core.kernels import SPAN, TILE, Array
from hydrapicker_core.network import ConvPair, ResidualBlock, Trunk

Sums = NDArray[np.float64]
"""Of each row of a map, ``(height, 2, channels)``: per channel the sum of its values and the sum of their squares."""

_TILES_AT_ONCE = 54
"""So many that their transforms stay in a core's own cache."""
_BAND_TILES = 16
"""Rows of tiles in a band."""

# G of the points 0, 1, -1, 2, -2 and infinity
_G = torch.tensor(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]], dtype=torch.float64,
)  # fmt: skip


@torch.no_grad()
def fast_trunk(trunk: Trunk, image: Float[Tensor, "h w"]) -> Float[Tensor, "c h2 w2"]:
    """The trunk's features of one image with a frame of one zero pixel around them, in channels-last memory.

    Args:
        trunk: On the CPU, in evaluation mode.
        image: float32, its sides multiples of 4.
    """
    height, width = image.shape
    assert height % TILE == width % TILE == 0, "a row or column of tiles would be incomplete"
    with _crew() as crew:
        x = _framed(height, width, trunk.config.width)
        _normalise(crew, trunk.norm, x, _stem(crew, trunk.stem, image, x))
        y = np.zeros_like(x)
        for block in trunk.blocks:
            assert isinstance(block, ResidualBlock)  # a ModuleList forgets what it holds
            _normalise(crew, block.norm1, y, _pair(crew, block.pair1, x, y))
            _add_normalised(crew, block.norm2, x, y, _pair(crew, block.pair2, y, y))
    return torch.from_numpy(x).permute(2, 0, 1)


class _Crew:
    """As many threads as torch uses, each of which computes alone: they wait for each other once in a band only."""

    def __init__(self, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self._pool, self._threads = pool, threads

    def each(self, jobs: Iterable[int], work: Callable[[int], object]) -> None:
        """Do all jobs, whoever is free the next."""
        waiting = iter(jobs)
        if self._pool is None:
            _do(waiting, work)
        else:
            list(self._pool.map(lambda _: _do(waiting, work), range(self._threads)))


def _do(waiting: Iterator[int], work: Callable[[int], object]) -> None:
    for job in waiting:
        work(job)


@contextmanager
def _crew() -> Iterator[_Crew]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield _Crew(None, 1)
        return
    try:
        # Where torch itself shared out each small step, every step would wait for the slowest core.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield _Crew(pool, threads)
    finally:
        torch.set_num_threads(threads)  # in part a setting of the process


def _framed(height: int, width: int, channels: int) -> Array:
    return np.zeros((height + 2, width + 2, channels), np.float32)


# --- convolutions ---


class _Convolution:
    """A 3x3 convolution by minimal filtering, a row of tiles at a time."""

    def __init__(self, convolution: nn.Conv2d, tiles: int) -> None:
        weight, bias = convolution.weight, _bias(convolution)
        self._weight = torch.einsum("ka,oiab,lb->klio", _G, weight.double(), _G).flatten(0, 1).float().contiguous()
        self._bias = bias.numpy()
        self._tiles, self._at_once = tiles, -(-tiles // -(-tiles // _TILES_AT_ONCE))
        self._of_thread = threading.local()

    def row(self, source: Array, row: int, target: Array, target_row: int) -> None:
        """Convolve a row of tiles; `row` and `target_row` are those of its first pixels."""
        v, m, scratch_in, scratch_out = self._scratch()
        for start in range(0, self._tiles, self._at_once):
            first = min(start, self._tiles - self._at_once)  # the last ones overlap with those before
            kernels.tiles_to_winograd(source, row, first, scratch_in, _by_row(v))
            torch.bmm(v, self._weight, out=m)
            kernels.winograd_to_tiles(_by_row(m), self._bias, scratch_out, target, target_row, first)

    def _scratch(self) -> tuple[Tensor, Tensor, Array, Array]:
        of_thread = self._of_thread
        if not hasattr(of_thread, "scratch"):
            _, channels_in, channels_out = self._weight.shape
            v, m = (torch.empty(SPAN * SPAN, self._at_once, channels) for channels in (channels_in, channels_out))
            scratch_in = np.empty((SPAN, SPAN, channels_in), np.float32)
            of_thread.scratch = (v, m, scratch_in, np.empty((SPAN, TILE, channels_out), np.float32))
        scratch: tuple[Tensor, Tensor, Array, Array] = of_thread.scratch
        return scratch


def _by_row(transformed: Float[Tensor, "36 tiles c"]) -> Array:
    array: Array = transformed.numpy()
    return array.reshape(SPAN, SPAN, *array.shape[1:])


def _convolutions(pair: ConvPair) -> tuple[nn.Conv2d, nn.Conv2d]:
    first, second = pair
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    return first, second


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None  # ConvPair makes its convolutions with one
    return convolution.bias


def _pair(crew: _Crew, pair: ConvPair, x: Array, target: Array) -> Sums:
    """A pair, whose output may take the place of its input; gives the sums of each row of the output."""
    height, width = x.shape[0] - 2, x.shape[1] - 2
    first, second = (_Convolution(each, width // TILE) for each in _convolutions(pair))
    between = _framed((_BAND_TILES + 1) * TILE, width, pair.channels_out)
    sums = np.empty((height, 2, pair.channels_out))
    done = 0
    for top in range(0, height // TILE, _BAND_TILES):
        end = min(top + _BAND_TILES, height // TILE)
        ahead = min(end + 1, height // TILE)  # the second convolution sees a row below, the first has read it by then
        crew.each(range(done, ahead), partial(_first_row, first, x, between, top))
        if ahead == end:
            between[TILE * (end - top) + 1] = 0
        crew.each(range(top, end), partial(_second_row, second, between, top, target, sums))
        done = ahead
        between[: TILE + 1] = between[TILE * _BAND_TILES : TILE * _BAND_TILES + TILE + 1].copy()
    return sums


def _first_row(convolution: _Convolution, x: Array, between: Array, top: int, row: int) -> None:
    convolution.row(x, TILE * row, between, TILE * (row - top))


def _second_row(convolution: _Convolution, between: Array, top: int, target: Array, sums: Sums, row: int) -> None:
    convolution.row(between, TILE * (row - top), target, TILE * row)
    for pixel_row in range(TILE * row, TILE * (row + 1)):
        kernels.sums(target, pixel_row, sums[pixel_row])


def _stem(crew: _Crew, stem: ConvPair, image: Float[Tensor, "h w"], target: Array) -> Sums:
    """The stem as one 5x5 convolution, but for the outermost pixels; gives the sums of each row of the output."""
    height, width = image.shape
    weight, bias = _merged(stem)
    inside = torch.from_numpy(target)[1:-1, 1:-1]
    windows = nn.functional.pad(image, (2, 2, 2, 2)).unfold(0, 5, 1).unfold(1, 5, 1)
    crew.each(range(height), lambda row: torch.addmm(bias, windows[row].reshape(width, 25), weight, out=inside[row]))
    reach = ConvPair.HALO + 1
    for rows, columns, edge in (
        (slice(0, reach), slice(None), (slice(0, 1), slice(None))),
        (slice(-reach, None), slice(None), (slice(-1, None), slice(None))),
        (slice(None), slice(0, reach), (slice(None), slice(0, 1))),
        (slice(None), slice(-reach, None), (slice(None), slice(-1, None))),
    ):
        inside[edge] = stem(image[None, None, rows, columns])[0].permute(1, 2, 0)[edge]
    sums = np.empty((height, 2, stem.channels_out))
    crew.each(range(height), lambda row: kernels.sums(target, row, sums[row]))
    return sums


def _merged(pair: ConvPair) -> tuple[Float[Tensor, "25 c"], Float[Tensor, " c"]]:
    """Weights and bias of the one convolution that a pair on an image of one channel is."""
    first, second = _convolutions(pair)
    w1, w2 = first.weight.double(), second.weight.double()
    weight = nn.functional.conv2d(w1.transpose(0, 1), w2.flip(2, 3), padding=2)[0]
    bias = _bias(second).double() + w2.sum((2, 3)) @ _bias(first).double()
    return weight.flatten(1).T.float().contiguous(), bias.float()


# --- normalisation ---


def _normalise(crew: _Crew, norm: nn.GroupNorm, x: Array, sums: Sums) -> None:
    scale, shift = _scale_and_shift(norm, x, sums)
    crew.each(range(len(sums)), lambda row: kernels.normalise_row(x, row, scale, shift))


def _add_normalised(crew: _Crew, norm: nn.GroupNorm, x: Array, y: Array, sums: Sums) -> None:
    scale, shift = _scale_and_shift(norm, y, sums)
    crew.each(range(len(sums)), lambda row: kernels.add_normalised_row(x, y, row, scale, shift))


def _scale_and_shift(norm: nn.GroupNorm, x: Array, sums: Sums) -> tuple[Array, Array]:
    """What the normalisation of a whole map does to each channel."""
    channels = norm.num_channels // norm.num_groups
    count = len(sums) * (x.shape[1] - 2) * channels
    mean, square = sums.sum(0).reshape(2, norm.num_groups, channels).sum(2) / count
    deviation = np.sqrt(np.maximum(square - mean * mean, 0) + norm.eps)
    scale = norm.weight.numpy() / deviation.repeat(channels)
    shift = norm.bias.numpy() - mean.repeat(channels) * scale
    return scale.astype(np.float32), shift.astype(np.float32)
