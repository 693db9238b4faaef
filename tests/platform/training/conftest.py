"""A small store to train on, and a small training on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with datasets ``a`` (boxes of 21 px) and ``b`` (boxes of 32 px)."""
    generator = np.random.default_rng(0)
    micrographs = [tmp_path / f"m{i}.mrc" for i in range(4)]
    for path in micrographs:
        write_mrc(path, generator.normal(size=(128, 160)).astype(np.float32), 4.0)
    xy = np.array([[30, 40], [100, 90]], dtype=np.float32)
    write_combined_star(tmp_path / "p.star", {path.name: Particles(xy) for path in micrographs}, None)
    root = str(tmp_path / "store")
    for name, box_px in (("a", 21), ("b", 32)):
        config = IngestConfig(name, (str(tmp_path / "*.mrc"),), str(tmp_path / "p.star"), 120.0, store=root)
        ingest(replace(config, box_px=box_px))
    return root


@pytest.fixture
def recipe(store: str) -> Recipe:
    """Two epochs of each stage on dataset ``a``: two minibatches and one step each."""
    dataset = Store(store).open("a")
    return Recipe(
        run_name="toy", identity="", datasets={"a": dataset.version}, fingerprints={"a": dataset.fingerprint},
        network=NetworkConfig(width=4), loss=LossConfig(), augmentation=AugmentationConfig(crop_px=32),
        phases=(
            Phase("stage 1", StageConfig(2, "adam", 1e-3)),
            Phase("stage 2", StageConfig(2, "sgd", 1e-3), heads=("a",)),
        ),
        loop=LoopConfig(batch_size=1, minibatches_per_step=2, cpus_per_worker=1),
        streaming=StreamingConfig(), store=store, box_px=21,
    )  # fmt: skip
