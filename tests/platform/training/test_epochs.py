"""Epochs begun ahead are the epochs that are begun when they are asked for."""

import pytest
import torch

from hydrapicker.store.store import Dataset, Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker.training.epochs import Epoch, Epochs
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        run_name="toy", identity="", datasets={}, fingerprints={}, network=NetworkConfig(),
        phases=(Phase("one", StageConfig(1, "adam", 1e-3)), Phase("two", StageConfig(2, "sgd", 1e-3))),
        loss=LossConfig(), augmentation=AugmentationConfig(crop_px=32), loop=LoopConfig(batch_size=2),
        streaming=StreamingConfig(sampling="balanced"), store="", box_px=21,
    )  # fmt: skip


@pytest.fixture
def datasets(store: str) -> dict[str, Dataset]:
    return Store(store).open_all({"a": None, "b": None})


def images(epoch: Epoch) -> torch.Tensor:
    plan, batches = epoch
    made = torch.cat([batch.images for step in batches for batch in step])
    assert len(made) == sum(len(minibatch.rows) for minibatch in plan)
    return made


def test_begun_ahead_or_not_the_batches_are_the_same(recipe: Recipe, datasets: dict[str, Dataset]) -> None:
    ahead, late = (Epochs(recipe, datasets, 0, 1) for _ in range(2))
    first = ahead.take(0)
    ahead.begin(1)
    assert torch.equal(images(first), images(late.take(0)))
    assert torch.equal(images(ahead.take(1)), images(late.take(1)))


def test_nothing_is_begun_beyond_the_last_epoch(recipe: Recipe, datasets: dict[str, Dataset]) -> None:
    epochs = Epochs(recipe, datasets, 0, 1)
    epochs.begin(3)
    with pytest.raises(KeyError):
        epochs.take(3)
