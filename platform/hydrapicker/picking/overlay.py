"""Picks drawn on their micrograph, as a PNG worth looking at."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hydrapicker.files.atomic import atomic_write
from hydrapicker_core.preprocess import fourier_crop

_LONGEST_SIDE = 1400
_SUPERSAMPLING = 2
_LOWPASS_DIAMETERS = 12
"""Detail finer than this part of a particle's diameter is noise to the eye, and left out."""

PICK_COLOUR = (64, 224, 128)
MISSED_COLOUR = (255, 80, 80)


def draw_overlay(
    path: Path,
    image: NDArray[np.float32],
    picks_xy: NDArray[np.float32],
    diameter_px: float,
    particles_xy: NDArray[np.float32] | None = None,
) -> None:
    """Write a PNG of a micrograph with a circle around every pick, and around every particle where these are known.

    Args:
        path: The PNG file, written whole or not at all.
        image: float32 ``(h, w)``; row 0 is drawn at the top.
        picks_xy: float32 ``(n, 2)``, in the image's pixels; green circles.
        diameter_px: Of the circles, in the image's pixels.
        particles_xy: float32 ``(m, 2)``; small red crosses.
    """
    picture, scale = _picture(image, diameter_px)
    large = picture.resize((picture.width * _SUPERSAMPLING, picture.height * _SUPERSAMPLING), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large)
    scale *= _SUPERSAMPLING
    radius = diameter_px / 2 * scale
    for x, y in (picks_xy + 0.5) * scale:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=PICK_COLOUR, width=2 * _SUPERSAMPLING)
    arm = radius / 3
    for x, y in (particles_xy + 0.5) * scale if particles_xy is not None else ():
        draw.line((x - arm, y, x + arm, y), fill=MISSED_COLOUR, width=_SUPERSAMPLING)
        draw.line((x, y - arm, x, y + arm), fill=MISSED_COLOUR, width=_SUPERSAMPLING)
    with atomic_write(path) as temporary:
        large.resize(picture.size, Image.Resampling.LANCZOS).save(temporary, format="PNG")


def _picture(image: NDArray[np.float32], diameter_px: float) -> tuple[Image.Image, float]:
    height, width = image.shape
    # Fourier cropping to where a diameter has a dozen pixels' worth of detail is the low-pass filter.
    scale = min(1.0, _LONGEST_SIDE / max(height, width), 2 * _LOWPASS_DIAMETERS / diameter_px)
    cropped = fourier_crop(torch.from_numpy(image), (max(1, round(height * scale)), max(1, round(width * scale))))
    low, high = np.percentile(cropped.numpy(), [0.5, 99.5])
    grey = np.clip((cropped.numpy() - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    enlarge = min(1.0, _LONGEST_SIDE / max(height, width)) / scale
    size = (round(cropped.shape[1] * enlarge), round(cropped.shape[0] * enlarge))
    return Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BICUBIC), size[0] / width
