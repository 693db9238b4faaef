"""Micrographs with something to see, and picks of all scores on them."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.files import Particles, write_combined_star

PIXEL = 2.0
DIAMETER = 40.0
SHAPE = (140, 220)


def some_picks(seed: int, count: int, shape: tuple[int, int] = SHAPE) -> Particles:
    """At places and with scores that a STAR file holds exactly, some of the scores equal."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, [shape[1] - 1, shape[0] - 1], (count, 2)).round(2).astype(np.float32)
    return Particles(xy, rng.uniform(0.01, 1, count).round(2).astype(np.float32), PIXEL)


def write_micrograph(path: Path, seed: int, shape: tuple[int, int] = SHAPE) -> None:
    """Noise, and a dark quarter in a corner that the seed says."""
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    rows, columns = shape[0] // 2, shape[1] // 2
    top, left = divmod(seed % 4, 2)
    image[top * rows : (top + 1) * rows, left * columns : (left + 1) * columns] -= 20
    path.parent.mkdir(exist_ok=True)
    with mrcfile.new(path, image, overwrite=True) as file:
        file.voxel_size = PIXEL


def make_lab(folder: Path) -> None:
    """picks.star names six micrographs, one of them missing in mics/ and one with two picks; a seventh is in mics/."""
    picks = {f"mics/m{i}.mrc": some_picks(i, 30 + 25 * i) for i in range(5)} | {"mics/gone.mrc": some_picks(9, 12)}
    picks["mics/m4.mrc"] = some_picks(4, 2)
    for i in range(6):
        write_micrograph(folder / "mics" / f"m{i}.mrc", i)
    write_combined_star(folder / "picks.star", picks, None)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_lab(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all tests of a module, which do not change it."""
    folder = tmp_path_factory.mktemp("lab")
    make_lab(folder)
    return folder
