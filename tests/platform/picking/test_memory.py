"""What a large micrograph costs in memory, by the operating system's account of a process that reads it."""

import json
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

SHAPE = (3600, 5000)
SLACK_BYTES = 64 * 2**20
"""For bands of rows, the micrograph at scale, and what of torch comes in with the first one."""

# The high-water mark of resource.getrusage() is inherited from the parent, and can not be set back.
PROGRAM = """
import ctypes, json, re, sys
from pathlib import Path
from hydrapicker import load_head
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.one import read_file

def memory(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

picker = load_head("any")
config = PickConfig(("x",), Path("out"), head="any", pixel_size_angstrom=1.0, diameter_angstrom=240.0)
grown = {}
for name in ["small.mrc", *sys.argv[1:]]:
    ctypes.CDLL(None).malloc_trim(0)  # or the next file would take what the one before has left
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    found = read_file(picker, Path(name), name, config)
    assert max(found.at_scale.prepared.image.shape) < 500, found
    del found
    grown[name] = memory("VmHWM") - before
print(json.dumps(grown))
"""


def write(path: Path, image: np.ndarray) -> None:
    if path.suffix == ".tif":
        tifffile.imwrite(path, image, compression="zlib")
    else:
        mrcfile.write(path, image)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak since a moment")
def test_reading_takes_the_stored_pixels_and_one_float32_copy(here: Path) -> None:
    random, bounds = np.random.default_rng(0), {}
    for dtype, suffix in (
        ("float32", ".mrc"),
        ("uint16", ".mrc"),
        ("float16", ".mrc"),
        ("int8", ".mrc"),
        ("uint16", ".tif"),
    ):
        rows = random.integers(0, 100, (400, SHAPE[1])).astype(dtype)
        image = np.concatenate([np.roll(rows, number * 31, axis=1) for number in range(SHAPE[0] // 400)])
        name = f"{dtype}{suffix}"
        write(Path(name), image)
        as_stored = image.nbytes if dtype != "float32" else 0  # float32 is used as it was read
        compressed = Path(name).stat().st_size if suffix == ".tif" else 0
        bounds[name] = as_stored + compressed + 4 * image.size + SLACK_BYTES
    write(Path("small.mrc"), image[:400, :400].astype(np.float32))
    command = [sys.executable, "-c", PROGRAM, *bounds]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)
    for name, bound in bounds.items():
        assert 0.9 * 4 * SHAPE[0] * SHAPE[1] < grown[name] < bound, (name, grown, bounds)
