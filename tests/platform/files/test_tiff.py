"""TIFF files as tifffile writes them, in stored order, and every way they can be bad."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hydrapicker.errors import MicrographError
from hydrapicker.files import read_header, read_micrograph

RNG = np.random.default_rng(3)
IMAGE = (RNG.random((30, 50)) * 100 + np.arange(50)).astype(np.float32)


def message_or_none(path: Path) -> str | None:
    try:
        read_micrograph(path)
    except MicrographError as error:
        return str(error)
    return None


def refusal(path: Path, caplog: pytest.LogCaptureFixture) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MicrographError) as caught:
            read_micrograph(path)
    assert caplog.records == []
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_grey_images_read_in_stored_order(tmp_path: Path, suffix: str, dtype: str, compression: str | None) -> None:
    path = tmp_path / f"a{suffix}"
    tifffile.imwrite(path, IMAGE.astype(dtype), compression=compression, rowsperstrip=7)
    micrograph, header = read_micrograph(path), read_header(path)
    assert micrograph.image.dtype == np.float32
    np.testing.assert_array_equal(micrograph.image, IMAGE.astype(dtype).astype(np.float32))
    assert (header.height, header.width, header.pixel_size_angstrom) == (30, 50, None)


def test_tiles_one_section_volumes_and_thumbnails(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, tile=(16, 16))
    np.testing.assert_array_equal(read_micrograph(path).image, IMAGE)
    tifffile.imwrite(path, IMAGE[None])
    np.testing.assert_array_equal(read_micrograph(path).image, IMAGE)
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE, subifds=0)
        file.write(IMAGE[::4, ::4], subfiletype=1)
    np.testing.assert_array_equal(read_micrograph(path).image, IMAGE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (28.35, 28.35), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (1e8 / 1.25, 1e8 / 1.25), "resolutionunit": "CENTIMETER"}, 1.25),
        ({"resolution": (1e8 / 1.25, 1e8 / 2.5), "resolutionunit": "CENTIMETER"}, None),
        ({"imagej": True, "resolution": (8.0, 8.0), "metadata": {"unit": "nm"}}, 1.25),
        ({"imagej": True, "resolution": (8000.0, 8000.0), "metadata": {"unit": "um"}}, 1.25),
        ({"imagej": True, "resolution": (8.0, 8.0), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (8.0, 8.0)}, None),
    ],
)
def test_pixel_size_only_where_it_is_unambiguous(tmp_path: Path, options: dict, expected: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, **options)
    found = read_header(path).pixel_size_angstrom
    assert found == (expected and pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"truncate": True, "contiguous": True}])
def test_stacks_say_how_many(tmp_path: Path, options: dict, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.random((5, 12, 14), dtype=np.float32), **options)
    assert "a stack of 5 images" in refusal(path, caplog)


def test_colour_complex_nan_and_constant_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 255, (12, 14, 3), dtype=np.uint8), photometric="rgb")
    assert "3 value(s) of type uint8 per pixel" in refusal(path, caplog)
    tifffile.imwrite(path, IMAGE.astype(np.complex64))
    assert "type complex64" in refusal(path, caplog)
    tifffile.imwrite(path, np.where(IMAGE > 100, np.nan, IMAGE).astype(np.float32))
    assert f"{(IMAGE > 100).sum()} of 1500 pixels are NaN" in refusal(path, caplog)
    tifffile.imwrite(path, np.full((4, 5), 1e300) * np.arange(1, 5)[:, None])
    assert "20 of 20 pixels are NaN or infinite" in refusal(path, caplog)
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8))
    assert "every pixel is 0" in refusal(path, caplog)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_and_foreign_files(tmp_path: Path, compression: str | None, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, compression=compression, rowsperstrip=5)
    whole = path.read_bytes()
    for keep in (4, 20, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        assert "damaged" in refusal(path, caplog)
    path.write_bytes(b"no TIFF" * 100)
    assert "not a TIFF file" in refusal(path, caplog)
    path.write_bytes(b"")
    assert "empty file" in refusal(path, caplog)


def test_any_mutated_file_reads_or_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE[:8, :9], compression="zlib", rowsperstrip=3)
    whole = path.read_bytes()
    messages = []
    for _ in range(200):
        data = bytearray(whole)
        for at in RNG.integers(0, len(whole), 3):
            data[at] = RNG.integers(0, 256)
        path.write_bytes(data)
        messages.append(message_or_none(path))
    assert None in messages
    assert any(messages)
    assert not any("\n" in message for message in messages if message)


@pytest.mark.parametrize("reduced", [0, 1], ids=["images", "thumbnails"])
def test_a_chain_of_pages_that_bites_its_own_tail(tmp_path: Path, reduced: int) -> None:
    """tifffile follows it for ever: the page is its own next one, as an image or as a thumbnail of itself."""
    path = tmp_path / "loop.tif"
    tifffile.imwrite(path, np.random.default_rng(0).random((8, 9), dtype=np.float32), subfiletype=reduced)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (tags,) = struct.unpack("<H", data[first : first + 2])
    data[first + 2 + 12 * tags : first + 6 + 12 * tags] = struct.pack("<I", first)
    path.write_bytes(data)
    for read in (read_header, read_micrograph):
        with pytest.raises(MicrographError, match=r"loop\.tif: holds (a stack of \d+ images|2000 pages or more)"):
            read(path)
