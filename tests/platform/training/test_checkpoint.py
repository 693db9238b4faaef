from pathlib import Path

import pytest
import torch

from hydrapicker.training.checkpoint import (
    Progress,
    load_optimiser,
    load_progress,
    load_weights_of,
    save_checkpoint,
)
from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig, channels_last


def train(model: MultiHeadNetwork, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimiser.zero_grad()
        image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(step))
        model(image.contiguous(memory_format=torch.channels_last), GENERIC).square().sum().backward()
        optimiser.step()


def fresh(kind: str) -> tuple[MultiHeadNetwork, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = channels_last(MultiHeadNetwork(NetworkConfig(width=4, dropout=0.0)))
    if kind == "adam":
        return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return model, torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=True)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_going_on_from_a_checkpoint_is_going_on(kind: str, tmp_path: Path) -> None:
    model, optimiser = fresh(kind)
    train(model, optimiser, range(3))
    progress = Progress(phase=1, epoch=7, best_loss=0.25, best_epoch=5, history=[{"epoch": 1}])
    save_checkpoint(tmp_path, progress, model.state_dict(), model.state_dict(), optimiser)
    train(model, optimiser, range(3, 6))

    again, its_optimiser = fresh(kind)
    again.load_state_dict(load_weights_of(tmp_path, "network"))
    load_optimiser(tmp_path, its_optimiser)
    train(again, its_optimiser, range(3, 6))
    assert load_progress(tmp_path) == progress
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_checkpoint_holds_no_pickles(tmp_path: Path) -> None:
    model, optimiser = fresh("adam")
    train(model, optimiser, range(1))
    save_checkpoint(tmp_path, Progress(), model.state_dict(), model.state_dict(), optimiser)
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_best_loss_that_is_not_there_yet_survives(tmp_path: Path) -> None:
    model, optimiser = fresh("adam")
    save_checkpoint(tmp_path, Progress(), model.state_dict(), model.state_dict(), optimiser)
    assert load_progress(tmp_path).best_loss == float("inf")
