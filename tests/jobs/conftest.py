"""Datasets and a finished training, shared by the tests of the whole product."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import TRAIN, make_datasets

from hydrapicker.cli import main


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        for variable in ("HYDRAPICKER_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(scope="session")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two source datasets, ``a`` and ``b``, and a new one, ``c.new``."""
    folder = tmp_path_factory.mktemp("lab")
    with working_in(folder):
        make_datasets([("a", "shell", 1), ("b", "barrel", 2), ("c.new", "disc", 3)])
    return folder


@pytest.fixture(scope="module")
def lab(lab_folder: Path) -> Iterator[Path]:
    """The laboratory's folder, in which the tests of a module work."""
    with working_in(lab_folder):
        yield lab_folder
        import ray

        ray.shutdown()


@pytest.fixture(scope="session")
def trained_folder(lab_folder: Path) -> Path:
    """The laboratory after the training ``first`` on ``a`` and ``b``."""
    with working_in(lab_folder):
        assert main([*TRAIN, "--run-name", "first"]) == 0
    return lab_folder


@pytest.fixture
def trained(trained_folder: Path, lab: Path) -> Path:
    """The laboratory's folder after its first training."""
    assert trained_folder == lab
    return lab
