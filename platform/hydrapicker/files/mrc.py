"""Single images in MRC files.

``mrcfile`` supplies the layout of the header and the meaning of modes and machine stamps. The bytes are read here:
``mrcfile`` allocates whatever the header claims before it looks at the file, and reports trouble as warnings.
"""

import bz2
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.storage.atomic import atomic_write

__all__ = ["MAX_PIXELS", "MrcLayout", "read_mrc", "read_mrc_layout", "write_mrc"]

MAX_PIXELS = 2**30
"""More than any detector gives: a header that claims more is damaged."""

_HEADER_BYTES = 1024
_CHUNK_BYTES = 2**22
_MOST_CHUNKS_AFTER = 16
"""What may follow an image in a compressed file, for its checksum to be reached."""
_READABLE_MODES = (0, 1, 2, 6, 12)
_IMOD_STAMP_AT, _IMOD_STAMP, _IMOD_SIGNED_BYTES = 152, 1146047817, 1


@dataclass(frozen=True)
class MrcLayout:
    """What an MRC header says of its one image: size in pixels, where the pixels are and how they are stored."""

    height: int
    width: int
    pixel_size_angstrom: float | None
    dtype: np.dtype[Any]
    data_at_byte: int

    @property
    def total_bytes(self) -> int:
        """How long the file has to be, decompressed."""
        return self.data_at_byte + self.height * self.width * self.dtype.itemsize


def read_mrc_layout(path: Path) -> MrcLayout:
    """Read and check the header of an MRC file, and that an uncompressed file is as long as it says.

    Raises
    ------
    MicrographError
        Not an MRC file, a stack, an unreadable mode, absurd sizes, a truncated file.
    """
    with path.open("rb") as file:
        stream = _decompressed(file)
        layout = _layout(path, _read_at_most(path, stream, _HEADER_BYTES))
        if stream is file:
            _check_length(path, layout, path.stat().st_size)
    return layout


def read_mrc(path: Path) -> tuple[NDArray[Any], MrcLayout]:
    """Read the one image of an MRC file (plain, gzip or bzip2, told by content), in the file's own dtype.

    Returns
    -------
    image : ndarray (h, w)
        Row 0 is the first stored row. Writable.
    layout : MrcLayout

    Raises
    ------
    MicrographError
        As :func:`read_mrc_layout`, and for damaged compression.
    """
    layout = read_mrc_layout(path)
    with path.open("rb") as file:
        stream = _decompressed(file)
        data = _read_at_most(path, stream, layout.total_bytes)
        if stream is not file:  # only at its end is a checksum compared, and damage may have made the data longer
            rest = sum(len(_read_at_most(path, stream, _CHUNK_BYTES)) for _ in range(_MOST_CHUNKS_AFTER))
            if rest == _MOST_CHUNKS_AFTER * _CHUNK_BYTES:
                raise MicrographError(f"{path}: compressed data are damaged (there is no end to them); copy it again")
    _check_length(path, layout, len(data))
    pixels = np.frombuffer(data, layout.dtype, layout.height * layout.width, layout.data_at_byte)
    return pixels.reshape(layout.height, layout.width), layout


def write_mrc(path: str | Path, image: NDArray[Any], pixel_size_angstrom: float | None) -> None:
    """Write one image as an MRC file, all or nothing. The same image gives the same bytes.

    Parameters
    ----------
    path : str or Path
    image : ndarray (h, w)
        Written as mode 0 (int8), 12 (float16) or else 2 (float32); row 0 is stored first.
    pixel_size_angstrom : float or None
        None leaves the voxel size 0, which means unknown.

    Raises
    ------
    InvalidInputError
        The image is not a non-empty (h, w), or has pixels that are not finite.
    OutputError
        The file cannot be written.
    """
    import mrcfile

    if image.ndim != 2 or image.size == 0:
        raise InvalidInputError(f"{path}: an image of shape {image.shape} was given; give one (height, width)")
    if not np.isfinite(image).all():
        raise InvalidInputError(f"{path}: the image given has NaN or infinite pixels; replace them")
    dtype = image.dtype if image.dtype in (np.dtype(np.int8), np.dtype(np.float16)) else np.dtype(np.float32)
    with atomic_write(path) as temporary, mrcfile.new(temporary) as file:
        file.set_data(np.ascontiguousarray(image, dtype=dtype))
        file.voxel_size = pixel_size_angstrom or 0.0
        file.header.label[:] = b""  # mrcfile's own label holds the time
        file.header.label[0] = b"HydraPicker"
        file.header.nlabl = 1


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(3)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    return cast("IO[bytes]", bz2.BZ2File(file)) if magic == b"BZh" else file


def _read_at_most(path: Path, stream: IO[bytes], count: int) -> bytearray:
    """Up to ``count`` bytes; memory grows with what is there, not with what is asked for."""
    data = bytearray()
    try:
        while len(data) < count and (chunk := stream.read(min(_CHUNK_BYTES, count - len(data)))):
            data += chunk
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # gzip and bz2 give damage no number
            raise
        raise MicrographError(f"{path}: compressed data are damaged or cut off ({error}); copy it again") from error
    return data


def _layout(path: Path, raw: bytearray) -> MrcLayout:
    from mrcfile import utils
    from mrcfile.dtypes import HEADER_DTYPE

    if len(raw) < _HEADER_BYTES or bytes(raw[208:211]) != b"MAP":
        raise MicrographError(f"{path}: not an MRC file (no MAP mark in its header); convert it to MRC2014 or TIFF")
    order = _byte_order(raw)
    header = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
    height, width, sections = (int(header[name]) for name in ("ny", "nx", "nz"))
    mode, extended = int(header["mode"]), int(header["nsymbt"])
    if mode in (3, 4):
        raise MicrographError(f"{path}: holds complex numbers (MRC mode {mode}); give the image, not its transform")
    if mode not in _READABLE_MODES:
        raise MicrographError(
            f"{path}: MRC mode {mode} cannot be read; convert it to one of {', '.join(map(str, _READABLE_MODES))}"
        )
    if min(height, width, sections) < 1 or extended < 0 or height * width > MAX_PIXELS:
        raise MicrographError(
            f"{path}: header claims {width} x {height} x {sections} pixels and {extended} bytes of extended header;"
            " it is damaged, copy or write the file again"
        )
    if sections > 1:
        raise MicrographError(
            f"{path}: holds a stack of {sections} images where one is expected;"
            " give motion-corrected micrographs, one per file"
        )
    dtype = utils.dtype_from_mode(mode).newbyteorder(order)
    if mode == 0 and _has_unsigned_bytes(raw, order):
        dtype = np.dtype(np.uint8)
    return MrcLayout(height, width, _pixel_size(header), dtype, _HEADER_BYTES + extended)


def _byte_order(raw: bytearray) -> str:
    """By the machine stamp; where that is missing or wrong, the order in which the mode makes sense."""
    from mrcfile import utils

    try:
        stated = str(utils.byte_order_from_machine_stamp(raw[212:216]))
    except ValueError:
        stated = "<"
    other = ">" if stated == "<" else "<"
    modes = {order: int(np.frombuffer(raw[12:16], f"{order}i4")[0]) for order in (stated, other)}
    known = (*_READABLE_MODES, 3, 4)
    return other if modes[stated] not in known and modes[other] in known else stated


def _has_unsigned_bytes(raw: bytearray, order: str) -> bool:
    """Mode 0 is signed, unless IMOD's stamp is there without its flag for signed bytes (IMOD's mrc_format.txt)."""
    stamp, flags = np.frombuffer(raw[_IMOD_STAMP_AT : _IMOD_STAMP_AT + 8], f"{order}i4").tolist()
    return bool(stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES)


def _pixel_size(header: Any) -> float | None:
    """Cell length over sampling in Angstrom; None where it is 0, nonsense, or not the same along x and y."""
    mx, my = int(header["mx"]), int(header["my"])
    if mx < 1 or my < 1:
        return None
    x, y = float(header["cella"]["x"]) / mx, float(header["cella"]["y"]) / my
    if not (np.isfinite([x, y]).all() and x > 0 and abs(x - y) <= 0.01 * x):
        return None
    return float(f"{x:.6g}")  # the header holds float32 cell lengths: 6 digits are all it knows


def _check_length(path: Path, layout: MrcLayout, found: int) -> None:
    if found < layout.total_bytes:
        raise MicrographError(
            f"{path}: truncated or damaged: header claims {layout.width} x {layout.height} pixels,"
            f" {layout.total_bytes} bytes in all, and {found} are there; copy it again"
        )
