"""What we write, read by the programs' own readers, where these are installed (no part of our own dependencies).

``pip install --no-deps topaz-em cryosparc-tools pystardb``, with ``future`` and ``h5py`` for Topaz.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hydrapicker.files import Particles, read_particles, write_picks

PATTERN = np.array([[10, 5], [80, 7], [33, 50]], np.float32)
SCORE = np.array([0.75, 0.5, 0.25], np.float32)
NAMES = ("mics/a.mrc", "mics/b.mrc")
PARTICLES = {name: Particles(PATTERN, SCORE, 1.5, shape=(60, 100), box_px=21.0) for name in NAMES}


@pytest.fixture
def topaz() -> Callable[..., None]:
    pytest.importorskip("topaz", reason="Topaz is not installed: pip install --no-deps topaz-em future h5py")
    return run_topaz


def run_topaz(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "topaz.commands.convert", *map(str, arguments)], check=True)


def test_topaz_convert_reads_our_tables_star_and_box_files(topaz: Callable[..., None], tmp_path: Path) -> None:
    write_picks("topaz", tmp_path / "p.txt", PARTICLES)
    write_picks("star", tmp_path / "p.star", PARTICLES)
    boxes = write_picks("box", tmp_path / "boxes", PARTICLES)
    rows = [f"\t{x:.0f}\t{y:.0f}" for x, y in PATTERN]
    for source, folder, ends in (
        ([tmp_path / "p.txt"], "", ["\t0.75", "\t0.5", "\t0.25"]),
        ([tmp_path / "p.star"], "mics/", ["\t0.75", "\t0.5", "\t0.25"]),
        (boxes, "", ["", "", ""]),
    ):
        topaz(*source, "--to", "coord", "-o", tmp_path / "out.txt")
        lines = (tmp_path / "out.txt").read_text().splitlines()[1:]
        assert lines == [
            f"{folder}{stem}{row}{end}" for stem in ("a", "b") for row, end in zip(rows, ends, strict=True)
        ]


def test_we_read_what_topaz_convert_writes(topaz: Callable[..., None], tmp_path: Path) -> None:
    write_picks("topaz", tmp_path / "p.txt", PARTICLES)
    topaz(tmp_path / "p.txt", "-o", tmp_path / "out.star")
    found = read_particles(tmp_path / "out.star")
    assert list(found) == ["a.mrc", "b.mrc"]
    np.testing.assert_array_equal(found["a.mrc"].xy, PATTERN)
    np.testing.assert_array_equal(found["b.mrc"].score, SCORE)  # type: ignore[arg-type]
    (tmp_path / "boxes").mkdir()
    topaz(tmp_path / "p.txt", "--to", "box", "--boxsize", 21, "-o", tmp_path / "boxes")
    np.testing.assert_array_equal(read_particles(tmp_path / "boxes")["b"].xy, PATTERN)


def test_cryosparcs_own_dataset_reads_our_cs_file_and_we_read_its(tmp_path: Path) -> None:
    dataset = pytest.importorskip(
        "cryosparc.dataset", reason="cryosparc-tools is not installed: pip install --no-deps cryosparc-tools"
    )
    write_picks("cs", tmp_path / "p.cs", PARTICLES)
    loaded = dataset.Dataset.load(tmp_path / "p.cs")
    assert [str(name) for name in loaded["location/micrograph_path"]] == [NAMES[0]] * 3 + [NAMES[1]] * 3
    np.testing.assert_allclose(loaded["location/center_x_frac"][:3], PATTERN[:, 0] / 100, rtol=1e-6)
    np.testing.assert_allclose(loaded["location/center_y_frac"][:3], PATTERN[:, 1] / 60, rtol=1e-6)
    loaded.save(tmp_path / "again.cs")
    found = read_particles(tmp_path / "again.cs")
    np.testing.assert_allclose(found[NAMES[1]].xy, PATTERN, atol=1e-4)


def test_cryolos_own_reader_reads_our_cbox_file(tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "pyStarDB.sp_pystardb", reason="crYOLO's pyStarDB is not installed: pip install --no-deps pystardb"
    )
    (path, _) = write_picks("cbox", tmp_path, PARTICLES)
    blocks = reader.StarFile(str(path))
    assert list(blocks) == ["global", "cryolo", "cryolo_include"]
    table = blocks["cryolo"]
    np.testing.assert_allclose(table["_CoordinateX"] + table["_Width"] / 2, PATTERN[:, 0])
    np.testing.assert_allclose(table["_CoordinateY"] + table["_Height"] / 2, PATTERN[:, 1])
    np.testing.assert_allclose(table["_Confidence"], SCORE)
    assert len(blocks["cryolo_include"]["_slice_index"]) == 0
