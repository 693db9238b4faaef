"""One micrograph's file turned into the bytes that a shard holds: the same file gives the same bytes, everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files.micrographs import read_micrograph
from hydrapicker.store.layout import PIXEL
from hydrapicker_core.preprocess import prepare
from hydrapicker_registry.metadata import Contrast

__all__ = ["PreparedMicrograph", "one_torch_thread", "prepare_micrograph"]


@dataclass(frozen=True)
class PreparedMicrograph:
    """A micrograph as it lies in a shard.

    Attributes:
        pixels: float16, little-endian, rows of the image one after the other.
        height: Working height in pixels.
        width: Working width in pixels.
        original_height: Height of the file's image in pixels.
        original_width: Width of the file's image in pixels.
        scale_x: Working / original scale along x, exactly.
        scale_y: Working / original scale along y, exactly.
        background_mean: Mean of the background in the working image.
        background_std: Standard deviation of the background in the working image.
        checksum: xxh3-128 of ``pixels``, in hex.
    """

    pixels: bytes
    height: int
    width: int
    original_height: int
    original_width: int
    scale_x: float
    scale_y: float
    background_mean: float
    background_std: float
    checksum: str


def prepare_micrograph(path: Path, *, scale: float, box_px: int, contrast: Contrast) -> PreparedMicrograph:
    """Read a micrograph and bring it to the working scale, with dark particles.

    Call it within :func:`one_torch_thread`, or sums may differ in their last bit from one machine to the next.

    Parameters
    ----------
    path : Path
        A local MRC or TIFF file.
    scale : float
        Nominal working / original scale.
    box_px : int
        The particle's diameter in working pixels.
    contrast : {"dark", "light"}
        What particles are in the file.

    Raises
    ------
    MicrographError
        When the file cannot be read, or its pixels cannot be used.
    """
    micrograph = read_micrograph(path)
    height, width = micrograph.image.shape
    image = torch.from_numpy(np.ascontiguousarray(micrograph.image, np.float32))
    try:
        prepared = prepare(image, scale, box_px=box_px, light_particles=contrast == "light")
    except InvalidInputError as error:
        raise MicrographError(f"{path}: {error}") from error
    stored = prepared.image.numpy().astype(PIXEL)
    pixels = stored.tobytes()
    return PreparedMicrograph(
        pixels=pixels,
        height=stored.shape[0],
        width=stored.shape[1],
        original_height=height,
        original_width=width,
        scale_x=prepared.scale_x,
        scale_y=prepared.scale_y,
        background_mean=prepared.background.mean,
        background_std=prepared.background.std,
        checksum=xxhash.xxh3_128_hexdigest(pixels),
    )


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread per call: micrographs are the unit of parallel work, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
