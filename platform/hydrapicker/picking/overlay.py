"""Picks drawn on their micrograph, as a PNG worth looking at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hydrapicker.storage.atomic import atomic_write
from hydrapicker_core.preprocess import fourier_crop

_LONGEST_SIDE = 1400
_SUPERSAMPLING = 2
_LINE_PX = 2
_LOWPASS_DIAMETERS = 12
"""Detail finer than this part of a particle's diameter is noise to the eye, and left out."""

PICK_COLOUR = (64, 224, 128)
PARTICLE_COLOUR = (255, 80, 80)
EXCLUDED_COLOUR = (255, 170, 60)
_EXCLUDED_OPACITY = 0.35

_BAR_SHARE = 0.2
_FONT_SHARE = 1 / 45
_LEAST_WIDTH_FOR_BAR_PX = 300


class Shape(StrEnum):
    """What is drawn around a place: all are as large as a particle but the cross."""

    CIRCLE = "circle"
    SQUARE = "square"
    CROSS = "cross"


@dataclass(frozen=True, eq=False)
class Marks:
    """Places to be marked alike: float32 ``(n, 2)``, x then y, in the image's pixels."""

    xy: NDArray[np.float32]
    colour: tuple[int, int, int]
    shape: Shape


def draw_overlay(
    path: Path,
    image: NDArray[np.float32],
    picks_xy: NDArray[np.float32],
    diameter_px: float,
    pixel_size_angstrom: float | None = None,
    particles_xy: NDArray[np.float32] | None = None,
    excluded: NDArray[np.bool_] | None = None,
) -> None:
    """Write what :func:`overlay_png` gives to a file, whole or not at all."""
    png = overlay_png(image, picks_xy, diameter_px, pixel_size_angstrom, particles_xy, excluded)
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)


def overlay_png(
    image: NDArray[np.float32],
    picks_xy: NDArray[np.float32],
    diameter_px: float,
    pixel_size_angstrom: float | None = None,
    particles_xy: NDArray[np.float32] | None = None,
    excluded: NDArray[np.bool_] | None = None,
) -> bytes:
    """A PNG of a micrograph with a circle around every pick, and a cross on every particle where these are known.

    Args:
        image: float32 ``(h, w)``; row 0 is drawn at the top.
        picks_xy: float32 ``(n, 2)``, in the image's pixels; green circles.
        diameter_px: Of the circles, in the image's pixels.
        pixel_size_angstrom: Of the image, for a scale bar; None for no bar.
        particles_xy: float32 ``(m, 2)``; small red crosses.
        excluded: Where nothing was to be picked, in a grid of any size over the whole image; tinted.
    """
    marks = [Marks(picks_xy, PICK_COLOUR, Shape.CIRCLE)]
    if particles_xy is not None:
        marks.append(Marks(particles_xy, PARTICLE_COLOUR, Shape.CROSS))
    return marks_png(image, marks, diameter_px, pixel_size_angstrom, excluded)


def draw_marks(
    path: Path,
    image: NDArray[np.float32],
    marks: Sequence[Marks],
    diameter_px: float,
    pixel_size_angstrom: float | None = None,
) -> None:
    """Write what :func:`marks_png` gives to a file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(marks_png(image, marks, diameter_px, pixel_size_angstrom))


def marks_png(
    image: NDArray[np.float32],
    marks: Sequence[Marks],
    diameter_px: float,
    pixel_size_angstrom: float | None = None,
    excluded: NDArray[np.bool_] | None = None,
) -> bytes:
    """A PNG of a micrograph with marks of several kinds; arguments as of :func:`overlay_png`."""
    cropped, size = _cropped(image, diameter_px)
    picture = _grey(cropped).resize([_SUPERSAMPLING * side for side in size], Image.Resampling.BICUBIC)
    if excluded is not None:
        picture = _tinted(picture, excluded)
    draw = ImageDraw.Draw(picture)
    scale = np.array(picture.size) / (image.shape[1], image.shape[0])
    # Fourier cropping keeps the centre of pixel 0 where it is, resizing its corner: half a cropped pixel in between.
    # Pillow draws at pixel centres.
    corner = np.array(picture.size) / (cropped.shape[1], cropped.shape[0]) / 2 - 0.5
    line = _LINE_PX * _SUPERSAMPLING
    radius = diameter_px / 2 * scale[0] + line / 2
    for kind in marks:
        for x, y in kind.xy * scale + corner:
            _draw_mark(draw, (x, y), radius, kind)
    if pixel_size_angstrom is not None and size[0] >= _LEAST_WIDTH_FOR_BAR_PX:
        _draw_bar(draw, picture.size, pixel_size_angstrom / float(scale[0]))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BOX).save(buffer, format="PNG")
    return buffer.getvalue()


def _tinted(picture: Image.Image, excluded: NDArray[np.bool_]) -> Image.Image:
    opacity = Image.fromarray((excluded * (255 * _EXCLUDED_OPACITY)).astype(np.uint8)).resize(picture.size)
    return Image.composite(Image.new("RGB", picture.size, EXCLUDED_COLOUR), picture, opacity)


def _draw_mark(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, kind: Marks) -> None:
    x, y = centre
    line = _LINE_PX * _SUPERSAMPLING
    if kind.shape is Shape.CROSS:
        arm = radius / 3
        x, y = round(x), round(y)
        draw.line((x - arm, y, x + arm, y), fill=kind.colour, width=line // 2)
        draw.line((x, y - arm, x, y + arm), fill=kind.colour, width=line // 2)
        return
    # Rounded here, for Pillow cuts fractions off, which moves circles to the upper left.
    edges = [round(edge) for edge in (x - radius, y - radius, x + radius, y + radius)]
    outline = draw.ellipse if kind.shape is Shape.CIRCLE else draw.rectangle
    outline(edges, outline=kind.colour, width=line)


def _cropped(image: NDArray[np.float32], diameter_px: float) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The image without detail finer than the eye can use, and the (width, height) to show it at."""
    height, width = image.shape
    shrink = min(1.0, _LONGEST_SIDE / max(height, width))
    scale = min(shrink, 2 * _LOWPASS_DIAMETERS / diameter_px)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    cropped: NDArray[np.float32] = fourier_crop(torch.from_numpy(image), shape).numpy()
    return cropped, (max(1, round(width * shrink)), max(1, round(height * shrink)))


def _grey(image: NDArray[np.float32]) -> Image.Image:
    low, high = np.percentile(image, [0.5, 99.5])
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _draw_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], pixel_size_angstrom: float) -> None:
    """A round number of nanometres, at the lower left, legible on dark and on light."""
    longest = size[0] * _BAR_SHARE * pixel_size_angstrom / 10
    power = 10 ** np.floor(np.log10(longest))
    nanometres = float(power * max(step for step in (1, 2, 5) if step * power <= longest))
    font_px = max(size) * _FONT_SHARE
    x, y = font_px, size[1] - font_px
    right, top = x + nanometres * 10 / pixel_size_angstrom, y - font_px / 3
    outline = _SUPERSAMPLING
    draw.rectangle((x, top, right, y), fill="white", outline="black", width=outline)
    middle = ((x + right) / 2, top - font_px / 4)
    font = ImageFont.load_default(font_px)
    draw.text(middle, f"{nanometres:g} nm", "white", font, anchor="ms", stroke_width=outline, stroke_fill="black")
