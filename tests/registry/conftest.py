"""One real MLflow database for all tests of a module, and processes that share one import of everything."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from registry_packages import head_package, trunk_package

from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage, ensure_experiment
from hydrapicker_registry.connection import open_client

MakeTrunk = Callable[..., TrunkPackage]
MakeHead = Callable[..., HeadPackage]


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Put an empty database at a path and return its address; MLflow takes seconds to make one, so it is copied."""
    made = tmp_path_factory.mktemp("empty") / "mlflow.db"
    open_client(f"sqlite:///{made}").search_registered_models()

    def copied(path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, path)
        return f"sqlite:///{path}"

    return copied


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory, fresh_database: Callable[[Path], str]) -> str:
    return fresh_database(tmp_path_factory.mktemp("registry") / "data" / "mlflow.db")


@pytest.fixture(scope="module")
def run_id(tracking_uri: str) -> str:
    from mlflow import MlflowClient

    experiment = ensure_experiment(tracking_uri, "training")
    return str(MlflowClient(tracking_uri).create_run(experiment).info.run_id)


@pytest.fixture
def registry(tracking_uri: str, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeadRegistry:
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return HeadRegistry(tracking_uri)


@pytest.fixture
def trunk() -> TrunkPackage:
    return trunk_package()


@pytest.fixture
def head(trunk: TrunkPackage) -> HeadPackage:
    return head_package(trunk)


@pytest.fixture(scope="session")
def trunk_and_head() -> tuple[TrunkPackage, HeadPackage]:
    package = trunk_package()
    return package, head_package(package)


@pytest.fixture(scope="session")
def make_head() -> MakeHead:
    return head_package


@pytest.fixture(scope="session")
def make_trunk() -> MakeTrunk:
    return trunk_package


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts processes from one server that has imported all there is, so that each is there in a moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["registry_worker"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep
        )  # the server passes over what it cannot import
        first = context.Process(target=int)
        first.start()
        first.join()
    return context
