"""Grey values: robust statistics, hot pixels, normalisation, and the background without labels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import InvalidInputError

CLIP_SIGMA = 6.0
"""Normalised values are limited to this many robust standard deviations: ice and gold carry no more news."""

HOT_PIXEL_SIGMA = 10.0
"""Original pixels further than this from the median are detector faults or cosmic rays."""

_SIGMA_PER_MAD = 1.4826
_MAX_SAMPLE = 2**22
_CONSTANT_BLOCK = 1e-3
"""A block whose deviation is below this fraction of the image's is masked or padded, not background."""


@dataclass(frozen=True)
class Background:
    """Mean and standard deviation of a micrograph's background, in its grey values."""

    mean: float
    std: float


def robust_statistics(image: Float[Tensor, "h w"]) -> tuple[float, float]:
    """Median, and 1.4826 times the median absolute deviation, of an image.

    Above 4 million pixels both come from an evenly strided subsample, the same one every time. Where more than
    half of the pixels are equal (counting data, saturation) the standard deviation takes the place of the second.

    Raises
    ------
    InvalidInputError
        When the image is empty, has non-finite pixels or is constant.
    """
    _require_finite(image)
    sample = _subsample(image)
    median = sample.median()
    spread = _SIGMA_PER_MAD * float((sample - median).abs().median())
    if spread == 0:
        # Compared exactly: the standard deviation of equal pixels may be a rounding error above zero.
        if bool((image == image[0, 0]).all()):
            raise InvalidInputError(
                f"all {image.numel():,} pixels have the value {float(median):g}: "
                "there is nothing to pick on a constant image, leave it out"
            )
        spread = float(image.std(correction=0))
    return float(median), spread


def winsorise(image: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Subtract the median and limit hot pixels to +-10 robust standard deviations, ``(h, w)`` to ``(h, w)``.

    Raises
    ------
    InvalidInputError
        As :func:`robust_statistics`.
    """
    return winsorising(image)(image)


def winsorising(image: Float[Tensor, "h w"]) -> Callable[[Float[Tensor, "h2 w2"]], Float[Tensor, "h2 w2"]]:
    """What :func:`winsorise` does to an image, to be done to parts of it; raises as it does."""
    median, spread = robust_statistics(image)
    limit = HOT_PIXEL_SIGMA * spread
    return lambda part: (part.to(torch.float32) - median).clamp_(-limit, limit)


def normalise(image: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Bring a micrograph to median 0 and robust standard deviation 1, limited to +-`CLIP_SIGMA`.

    Raises
    ------
    InvalidInputError
        When the image is empty, has non-finite pixels or is constant.
    """
    median, spread = robust_statistics(image)
    return (image - median).div_(spread).clamp_(-CLIP_SIGMA, CLIP_SIGMA)


def background(image: Float[Tensor, "h w"], box_px: int) -> Background:
    """Estimate a micrograph's background without labels.

    The image is covered by square blocks of `box_px` (evenly placed, so the last ones may overlap). Of those that
    are not constant, the half with the smallest standard deviation is background: its mean is the mean of
    their means, its standard deviation the median of theirs. Images smaller than a block are one block.

    Raises
    ------
    InvalidInputError
        When the image is empty, has non-finite pixels or is constant.
    """
    _require_finite(image)
    blocks = _blocks(image, box_px)
    stds, means = torch.std_mean(blocks, dim=-1, correction=0)
    whole = float(image.std(correction=0))
    varied = stds > _CONSTANT_BLOCK * whole
    if not bool(varied.any()):
        # Blocks of very few pixels, or noise-free images: the whole image is the best that is known.
        median, spread = robust_statistics(image)
        return Background(mean=median, std=spread)
    stds, means = stds[varied], means[varied]
    quietest = stds.argsort(stable=True)[: (len(stds) + 1) // 2]
    return Background(mean=float(means[quietest].mean()), std=float(stds[quietest].quantile(0.5)))


def pad_with_background(
    image: Float[Tensor, "h w"],
    background: Background,
    *,
    before: tuple[int, int],
    shape: tuple[int, int],
    generator: torch.Generator,
) -> Float[Tensor, "h2 w2"]:
    """Set an image into a larger one of Gaussian noise with the background's mean and standard deviation.

    Parameters
    ----------
    image
        ``(h, w)``; its pixels are copied unchanged.
    background
        Of the image.
    before
        Rows above and columns left of the image: a point at (x, y) moves to ``(x + before[1], y + before[0])``.
    shape
        Final height and width.
    generator
        Source of the noise.
    """
    (top, left), (height, width) = before, image.shape
    fits = min(before) >= 0 and top + height <= shape[0] and left + width <= shape[1]
    assert fits, f"{tuple(image.shape)} at {before} does not fit into {shape}"
    padded = background_noise(shape, background, generator).to(image)
    padded[top : top + height, left : left + width] = image
    return padded


def background_noise(
    shape: tuple[int, int], background: Background, generator: torch.Generator
) -> Float[Tensor, "h w"]:
    """Gaussian noise with the background's mean and standard deviation, float32 on the generator's device."""
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return noise.mul_(background.std).add_(background.mean)


def _require_finite(image: Tensor) -> None:
    if image.numel() == 0:
        raise InvalidInputError(f"the image has no pixels (shape {tuple(image.shape)}): leave it out")
    rows = max(1, _MAX_SAMPLE // image.shape[1])  # isfinite takes as much memory again as it looks at
    parts = torch.split(image, rows)
    bad = image.numel() - sum([int(torch.isfinite(part).count_nonzero()) for part in parts])
    if bad:
        raise InvalidInputError(
            f"{bad:,} of {image.numel():,} pixels are NaN or infinite: write the micrograph again, or leave it out"
        )


def _subsample(image: Tensor) -> Tensor:
    """Every k-th pixel, k coprime to the width so that no column is preferred."""
    stride = -(-image.numel() // _MAX_SAMPLE)
    while math.gcd(stride, image.shape[1]) != 1:
        stride += 1
    return image.flatten()[::stride]


def _blocks(image: Tensor, box_px: int) -> Tensor:
    """Blocks that cover the image, ``(blocks, pixels of a block)``."""
    block = min(box_px, *image.shape)
    rows, columns = (
        torch.linspace(0, side - block, -(-side // block), device=image.device).round().long()[:, None]
        + torch.arange(block, device=image.device)
        for side in image.shape
    )
    tiled = image[rows.flatten()][:, columns.flatten()]
    tiled = tiled.reshape(len(rows), block, len(columns), block).transpose(1, 2)
    return tiled.reshape(len(rows) * len(columns), block * block)
