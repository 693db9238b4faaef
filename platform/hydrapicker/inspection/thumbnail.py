"""A micrograph small enough to be embedded, with the contrast that an eye needs."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LOWPASS_DIAMETERS = 12
"""Detail finer than this part of a particle's diameter is noise to the eye, and left out."""

_QUALITIES = (85, 75, 60, 45)
_SHRINK = 0.75
_LEAST_SIDE = 64
_EXTREMES = (0.5, 99.5)
_WIDEST_SPREADS = 4
"""Grey reaches this many standard deviations (of the bulk of pixels) from the median at most, so that carbon, ice and
hot pixels do not leave the particles a narrow part of it."""

_MOST_BYTES_OF_ALL = 40 * 2**20
_MOST_BYTES_OF_ONE = 220_000
_SIDES = ((60, 900), (200, 760), (600, 640))  # up to so many micrographs, so many pixels
_SIDE_OF_MANY = 480


@dataclass(frozen=True)
class ThumbnailSize:
    """Bounds of each thumbnail: pixels along its longest side, and bytes."""

    longest_side: int
    most_bytes: int

    @classmethod
    def for_report_of(cls, micrographs: int) -> "ThumbnailSize":
        """The more micrographs, the smaller each: all together stay below 40 MiB."""
        side = next((side for most, side in _SIDES if micrographs <= most), _SIDE_OF_MANY)
        return cls(side, min(_MOST_BYTES_OF_ONE, _MOST_BYTES_OF_ALL // max(micrographs, 1)))


def thumbnail(image: NDArray[np.float32], diameter_px: float, size: ThumbnailSize) -> bytes:
    """A JPEG of the micrograph, its first row at the top, the whole width and height from edge to edge.

    Args:
        image: float32 ``(h, w)``.
        diameter_px: Of the particle; detail finer than a twelfth of it is averaged away.
        size: What the file may not exceed, except that its longest side is never below 64 pixels for it.
    """
    height, width = image.shape
    scale = min(1.0, size.longest_side / max(height, width), 2 * _LOWPASS_DIAMETERS / diameter_px)
    scale = max(scale, min(1.0, _LEAST_SIDE / max(height, width)))
    while True:
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = Image.fromarray(image).resize(shape, Image.Resampling.LANCZOS, reducing_gap=3.0)
        grey = _grey(np.asarray(small))
        for quality in _QUALITIES:
            encoded = _jpeg(grey, quality)
            if len(encoded) <= size.most_bytes:
                return encoded
        if max(shape) * _SHRINK < _LEAST_SIDE:
            return encoded
        scale *= _SHRINK


def _grey(image: NDArray[np.float32]) -> Image.Image:
    darkest, lower, middle, upper, lightest = np.percentile(image, [_EXTREMES[0], 25, 50, 75, _EXTREMES[1]])
    reach = _WIDEST_SPREADS * (upper - lower) / 1.349  # the quartiles of a normal distribution
    low, high = max(darkest, middle - reach), min(lightest, middle + reach)
    return Image.fromarray(np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
