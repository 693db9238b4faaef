"""From a micrograph as recorded to the image the network sees."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from .errors import InvalidInputError
from .fourier import fourier_crop
from .normalisation import (
    CLIP_SIGMA,
    Background,
    background,
    normalise,
    pad_with_background,
    winsorising,
)
from .scale import DEFAULT_BOX_PX, working_scale, working_shape

__all__ = [
    "CLIP_SIGMA",
    "DEFAULT_BOX_PX",
    "Background",
    "PreparedMicrograph",
    "background",
    "fourier_crop",
    "normalise",
    "pad_with_background",
    "prepare",
    "working_scale",
    "working_shape",
]


@dataclass(frozen=True)
class PreparedMicrograph:
    """A micrograph at the working scale.

    Attributes
    ----------
    image
        ``(h, w)`` float32, particles dark, median 0, robust standard deviation 1, within +-`CLIP_SIGMA`.
    scale_x, scale_y
        Working pixels per original pixel, exactly: ``x_working = x_original * scale_x``. Both are close to the
        scale asked for, and differ from it because sizes are whole pixels.
    background
        Of `image`.
    """

    image: Float[Tensor, "h w"]
    scale_x: float
    scale_y: float
    background: Background


def prepare(
    image: Float[Tensor, "h w"],
    scale: float,
    *,
    box_px: int = DEFAULT_BOX_PX,
    light_particles: bool = False,
) -> PreparedMicrograph:
    """Limit hot pixels, Fourier-crop to the working scale, normalise and measure the background.

    Parameters
    ----------
    image
        ``(h, w)`` as recorded; any floating dtype.
    scale
        Working pixels per original pixel, of :func:`working_scale`.
    box_px
        Side of the box at the working scale.
    light_particles
        Particles are lighter than the background (already inverted micrographs, negative stain): invert.

    Raises
    ------
    InvalidInputError
        When the particle is larger than the image, or the image is empty, constant or has non-finite pixels.
    """
    height, width = image.shape
    shape = working_shape(height, width, scale)
    if box_px > min(shape):
        raise InvalidInputError(
            f"a particle {box_px / scale:.0f} pixels across does not fit into an image of {width} x {height} pixels: "
            "check the particle diameter and the pixel size"
        )
    cropped = fourier_crop(image, shape, each_band=winsorising(image))
    normalised = normalise(cropped.neg_() if light_particles else cropped)
    return PreparedMicrograph(
        image=normalised,
        scale_x=shape[1] / width,
        scale_y=shape[0] / height,
        background=background(normalised, box_px),
    )
