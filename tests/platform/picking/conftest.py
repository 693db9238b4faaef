"""Real heads in a real MLflow database: one that answers at known places, one with arbitrary weights, a generic one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from network_packages import arbitrary_weights, head_package, trunk_package
from torch import Tensor

from hydrapicker.picking.picker import Picker
from hydrapicker_core.network import NetworkConfig
from hydrapicker_registry import HeadRegistry, ensure_experiment, write_package

NETWORK = NetworkConfig(width=4)
GRID_OFFSETS = (0.3, -0.7)
"""What the head "grid" answers in every cell, before the tanh: x then y."""
GRID_LOG_ODDS = 1.5
DIAMETER = 42.0


def _grid(head: Mapping[str, Tensor], log_odds: float) -> Mapping[str, Tensor]:
    constant = {"out.weight": torch.zeros_like(head["out.weight"])}
    return {**head, **constant, "out.bias": torch.tensor([*GRID_OFFSETS, log_odds])}


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Heads: "grid", "any" (version 1 champion, 2 challenger with threshold 0.6), "generic", "sure", "later"."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        _fill(f"sqlite:///{folder / 'mlflow.db'}")
    return f"sqlite:///{folder / 'mlflow.db'}"


def _fill(uri: str) -> None:
    registry = HeadRegistry(uri)
    from mlflow import MlflowClient

    run_id = str(MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id)
    trunk_weights, head_weights = arbitrary_weights(NETWORK, 3)
    trunk = trunk_package(NETWORK, trunk_weights)
    registry.register_trunk(trunk, run_id)
    for name, weights, diameter, threshold, alias in (
        ("grid", _grid(head_weights, GRID_LOG_ODDS), DIAMETER, 0.0, "champion"),
        ("any", head_weights, DIAMETER, 0.0, "champion"),
        ("any", arbitrary_weights(NETWORK, 4)[1], DIAMETER, 0.6, "challenger"),
        ("generic", head_weights, None, 0.0, "champion"),
        ("sure", _grid(head_weights, 40.0), DIAMETER, 1.0, "champion"),
    ):
        registry.register_head(head_package(trunk, name, weights, diameter, threshold), run_id, alias)
    later = {"architecture": NETWORK.as_dict() | {"attention": 8}}
    registry.register_head(head_package(trunk, "later", head_weights, DIAMETER, 0.0, **later), run_id, "champion")


@pytest.fixture
def here(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the registry set by the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(Path(tracking_uri.removeprefix("sqlite:///")).parent / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def other_trunk(tmp_path: Path) -> Path:
    """The package of a trunk that no head here was trained on."""
    write_package(tmp_path / "other-trunk", trunk_package(NETWORK, arbitrary_weights(NETWORK, 99)[0]))
    return tmp_path / "other-trunk"


@pytest.fixture
def any_head(here: Path) -> Picker:
    from hydrapicker import load_head

    return load_head("any")


@pytest.fixture
def grid_head(here: Path) -> Picker:
    from hydrapicker import load_head

    return load_head("grid")


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """Not square, of sizes that are no multiples of anything, with structure of the scale of a particle."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:131, :203]
    waves = np.sin(columns / 3) * np.cos(rows / 4) + np.sin((columns + rows) / 7)
    return (100 + 10 * waves + random.normal(size=rows.shape)).astype(np.float32)
