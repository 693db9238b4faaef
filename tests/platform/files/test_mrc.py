"""MRC files against mrcfile, an independent writer and reader, and against every way a file can be bad."""

import bz2
import gzip
import struct
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files import read_header, read_micrograph, write_mrc

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
RNG = np.random.default_rng(7)


def asymmetric(dtype: type = np.float32, shape: tuple[int, int] = (30, 50)) -> np.ndarray:
    return (RNG.random(shape) * 100 + np.arange(shape[1]) / 10).astype(dtype)


def written_by_mrcfile(path: Path, image: np.ndarray, voxel: float = 1.25, compression: str | None = None) -> Path:
    with mrcfile.new(path, compression=compression) as file:
        file.set_data(image)
        file.voxel_size = voxel
    return path


def with_header(path: Path, at: int, fmt: str, *values: float) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, at, *values)
    path.write_bytes(data)
    return path


def message_or_none(path: Path) -> str | None:
    try:
        read_micrograph(path)
    except MicrographError as error:
        return str(error)
    return None


def refusal(path: Path, *, header_too: bool = True) -> str:
    """The one line that reading gives; no warning may escape."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MicrographError) as caught:
            read_micrograph(path)
        if header_too:
            with pytest.raises(MicrographError):
                read_header(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".mrc", ".MRC", ".mrcs", ".rec", ".map"])
def test_every_mode_and_suffix_reads_as_mrcfile_wrote_it(tmp_path: Path, mode: int, suffix: str) -> None:
    image = asymmetric(MODES[mode])
    path = written_by_mrcfile(tmp_path / f"a{suffix}", image)
    assert int(mrcfile.open(path, header_only=True).header.mode) == mode
    micrograph, header = read_micrograph(path), read_header(path)
    assert micrograph.image.dtype == np.float32
    assert micrograph.image.flags.writeable
    np.testing.assert_array_equal(micrograph.image, image.astype(np.float32))
    assert (header.height, header.width) == (30, 50)
    assert header.pixel_size_angstrom == micrograph.pixel_size_angstrom == 1.25


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", ".mrc.gz"), ("bzip2", ".mrc.bz2"), ("gzip", ".mrc")])
def test_compressed_files_are_told_by_content(tmp_path: Path, compression: str, suffix: str) -> None:
    image = asymmetric()
    path = written_by_mrcfile(tmp_path / f"a{suffix}", image, compression=compression)
    np.testing.assert_array_equal(read_micrograph(path).image, image)
    assert read_header(path).width == 50


@pytest.mark.parametrize("stamp", [b"\x11\x11\0\0", b"\0\0\0\0", b"DD\0\0"])
def test_big_endian_files_are_read_even_with_a_missing_or_wrong_stamp(tmp_path: Path, stamp: bytes) -> None:
    image = asymmetric(np.int16)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(image.astype(">i2"))
    with_header(path, 212, "4s", stamp)
    np.testing.assert_array_equal(read_micrograph(path).image, image)


def test_extended_headers_are_skipped_and_a_volume_of_one_section_is_an_image(tmp_path: Path) -> None:
    image = asymmetric()
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(image[None])
        file.set_extended_header(np.zeros(512, dtype="V1"))
    np.testing.assert_array_equal(read_micrograph(path).image, image)


def test_imod_bytes_are_unsigned_unless_flagged(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", np.array([[-1, 1], [2, -128]], np.int8))
    with_header(path, 152, "<ii", 1146047817, 0)
    np.testing.assert_array_equal(read_micrograph(path).image, [[255, 1], [2, 128]])
    with_header(path, 152, "<ii", 1146047817, 1)
    np.testing.assert_array_equal(read_micrograph(path).image, [[-1, 1], [2, -128]])


@pytest.mark.parametrize(
    ("voxel", "expected"), [(0.0, None), (1.0, 1.0), (0.832, 0.832), (-1.0, None), (float("nan"), None)]
)
def test_a_voxel_size_of_zero_is_unknown_and_of_one_is_one(
    tmp_path: Path, voxel: float, expected: float | None
) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric(), voxel=1.0)
    with_header(path, 40, "<fff", voxel * 50, voxel * 30, voxel)
    assert read_header(path).pixel_size_angstrom == expected


def test_unequal_pixel_sizes_and_a_zero_sampling_are_unknown(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric())
    with_header(path, 40, "<ff", 50.0, 60.0)
    assert read_header(path).pixel_size_angstrom is None
    with_header(path, 28, "<ii", 0, 0)
    assert read_header(path).pixel_size_angstrom is None


@pytest.mark.parametrize(
    ("dtype", "mode"), [(np.float32, 2), (np.float16, 12), (np.int8, 0), (np.float64, 2), (np.uint16, 2)]
)
def test_written_files_are_what_mrcfile_calls_valid(tmp_path: Path, dtype: type, mode: int) -> None:
    image = (asymmetric(np.float64) / 5).astype(dtype)  # small: mrcfile.validate adds up float16 in float16
    path = tmp_path / "new" / "a.mrc"
    write_mrc(path, image, 1.7)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert int(file.header.mode) == mode
        np.testing.assert_array_equal(file.data, image.astype(file.data.dtype))
        assert float(file.voxel_size.x) == pytest.approx(1.7)
    assert read_header(path).pixel_size_angstrom == 1.7
    first = path.read_bytes()
    write_mrc(path, image, 1.7)
    assert path.read_bytes() == first
    write_mrc(path, image, None)
    assert read_header(path).pixel_size_angstrom is None


def test_images_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for image in (np.zeros((2, 3, 4)), np.zeros((0, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(InvalidInputError):
            write_mrc(tmp_path / "a.mrc", image, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_missing_empty_foreign_and_unknown_files(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.mrc")
    (tmp_path / "dir.mrc").mkdir()
    assert "not a file" in refusal(tmp_path / "dir.mrc")
    empty, text, short, jpeg = (tmp_path / name for name in ("e.mrc", "t.mrc", "s.mrc", "a.jpg"))
    empty.write_bytes(b"")
    text.write_bytes(b"not an image at all\n" * 200)
    short.write_bytes(b"\0" * 100)
    jpeg.write_bytes(b"\xff\xd8" * 1000)
    assert "empty file" in refusal(empty)
    assert "not an MRC file" in refusal(text)
    assert "not an MRC file" in refusal(short)
    assert "unknown suffix" in refusal(jpeg)


def test_truncated_files(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric())
    whole = path.read_bytes()
    for keep in (1024, 1025, len(whole) - 1):
        path.write_bytes(whole[:keep])
        assert f"truncated or damaged: header claims 50 x 30 pixels, 7024 bytes in all, and {keep}" in refusal(path)
    path.write_bytes(whole + b"\0" * 10)
    assert read_micrograph(path).image.shape == (30, 50)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_truncated_compressed_files(tmp_path: Path, compress: object) -> None:
    whole = written_by_mrcfile(tmp_path / "whole.mrc", asymmetric()).read_bytes()
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(compress(whole[:-1]))  # type: ignore[operator]
    assert "truncated" in refusal(path, header_too=False)
    path.write_bytes(compress(whole)[:-100])  # type: ignore[operator]
    assert "damaged or cut off" in refusal(path, header_too=False)
    for at, content in ((-7, whole), (3000, whole), (-7, whole + bytes(5000))):  # in the checksum, in the pixels
        damaged = bytearray(compress(content))  # type: ignore[operator]
        damaged[at] ^= 16
        path.write_bytes(damaged)
        assert "damaged" in refusal(path, header_too=False)


def test_stacks_say_how_many(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrcs", RNG.random((7, 8, 9), dtype=np.float32))
    assert "a stack of 7 images where one is expected; give" in refusal(path)


def test_complex_and_unknown_modes(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric(np.complex64))
    assert "complex numbers (MRC mode 4)" in refusal(path)
    assert "complex numbers (MRC mode 3)" in refusal(with_header(path, 12, "<i", 3))
    assert "MRC mode 101 cannot be read" in refusal(with_header(path, 12, "<i", 101))


@pytest.mark.parametrize(
    ("at", "values"),
    [(0, (2**31 - 1, 2**31 - 1)), (0, (0, 30)), (0, (-5, 30)), (8, (0,)), (92, (-1,)), (0, (10**6, 10**6))],
)
def test_absurd_headers_are_refused_before_anything_is_allocated(
    tmp_path: Path, at: int, values: tuple[int, ...]
) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric())
    with_header(path, at, f"<{len(values)}i", *values)
    packed = tmp_path / "b.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "damaged" in refusal(path)
    assert "damaged" in refusal(packed)


def test_large_but_possible_claims_cost_no_memory(tmp_path: Path) -> None:
    import resource

    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric())
    with_header(path, 0, "<ii", 32768, 32768)
    packed = tmp_path / "b.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "truncated" in refusal(path)
    assert "truncated" in refusal(packed, header_too=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; the claim is 4 GB
    assert "truncated" in refusal(with_header(path, 92, "<i", 2**31 - 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_nan_inf_and_constant_images(tmp_path: Path, dtype: type) -> None:
    image = asymmetric(dtype)
    path = tmp_path / "a.mrc"
    image[2, 3] = np.nan
    image[4, 5:7] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written_by_mrcfile(path, image)
    assert "3 of 1500 pixels are NaN or infinite" in refusal(path, header_too=False)
    other = written_by_mrcfile(tmp_path / "b.mrc", np.full((4, 5), 2.5, dtype))
    assert "every pixel is 2.5" in refusal(other, header_too=False)


def test_any_mutated_header_reads_or_is_refused_in_one_line(tmp_path: Path) -> None:
    path = written_by_mrcfile(tmp_path / "a.mrc", asymmetric(np.int16, (8, 9)))
    whole = path.read_bytes()
    messages = []
    for _ in range(400):
        data = bytearray(whole)
        for at in RNG.integers(0, 260, 3):
            data[at] = RNG.integers(0, 256)
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            messages.append(message_or_none(path))
    assert None in messages
    assert any(messages)
    assert not any("\n" in message for message in messages if message)
