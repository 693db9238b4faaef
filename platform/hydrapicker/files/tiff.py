"""Single images in TIFF files, through ``tifffile``."""

import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hydrapicker.errors import MicrographError
from hydrapicker.files.mrc import MAX_PIXELS

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["TiffLayout", "read_tiff", "read_tiff_layout"]

_ANGSTROM_PER_UNIT = {
    "a": 1.0, "å": 1.0, "ångström": 1.0, "angstrom": 1.0, "angstroms": 1.0, "nm": 10.0, "nanometer": 10.0, "um": 1e4,
    "µm": 1e4, "μm": 1e4, "\\u00b5m": 1e4, "micron": 1e4, "microns": 1e4, "cm": 1e8,
}  # fmt: skip
_PLAUSIBLE_ANGSTROM = (0.05, 200.0)
_CENTIMETRE = 3
_MOST_COMPRESSION = 2000  # LZW and deflate reach 1400 at most; beyond, the size is a lie
_MOST_PAGES = 2000
_REDUCED = 1  # bit of NewSubfileType: a thumbnail of another image
# What tifffile and its decoders raise on damaged files.
_DAMAGE = (
    ValueError, IndexError, KeyError, TypeError, RuntimeError, EOFError, ArithmeticError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class TiffLayout:
    """What a TIFF's tags say of its one image."""

    height: int
    width: int
    pixel_size_angstrom: float | None


def read_tiff_layout(path: Path) -> TiffLayout:
    """Read and check the tags of a TIFF file.

    The pixel size is taken from ImageJ's unit, or from a resolution per centimetre, and only where it is the same
    along x and y and between 0.05 and 200 Angstrom: other tags (dots per inch) say how to print, not what was imaged.

    Raises
    ------
    MicrographError
        Not a TIFF, a stack, colour or complex pixels, absurd sizes, a truncated file.
    """
    with _opened(path) as tiff:
        return _layout(path, tiff)


def read_tiff(path: Path) -> tuple[NDArray[Any], TiffLayout]:
    """Read the one image of a TIFF file in its own dtype, (h, w), row 0 first as stored (no flip).

    Raises
    ------
    MicrographError
        As :func:`read_tiff_layout`, and for pixels that cannot be decoded.
    """
    with _opened(path) as tiff:
        layout = _layout(path, tiff)
        image = tiff.pages[0].asarray()
    return image.reshape(layout.height, layout.width), layout


@contextmanager
def _opened(path: Path) -> Iterator["TiffFile"]:
    from tifffile import TiffFile

    # tifffile logs what it finds odd; what matters is raised below, in our words.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with TiffFile(path) as tiff:
            yield tiff
    except MicrographError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MicrographError(f"{path}: not a TIFF file, or a damaged one ({reason}); copy it again") from error


def _layout(path: Path, tiff: "TiffFile") -> TiffLayout:
    from tifffile import TiffPage

    page = tiff.pages.first
    height, width = page.imagelength, page.imagewidth
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise MicrographError(f"{path}: tags claim {width} x {height} pixels; the file is damaged, copy it again")
    # tifffile follows a chain of pages that bites its own tail for ever.
    pages = list(islice(tiff.pages, _MOST_PAGES))
    if len(pages) == _MOST_PAGES:
        raise MicrographError(f"{path}: holds {_MOST_PAGES} pages or more, or is damaged; give one micrograph per file")
    images = max(
        sum(not (isinstance(each, TiffPage) and each.subfiletype & _REDUCED) for each in pages),
        page.imagedepth,
        int((tiff.imagej_metadata or {}).get("images", 1)),
        max((series.size // (height * width * page.samplesperpixel) for series in tiff.series), default=1),
    )
    if images > 1:
        raise MicrographError(
            f"{path}: holds a stack of {images} images where one is expected;"
            " give motion-corrected micrographs, one per file"
        )
    if page.samplesperpixel != 1 or page.dtype is None or page.dtype.kind not in "iuf":
        raise MicrographError(
            f"{path}: {page.samplesperpixel} value(s) of type {page.dtype} per pixel;"
            " give one real number per pixel (8, 16 or 32 bit grey)"
        )
    _check_length(path, page, tiff.filehandle.size)
    return TiffLayout(height, width, _pixel_size(tiff, page))


def _check_length(path: Path, page: "TiffPage", file_bytes: int) -> None:
    """tifffile fills missing strips with zeros in silence."""
    ends = [at + count for at, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    stored, wanted = sum(page.databytecounts), page.imagelength * page.imagewidth * page.dtype.itemsize  # type: ignore[union-attr]
    absent = len(ends) < math.prod(page.chunked) or min(page.databytecounts) == 0 or max(ends) > file_bytes
    if absent or stored * (1 if page.compression == 1 else _MOST_COMPRESSION) < wanted:
        raise MicrographError(
            f"{path}: truncated or damaged: tags claim {page.imagewidth} x {page.imagelength} pixels up to byte"
            f" {max(ends, default=0)}, and {file_bytes} bytes are there; copy it again"
        )


def _pixel_size(tiff: "TiffFile", page: "TiffPage") -> float | None:
    resolution = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    if any(not isinstance(value, tuple) or 0 in value for value in resolution):
        return None
    x, y = (denominator / numerator for numerator, denominator in resolution)  # units per pixel
    if tiff.is_imagej:
        angstrom = _ANGSTROM_PER_UNIT.get(str((tiff.imagej_metadata or {}).get("unit", "")).strip().lower())
    else:
        angstrom = 1e8 if page.tags.valueof("ResolutionUnit") == _CENTIMETRE else None
    if angstrom is None or abs(x - y) > 0.01 * x:
        return None
    pixel_size = float(f"{x * angstrom:.6g}")
    return pixel_size if _PLAUSIBLE_ANGSTROM[0] <= pixel_size <= _PLAUSIBLE_ANGSTROM[1] else None
