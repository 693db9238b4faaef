"""A small training's figures, epoch by epoch, are those that are committed.

After a change that is meant to change them, look at the difference and write them anew:
``GOLDEN=write python -m pytest tests/platform/training/test_golden.py``.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.dataset import simulate
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.session import LocalSession
from hydrapicker.training.worker import Worker
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig

GOLDEN = Path(__file__).parent / "golden" / "figures.json"
TOLERANCE = 5e-3
"""Relative: far above what another processor or thread count changes, below what is tested to be noticed."""

Curve = list[dict[str, float]]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Two simulated datasets, one epoch on all of them together and two with a head each."""
    folder = tmp_path_factory.mktemp("golden")
    for seed, shape in enumerate(("shell", "barrel"), start=1):
        out = folder / shape
        size = {"micrographs": 5, "height": 160, "width": 192, "pixel_size_angstrom": 8.0, "workers": 1}
        simulate(SimulateConfig(shape, f"builtin:{shape}", seed=seed, out=out, **size))
        files = (f"{out}/micrographs",), f"{out}/particles.star"
        ingest(IngestConfig(shape, *files, 180.0, store=str(folder / "store")))
    datasets = Store(str(folder / "store")).open_all({"shell": None, "barrel": None})
    return Recipe(
        run_name="golden", identity="", datasets={name: dataset.version for name, dataset in datasets.items()},
        fingerprints={}, network=NetworkConfig(width=4), loss=LossConfig(), augmentation=AugmentationConfig(crop_px=64),
        phases=(
            Phase("stage 1", StageConfig(2, "adam", 1e-3)),
            Phase("stage 2", StageConfig(2, "sgd", 5e-4, clip_norm=5.0), heads=("shell", "barrel")),
        ),
        loop=LoopConfig(batch_size=2, minibatches_per_step=2, cpus_per_worker=1),
        streaming=StreamingConfig(), store=str(folder / "store"), box_px=21,
    )  # fmt: skip


def curve_of(recipe: Recipe, folder: Path) -> Curve:
    """Train; the figures of every epoch."""
    records: list[dict[str, Any]] = []
    Worker(recipe, LocalSession(folder, records.append)).run()
    return [
        {
            **{f"{part} {name}": loss[part] for name, loss in sorted(r["losses"].items()) for part in sorted(loss)},
            **{f"distance {name}": distance for name, distance in sorted(r["distances"].items())},
            "gradient norm": r["gradient_norm"],
            "learning rate": r["learning_rate"],
            "validation loss": r["validation"]["loss"],
        }
        for r in records
    ]


def differences(curve: Curve, golden: Curve) -> list[str]:
    """What is not as committed."""
    if [list(epoch) for epoch in curve] != [list(epoch) for epoch in golden]:
        return ["other epochs or figures"]
    return [
        f"epoch {number}: {name} {got[name]:.6g}, committed {value:.6g}"
        for number, (got, expected) in enumerate(zip(curve, golden, strict=True), start=1)
        for name, value in expected.items()
        if not math.isclose(got[name], value, rel_tol=TOLERANCE, abs_tol=1e-9)
    ]


def test_the_figures_are_the_committed_ones(recipe: Recipe, tmp_path: Path) -> None:
    curve = curve_of(recipe, tmp_path)
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(curve, indent=1) + "\n")
    assert differences(curve, json.loads(GOLDEN.read_text())) == []


def other_rate(recipe: Recipe) -> Recipe:
    """A learning rate 2 % higher in stage 1, which nobody sees in the rate itself."""
    first, second = recipe.phases
    return replace(recipe, phases=(replace(first, stage=replace(first.stage, learning_rate=1.02e-3)), second))


def other_seed(recipe: Recipe) -> Recipe:
    return replace(recipe, loop=replace(recipe.loop, seed=1))


def other_loss(recipe: Recipe) -> Recipe:
    return replace(recipe, loss=replace(recipe.loss, gamma=1.9))


def without_bias_loss(recipe: Recipe) -> Recipe:
    return replace(recipe, loss=replace(recipe.loss, lambda_bias=0.0))


@pytest.mark.parametrize("changed", [other_rate, other_seed, other_loss, without_bias_loss])
def test_what_changes_the_training_is_noticed(
    recipe: Recipe, tmp_path: Path, changed: Callable[[Recipe], Recipe]
) -> None:
    found = differences(curve_of(changed(recipe), tmp_path), json.loads(GOLDEN.read_text()))
    assert [difference for difference in found if "learning rate" not in difference]
