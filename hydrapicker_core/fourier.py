"""Resizing by cropping, or padding with zeros, an image's Fourier transform."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import InvalidInputError

_CHUNK_ELEMENTS = 2**21
"""Pixels transformed at a time: bounds the memory above the image's own to some 40 MB, and what is left of each row."""

Band = Float[Tensor, "rows w"]


def _in_single(band: Band) -> Band:
    return band.float() if band.dtype in (torch.float16, torch.bfloat16) else band


def fourier_crop(
    image: Float[Tensor, "h w"], shape: tuple[int, int], *, each_band: Callable[[Band], Band] = _in_single
) -> Float[Tensor, "h2 w2"]:
    """Resize an image to any shape by cropping (shrinking) or zero-padding (enlarging) its spectrum.

    The image is taken as one period of a periodic function. Frequencies the new sampling cannot hold are
    removed, the mean is kept, and sample 0 stays at 0, so a point at x moves to ``x * w2 / w`` exactly.
    A component right at the new Nyquist frequency keeps the values it has at the new samples; one
    right at the old Nyquist frequency is shared between its positive and negative frequency.

    Parameters
    ----------
    image
        ``(h, w)``, any sizes, odd or even. Half precision is computed and returned as float32.
    shape
        New height and width in pixels, each at least 1.
    each_band
        Done first to every band of rows; so that a large image need not be copied whole. Its dtype is the result's.

    Returns
    -------
    Tensor
        ``(h2, w2)``, of the image's dtype and device.

    Raises
    ------
    InvalidInputError
        When the image or the new shape is empty.
    """
    if image.numel() == 0 or min(shape) < 1:
        raise InvalidInputError(
            f"cannot resize an image of {tuple(image.shape)} pixels to {tuple(shape)}: give at least 1 x 1"
        )
    height, width = shape
    # The transform is separable: along x first, in bands of rows, then along y on what is left.
    across = _resize_rows(image, width, each_band)
    return _resize_rows(across.T.contiguous(), height, _in_single).T.contiguous()


def _resize_rows(image: Tensor, size: int, each_band: Callable[[Band], Band]) -> Tensor:
    """Resize every row of ``(h, w)`` to `size` samples, a band of rows at a time."""
    rows, old = image.shape
    resized = each_band(image[:1]).new_empty((rows, size))
    band = max(1, _CHUNK_ELEMENTS // max(old, size))
    for start in range(0, rows, band):
        part = each_band(image[start : start + band])
        resized[start : start + band] = part if size == old else _resize_band(part, size)
    return resized


def _resize_band(band: Tensor, size: int) -> Tensor:
    """Fourier-resize rows; the exact treatment of the Nyquist bin is the whole point."""
    old = band.shape[-1]
    spectrum = torch.fft.rfft(band, dim=-1, norm="forward")  # "forward" keeps the mean whatever the size
    smaller = min(old, size)
    spectrum = spectrum[:, : smaller // 2 + 1]
    if smaller % 2 == 0:
        nyquist = spectrum[:, -1]
        if size < old:
            # Both +k and -k fall on this one bin, and of a real row they are conjugates.
            spectrum[:, -1] = nyquist + nyquist.conj()
        else:
            # This one bin becomes two, +k and -k; irfft supplies the second.
            spectrum[:, -1] = nyquist / 2
    resized: Tensor = torch.fft.irfft(spectrum, n=size, dim=-1, norm="forward")
    return resized
