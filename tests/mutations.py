"""Files damaged in every way that comes to mind, and a judge of what is made of them.

``python mutations.py FIRST COUNT`` reads damaged files FIRST to FIRST + COUNT - 1 with little more address
space than the libraries take, and prints a JSON report. Which file a number means depends on nothing else.
"""

import bz2
import gzip
import json
import re
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import mrcfile
import numpy as np
import tifffile

from hydrapicker.errors import HydraPickerError
from hydrapicker.files import FORMATS, Particles, read_header, read_micrograph, read_particles, write_picks

SECONDS_PER_FILE = 10
"""Of this process's own, so that a busy machine is no fault; who waits for it watches the clock."""

SPARE_BYTES = 768 * 2**20
"""Address space beyond what the libraries and the undamaged files took; not all of it is ever touched."""

NUMBERS = (
    "nan", "-nan", "inf", "1e400", "-1e30", "1e-400", "0", "-0", "-1", "1000000000000", "9" * 400, "0x10", "1_0", "",
    "abc", "<NA>", "None", "1,5", "\u0661\u0662", "\ufeff1", "'", '"', "#", "_rlnCoordinateX", "loop_", "data_", ";",
    "\t", "\0",
)  # fmt: skip
EXTREMES = tuple(
    struct.pack(code, value)
    for code, value in (
        ("<i", 0), ("<i", -1), ("<i", 2**31 - 1), ("<i", -(2**31)), ("<I", 10**6), ("<q", 10**12), ("<q", -1),
        ("<q", 2**63 - 1), ("<f", float("nan")), ("<f", float("inf")), ("<f", 3e38), ("<d", float("nan")), ("<h", 4),
        ("<h", 0), ("<h", 32767), ("<i", 3), ("<H", 65535), ("<f", 1e12),
    )
)  # fmt: skip


def undamaged(folder: Path) -> list[Path]:
    """Sound files of every format, in ``folder``."""
    random = np.random.default_rng(0)
    parts = {
        f"mics/{name}": Particles(
            (random.random((count, 2)) * 90).astype(np.float32), random.random(count).astype(np.float32), 1.5,
            shape=(96, 120), box_px=21.0,
        )
        for name, count in (("a.mrc", 12), ("b c.mrc", 5), ("d.mrc", 9))
    }  # fmt: skip
    made = []
    for form in FORMATS:
        made += write_picks(form, folder / form, parts)
    made.append(write_picks("star", folder / "particles.star", parts)[0])
    image = (random.normal(size=(48, 64)) * 20 + 100).astype(np.float32)
    for dtype in (np.int8, np.int16, np.uint16, np.float16, np.float32):
        with mrcfile.new(folder / f"{np.dtype(dtype)}.mrc", image.astype(dtype)) as file:
            file.voxel_size = 1.5
        made.append(folder / f"{np.dtype(dtype)}.mrc")
    for suffix, compression in ((".mrc.gz", "gzip"), (".mrc.bz2", "bzip2")):
        with mrcfile.new(folder / f"c{suffix}", image, compression=compression):
            made.append(folder / f"c{suffix}")
    options: dict[str, dict[str, object]] = {
        "plain": {}, "lzw": {"compression": "lzw"}, "zlib": {"compression": "zlib", "predictor": True},
        "tiled": {"tile": (16, 16)}, "big": {"bigtiff": True}, "strips": {"rowsperstrip": 8},
        "imagej": {"imagej": True}, "zstd": {"compression": "zstd"}, "order": {"byteorder": ">"},
    }  # fmt: skip
    for name, option in options.items():
        tifffile.imwrite(folder / f"{name}.tif", image, **option)  # type: ignore[arg-type]
        made.append(folder / f"{name}.tif")
    return made


def liars(folder: Path) -> list[Path]:
    """Short files that claim a million times a million pixels, or a thousand times a thousand million particles."""
    side, many = 10**6, 10**12
    header = bytearray((folder / "float32.mrc").read_bytes()[:1024])
    header[:12] = struct.pack("<3i", side, side, 1)
    page = bytearray((folder / "plain.tif").read_bytes())
    zipped = bytearray((folder / "zlib.tif").read_bytes())
    for data in (page, zipped):  # the tags of width and height come first
        for tag in range(2):
            data[10 + 12 * tag + 2 : 10 + 12 * tag + 12] = struct.pack("<HII", 4, 1, side)
    rows = (folder / "cs" / "picks.cs").read_bytes()
    shape = re.search(rb"\(\d+,\), \}", rows)
    assert shape
    room = shape[0].ljust(len(str(many)) + 6)
    claimed = rows.replace(room, f"({many},), }}".encode().ljust(len(room)))
    dense = 2**30 // 8
    files = {
        "lie.mrc": bytes(header) + bytes(1000), "lie.mrc.gz": gzip.compress(bytes(header) + bytes(1000)),
        "lie.tif": bytes(page), "zipped.tif": bytes(zipped), "lie.cs": claimed,
        # Within all limits of a header, and still far more than is there.
        "dense.mrc.bz2": bz2.compress(struct.pack("<3i", dense // 1024, 8192, 1) + bytes(header[12:]) + bytes(1000)),
    }  # fmt: skip
    assert claimed != rows
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def damaged(data: bytes, text: bool, random: np.random.Generator) -> bytes:
    """One to three damages, one after the other."""
    for _ in range(int(random.integers(1, 4))):
        ways = _TEXT_WAYS if text and random.random() < 0.7 else _BINARY_WAYS
        data = ways[int(random.integers(len(ways)))](data, random)
    return data


def _cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def _flip(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9)) if changed else 0):
        changed[_place(changed, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwrite(data: bytes, random: np.random.Generator) -> bytes:
    """A number in the header, or anywhere, becomes an extreme one."""
    value, changed = EXTREMES[int(random.integers(len(EXTREMES)))], bytearray(data)
    at = _place(changed, random) & ~1
    changed[at : at + len(value)] = value
    return bytes(changed)


def _noise(data: bytes, random: np.random.Generator) -> bytes:
    at, count = _place(data, random), int(random.integers(1, 65))
    return data[:at] + random.bytes(count) + data[at + count * int(random.integers(2)) :]


def _repeat(data: bytes, random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at : at + 256] * int(random.integers(2, 50)) + data[at:]


def _drop(data: bytes, random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 200)) :]


def _place(data: bytes | bytearray, random: np.random.Generator) -> int:
    """Half of the time among the first bytes, where headers are, or the last, where Parquet's is."""
    if len(data) == 0:
        return 0
    near = int(random.integers(min(len(data), 256)))
    return (near, len(data) - 1 - near, *[int(random.integers(len(data)))] * 2)[int(random.integers(4))]


def _field(data: bytes, random: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    at = int(random.integers(len(lines)))
    separator = b"," if b"," in lines[at] else b"\t" if b"\t" in lines[at] else b" "
    words = lines[at].split(separator)
    words[int(random.integers(len(words)))] = NUMBERS[int(random.integers(len(NUMBERS)))].encode()
    lines[at] = separator.join(words)
    return b"\n".join(lines)


def _swap_lines(data: bytes, random: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    a, b = (int(random.integers(len(lines))) for _ in range(2))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def _lose_line(data: bytes, random: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    del lines[int(random.integers(len(lines)))]
    return b"\n".join(lines)


def _other_ends(data: bytes, random: np.random.Generator) -> bytes:
    return data.replace(b"\n", (b"\r\n", b"\r", b"\x0c", b"\xe2\x80\xa8")[int(random.integers(4))])


_BINARY_WAYS = (_cut, _flip, _overwrite, _overwrite, _noise, _repeat, _drop)
_TEXT_WAYS = (_field, _field, _field, _swap_lines, _lose_line, _other_ends, _cut)
_TEXT_SUFFIXES = (".star", ".box", ".cbox", ".txt", ".csv")


class _TooSlowError(BaseException):
    """No ordinary ``except`` catches it."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _TooSlowError


def judge(path: Path) -> str:
    """Read a file as what its suffix says; "read" or "refused", anything else is a fault."""
    read: Callable[[Path], object] = read_particles
    if path.suffix in (".mrc", ".gz", ".bz2", ".tif"):
        read = lambda path: (read_header(path), read_micrograph(path))  # noqa: E731
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
    try:
        read(path)
        return "read"
    except HydraPickerError as error:
        message = str(error)
        one_line = len(message.splitlines()) == 1 and message.isprintable() and len(message) < 1000
        return "refused" if one_line and path.name in message else f"not one plain line: {message[:300]!r}"
    except _TooSlowError:
        return f"more than {SECONDS_PER_FILE} s"
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is the finding)
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(first: int, count: int) -> None:
    """Judge the files of these numbers and print the faults, the counts, the slowest and the memory taken."""
    signal.signal(signal.SIGPROF, _stop)
    report: dict[str, object] = {"read": 0, "refused": 0}
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        sound = undamaged(Path(folder))
        assert {judge(path) for path in sound if path.name != "autopick.star"} == {"read"}
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        slowest = 0.0
        for path in liars(Path(folder)):
            if (verdict := judge(path)) != "refused":
                faults[path.name] = verdict
        for number in range(first, first + count):
            random = np.random.default_rng(number)
            source = sound[number % len(sound)]
            path = Path(folder) / f"damaged{''.join(source.suffixes)}"
            path.write_bytes(damaged(source.read_bytes(), source.suffix in _TEXT_SUFFIXES, random))
            # Who watches from outside shall know which file was the last one.
            print(f"{number} {source.name}", file=sys.stderr, flush=True)
            start = time.monotonic()
            verdict = judge(path)
            slowest = max(slowest, time.monotonic() - start)
            if verdict in report:
                report[verdict] = int(str(report[verdict])) + 1
            else:
                faults[f"{number} {source.name}"] = verdict
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({**report, "faults": faults, "slowest_seconds": slowest, "grown_bytes": grown}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
