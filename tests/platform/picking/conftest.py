"""Real heads in a real MLflow database: one that answers at known places, one with arbitrary weights, a generic one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hydrapicker.picking.picker import Picker
from hydrapicker.store.layout import NORMALISATION
from hydrapicker_core.network import Head, NetworkConfig, Trunk
from hydrapicker_registry import (
    HeadInput,
    HeadMetadata,
    HeadPackage,
    HeadRegistry,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkPackage,
    ensure_experiment,
    write_package,
)

NETWORK = NetworkConfig(width=4)
GRID_OFFSETS = (0.3, -0.7)
"""What the head "grid" answers in every cell, before the tanh: x then y."""
GRID_LOG_ODDS = 1.5


@torch.no_grad()
def _weights(seed: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk, head = Trunk(NETWORK), Head(NETWORK)
        head.out.weight.normal_(std=0.1)
        head.out.bias.zero_()
    return trunk.state_dict(), head.state_dict()


def _grid(head: Mapping[str, Tensor], log_odds: float) -> Mapping[str, Tensor]:
    constant = {"out.weight": torch.zeros_like(head["out.weight"])}
    return {**head, **constant, "out.bias": torch.tensor([*GRID_OFFSETS, log_odds])}


def _shared() -> dict[str, object]:
    return {
        "architecture": NETWORK.as_dict(),
        "training": Training({}, "run", None, None),
        "metrics": {},
        "authors": (),
        "licence": None,
        "citation": None,
        "created": "2026-01-31T12:00:00+00:00",
    }


def _head(
    trunk: TrunkPackage,
    name: str,
    weights: Mapping[str, Tensor],
    threshold: float | None = 0.0,
    diameter: float | None = 42.0,
    **changed: object,
) -> HeadPackage:
    known = diameter is not None
    metadata = HeadMetadata(
        **(_shared() | changed),
        dataset=name,
        dataset_version=1 if known else None,
        dataset_fingerprint="b" * 64 if known else None,
        trunk=trunk.reference(1),
        input=HeadInput(21, NORMALISATION, "dark", diameter),
        threshold=threshold,
    )
    return HeadPackage(metadata, weights)


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
    trunk_weights, head_weights = _weights(3)
    trunk = TrunkPackage(TrunkMetadata(**_shared(), input=TrunkInput(21, NORMALISATION), datasets={}), trunk_weights)
    registry.register_trunk(trunk, run_id)
    registry.register_head(_head(trunk, "grid", _grid(head_weights, GRID_LOG_ODDS)), run_id, "champion")
    registry.register_head(_head(trunk, "any", head_weights), run_id, "champion")
    registry.register_head(_head(trunk, "any", _weights(4)[1], threshold=0.6), run_id, "challenger")
    registry.register_head(_head(trunk, "generic", head_weights, diameter=None), run_id, "champion")
    registry.register_head(_head(trunk, "sure", _grid(head_weights, 40.0), threshold=1.0), run_id, "champion")
    later = {"architecture": NETWORK.as_dict() | {"attention": 8}}
    registry.register_head(_head(trunk, "later", head_weights, **later), run_id, "champion")


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
    metadata = TrunkMetadata(**_shared(), input=TrunkInput(21, NORMALISATION), datasets={})
    write_package(tmp_path / "other-trunk", TrunkPackage(metadata, _weights(99)[0]))
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
