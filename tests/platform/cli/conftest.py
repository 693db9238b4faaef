"""The command line as users meet it: in a folder of their own, with nothing configured."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.cli import main

PROGRESS = re.compile(r"ingest \d+/\d+ ")
"""A line that tells how far an ingest has got, where it is no terminal that is told."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refusal(self, code: int = 1) -> str:
        """The one line that says what was wrong."""
        assert self.code == code, self
        assert self.err.endswith("\n")
        lines = [line for line in self.err.splitlines() if not PROGRESS.match(line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith(("hydrapicker ", "hydrapicker: ")), self.err
        return lines[0]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with three micrographs of 2 Angstrom per pixel and their particles."""
    for name in ("HYDRAPICKER_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "lab"
    (folder / "mics").mkdir(parents=True)
    monkeypatch.chdir(folder)
    random = np.random.default_rng(5)
    lines = ["data_", "loop_", "_rlnMicrographName #1", "_rlnCoordinateX #2", "_rlnCoordinateY #3"]
    for name in "abc":
        write(folder / "mics" / f"{name}.mrc", random.normal(size=(90, 120)))
        lines += [f"mics/{name}.mrc {x:.2f} {y:.2f}" for x, y in random.uniform(0, [119, 89], (4, 2))]
    (folder / "particles.star").write_text("\n".join(lines) + "\n")
    return folder


def write(path: Path, image: np.ndarray, pixel_size: float = 2.0) -> None:
    with mrcfile.new(path, image.astype(np.float32), overwrite=True) as file:
        file.voxel_size = pixel_size


@pytest.fixture(name="write")
def write_fixture() -> Callable[..., None]:
    return write


@pytest.fixture
def hydrapicker(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code: object = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        shown = capsys.readouterr()
        return Ended(int(str(code)), shown.out, shown.err)

    return run


@pytest.fixture
def ingest(lab: Path, hydrapicker: Callable[..., Ended]) -> Callable[..., Ended]:
    """Run ``hydrapicker ingest`` on the laboratory's files; options given later win."""

    def run(*options: object, name: str = "toy") -> Ended:
        given = {"--micrographs": "mics/*.mrc", "--particles": "particles.star", "--diameter-angstrom": "24"}
        given |= {"--workers": "1"} | dict(zip(map(str, options[::2]), options[1::2], strict=True))
        return hydrapicker("ingest", name, *(part for pair in given.items() for part in pair))

    return run
