"""Random crops of a micrograph: rotation, flips, size and position in one affine map, with exact coordinates."""

import hashlib
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import InvalidInputError
from .normalisation import Background, background_noise

_CELL_PX = 16
_KERNEL_PX = 3
"""Pixels a bicubic kernel may reach beyond the crop's outline, rounded up."""
_ON_PIXEL = 1e-6
"""Sum of distances in x and y, in pixels, under which a point is a pixel's centre."""


@dataclass(frozen=True)
class AugmentationConfig:
    """How training crops are drawn from a micrograph.

    Attributes:
        crop_px: Side of the square crop in working pixels, a multiple of 16.
        rotate: Turn by any angle; otherwise crops lie on the pixel grid and no pixel is interpolated.
        flip: Mirror in x and in y, each half of the time.
        resize: Share by which particles are drawn larger or smaller than their box, at most: a picker is then right
            also for a diameter that is not quite right. All sizes in between are equally likely, in the logarithm.
    """

    crop_px: int = 368
    rotate: bool = True
    flip: bool = True
    resize: float = 0.0

    def __post_init__(self) -> None:
        if self.crop_px < _CELL_PX or self.crop_px % _CELL_PX:
            near = max(_CELL_PX, round(self.crop_px / _CELL_PX) * _CELL_PX)
            raise InvalidInputError(f"crop_px is {self.crop_px}: give a multiple of {_CELL_PX}, for example {near}")
        if not 0 <= self.resize <= 1:
            raise InvalidInputError(f"resize is {self.resize}: give a share from 0 to 1, for example 0.2")


@dataclass(frozen=True)
class CropView:
    """Where a square crop lies in its source: ``source = centre + M (crop - (crop_px - 1) / 2)``.

    Attributes
    ----------
    crop_px
        Side of the crop.
    centre
        (x, y) in the source, in pixels.
    angle
        Radians, from the x axis towards the y axis (clockwise on a screen).
    flip_x, flip_y
        Mirror the crop's columns, its rows; before it is turned.
    enlarged
        Pixels of the crop per pixel of the source.
    """

    crop_px: int
    centre: tuple[float, float]
    angle: float = 0.0
    flip_x: bool = False
    flip_y: bool = False
    enlarged: float = 1.0

    def matrix(self) -> Float[Tensor, "2 2"]:
        """M, float64, a multiple of an orthogonal one: turns distances in the crop into distances in the source."""
        cos, sin = math.cos(self.angle) / self.enlarged, math.sin(self.angle) / self.enlarged
        sign_x, sign_y = (-1.0 if self.flip_x else 1.0), (-1.0 if self.flip_y else 1.0)
        return torch.tensor([[cos * sign_x, -sin * sign_y], [sin * sign_x, cos * sign_y]], dtype=torch.float64)


def generator_for(seed: int, epoch: int, micrograph_id: str) -> torch.Generator:
    """Random numbers for one micrograph in one epoch, the same in every process and on every machine."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{micrograph_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def augment(
    image: Float[Tensor, "h w"],
    particles: Float[Tensor, "n 2"],
    background: Background,
    config: AugmentationConfig,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "c c"], Float[Tensor, "m 2"]]:
    """Draw one random crop and the particles whose centres lie in it.

    Parameters
    ----------
    image
        ``(h, w)``, any size, also smaller than the crop.
    particles
        ``(n, 2)`` x, y in the image.
    background
        Of the image; what the crop shows of the outside is Gaussian noise of this mean and deviation.
    config
        Crop side, rotation, flips and sizes.
    generator
        Source of all randomness, as of :func:`generator_for`.

    Returns
    -------
    crop, particles
        ``(crop_px, crop_px)`` and ``(m, 2)`` x, y in the crop, in the order given.
    """
    height, width = image.shape
    view = draw_view(height, width, config, generator)
    return cut(image, background, view, generator), move_into(particles, view)


def draw_view(height: int, width: int, config: AugmentationConfig, generator: torch.Generator) -> CropView:
    """Draw position, angle, flips and enlargement of a crop.

    On each axis the turned crop lies within the image where the image is larger. Where it is smaller, the crop
    lies about the image's middle. All such positions are equally likely.
    """

    def uniform() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))

    angle = 2 * math.pi * uniform() if config.rotate else 0.0
    flip_x, flip_y = (config.flip and uniform() < 0.5 for _ in range(2))
    enlarged = (1 + config.resize) ** (2 * uniform() - 1) if config.resize else 1.0
    reach = (config.crop_px - 1) / 2 / enlarged
    if config.rotate or config.resize:
        extent = reach * (abs(math.cos(angle)) + abs(math.sin(angle)))
        x, y = (
            middle + (2 * uniform() - 1) * _freedom(middle, reach, extent)
            for middle in ((width - 1) / 2, (height - 1) / 2)
        )
    else:
        # Whole-pixel origins, so that nothing is interpolated.
        x, y = (
            min(0, room) + math.floor(uniform() * (abs(room) + 1)) + reach
            for room in (width - config.crop_px, height - config.crop_px)
        )
    return CropView(config.crop_px, (x, y), angle, flip_x, flip_y, enlarged)


def _freedom(middle: float, reach: float, extent: float) -> float:
    """How far the crop's centre may lie from the image's `middle`; `reach` and `extent` are half the crop's side,
    straight and turned.
    """
    if middle >= extent:
        return middle - extent
    # No further than shows all of the image between the turned crop's corners, and than the straight crop would go.
    return min(extent - middle, abs(reach - middle))


def cut(
    image: Float[Tensor, "h w"], background: Background, view: CropView, generator: torch.Generator
) -> Float[Tensor, "c c"]:
    """Sample the crop from the image (bicubic); what lies outside of the image is background noise."""
    height, width = image.shape
    steps = torch.arange(view.crop_px, dtype=torch.float64) - (view.crop_px - 1) / 2
    matrix, (centre_x, centre_y) = view.matrix(), view.centre
    x = centre_x + matrix[0, 0] * steps[None, :] + matrix[0, 1] * steps[:, None]
    y = centre_y + matrix[1, 0] * steps[None, :] + matrix[1, 1] * steps[:, None]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    crop = _sample(image, x, y)
    if not bool(inside.all()):
        noise = background_noise((view.crop_px, view.crop_px), background, generator).to(image)
        crop = torch.where(inside.to(image.device), crop, noise)
    return crop


def move_into(particles: Float[Tensor, "n 2"], view: CropView) -> Float[Tensor, "m 2"]:
    """Particles in the crop's coordinates, only those whose centre falls on a pixel of the crop."""
    centre = torch.tensor(view.centre, dtype=torch.float64, device=particles.device)
    into = view.matrix().to(particles.device) * view.enlarged**2  # the transpose of M's inverse
    moved = (particles.double() - centre) @ into + (view.crop_px - 1) / 2
    kept = ((moved >= -0.5) & (moved < view.crop_px - 0.5)).all(dim=1)
    return moved[kept].to(particles.dtype)


def _sample(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bicubic values of the image at points; beyond its edge the edge's pixels are repeated.

    Points that all lie on pixels (no rotation, or by right angles) give those pixels bit for bit. Otherwise only the
    window around the points is used, in float64: grid_sample wants coordinates scaled to -1..1, and in float32 that
    alone would move the samples of a large micrograph by thousandths of a pixel.
    """
    column, row = x.round(), y.round()
    if bool(((x - column).abs() + (y - row).abs()).max() < _ON_PIXEL):
        height, width = image.shape
        return image[row.long().clamp(0, height - 1), column.long().clamp(0, width - 1)]
    left, right = _window(x, image.shape[1])
    top, bottom = _window(y, image.shape[0])
    window = image[top:bottom, left:right].double()
    grid = torch.stack(
        [
            (2 * (x - left) + 1) / (right - left) - 1,
            (2 * (y - top) + 1) / (bottom - top) - 1,
        ],
        dim=-1,
    ).to(image.device)
    # align_corners=False here only names which of two scalings the grid uses; it also serves windows of one pixel.
    sampled = torch.nn.functional.grid_sample(
        window[None, None],
        grid[None],
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return sampled[0, 0].to(image.dtype)


def _window(points: Tensor, size: int) -> tuple[int, int]:
    """Pixels of an axis, first and one past the last, that a bicubic kernel at the points touches."""
    first = max(0, math.floor(float(points.min())) - _KERNEL_PX)
    last = min(size, math.ceil(float(points.max())) + _KERNEL_PX + 1)
    return min(first, size - 1), max(last, 1)
