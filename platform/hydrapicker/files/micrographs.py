"""Micrographs: finding them, and reading one image with its pixel size from MRC or TIFF."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files.mrc import read_mrc, read_mrc_layout, write_mrc
from hydrapicker.files.remote import RemoteFile
from hydrapicker.files.tiff import read_tiff, read_tiff_layout

__all__ = [
    "MICROGRAPH_SUFFIXES",
    "Micrograph",
    "MicrographHeader",
    "find_micrographs",
    "is_tiff",
    "micrograph_stem",
    "read_header",
    "read_micrograph",
    "write_mrc",
]

_CHECKED_AT_ONCE = 2**22
_TIFF_SUFFIXES = (".tif", ".tiff")
MICROGRAPH_SUFFIXES = (".mrc", ".mrcs", ".rec", ".map", ".mrc.gz", ".mrc.bz2", *_TIFF_SUFFIXES)
"""Names that micrographs end with, in lower case (upper case is read as well)."""


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One image. ``image`` is float32 (h, w), row 0 first as stored; ``pixel_size_angstrom`` None if not stated."""

    image: NDArray[np.float32]
    pixel_size_angstrom: float | None
    path: Path


@dataclass(frozen=True)
class MicrographHeader:
    """What a micrograph's header says: size in pixels, and Angstrom per pixel or None if not stated."""

    path: Path | RemoteFile
    height: int
    width: int
    pixel_size_angstrom: float | None


def is_tiff(path: str | Path) -> bool:
    """Whether the name is a TIFF's."""
    return str(path).lower().endswith(_TIFF_SUFFIXES)


def micrograph_stem(name: str | Path) -> str:
    """The file name without folders, without RELION's ``000001@`` and without a known micrograph suffix."""
    file_name = str(name).rsplit("@", 1)[-1].replace("\\", "/").rsplit("/", 1)[-1]
    for suffix in sorted(MICROGRAPH_SUFFIXES, key=len, reverse=True):
        if file_name.lower().endswith(suffix):
            return file_name[: -len(suffix)]
    return file_name


def read_header(path: str | Path) -> MicrographHeader:
    """Read size and pixel size without the pixels. Uncompressed files are checked for their full length.

    Raises
    ------
    MicrographError
        Missing, empty, truncated, of another kind, a stack, complex or absurdly large.
    """
    path = _checked(path)
    try:
        layout = read_tiff_layout(path) if is_tiff(path) else read_mrc_layout(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return MicrographHeader(path, layout.height, layout.width, layout.pixel_size_angstrom)


def read_micrograph(path: str | Path) -> Micrograph:
    """Read one micrograph: MRC (modes 0, 1, 2, 6, 12; plain, gzip, bzip2) or TIFF.

    Returns
    -------
    Micrograph
        Pixels as float32 (h, w) in stored order, also for TIFF.

    Raises
    ------
    MicrographError
        As :func:`read_header`, and for NaN or infinite pixels and for constant images.
    """
    path = _checked(path)
    try:
        stored, layout = read_tiff(path) if is_tiff(path) else read_mrc(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return Micrograph(_usable_pixels(path, stored), layout.pixel_size_angstrom, path)


def find_micrographs(patterns: Sequence[str | Path]) -> tuple[Path, ...]:
    """Every micrograph that the patterns name, sorted, each once.

    Parameters
    ----------
    patterns : sequence of str or Path
        Files, folders (the micrographs directly inside) and globs (``**`` descends), which may be quoted from the
        shell where there are too many files for a command line. Hidden files are left out of folders and globs.

    Raises
    ------
    InvalidInputError
        No pattern at all, or one that matches no micrograph.
    """
    if not patterns:
        raise InvalidInputError("no micrographs given; give files, a folder or a quoted glob such as 'data/*.mrc'")
    found = {path.absolute(): path for pattern in patterns for path in _matches(Path(pattern).expanduser())}
    return tuple(sorted(found.values()))


def _matches(pattern: Path) -> list[Path]:
    if pattern.is_file():
        return [_checked(pattern)]
    if pattern.is_dir():
        paths = [path for path in pattern.iterdir() if not path.name.startswith(".")]
    else:
        paths = [Path(path) for path in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 (takes absolute patterns)
    micrographs = [path for path in paths if _has_known_suffix(path) and path.is_file()]
    if not micrographs:
        what = "no such file or folder" if not (paths or pattern.exists()) else "no micrographs there"
        raise InvalidInputError(f"{pattern}: {what}; micrographs end in {', '.join(MICROGRAPH_SUFFIXES)}")
    return micrographs


def _has_known_suffix(path: Path) -> bool:
    return path.name.lower().endswith(MICROGRAPH_SUFFIXES)


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise MicrographError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise MicrographError(f"{path}: not a file; give one micrograph")
    if not _has_known_suffix(path):
        raise MicrographError(f"{path}: unknown suffix; micrographs end in {', '.join(MICROGRAPH_SUFFIXES)}")
    if path.stat().st_size == 0:
        raise MicrographError(f"{path}: empty file; copy it again")
    return path


def _unreadable(path: Path, error: OSError) -> MicrographError:
    return MicrographError(f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions")


def _usable_pixels(path: Path, stored: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite and is counted below
        image = np.ascontiguousarray(stored, dtype=np.float32)
    if stored.dtype.kind == "f" and (count := _not_finite(image)):
        raise MicrographError(
            f"{path}: {count} of {image.size} pixels are NaN or infinite; motion-correct or repair it again"
        )
    if image.min() == image.max():
        raise MicrographError(f"{path}: every pixel is {image.flat[0]:g}; there is nothing to pick, leave it out")
    return image


def _not_finite(image: NDArray[np.float32]) -> int:
    rows = max(1, _CHECKED_AT_ONCE // image.shape[1])
    return sum(
        part.size - int(np.isfinite(part).sum())
        for part in (image[at : at + rows] for at in range(0, len(image), rows))
    )
