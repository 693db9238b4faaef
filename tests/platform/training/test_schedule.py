from dataclasses import replace

import pytest
import torch

from hydrapicker.errors import InvalidInputError
from hydrapicker.training.config import LoopConfig, StageConfig, paper
from hydrapicker.training.schedule import learning_rate


@pytest.mark.parametrize("restart", [4, 0])
def test_rates_are_torchs_cosine_annealing_with_warm_restarts(restart: int) -> None:
    stage = StageConfig(epochs=10, optimiser="adam", learning_rate=0.3, restart_epochs=restart)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=restart or 10)
    for epoch in range(10):
        for step in range(5):
            scheduler.step(epoch + step / 5)
            assert learning_rate(stage, epoch, step, 5) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_the_rate_rises_linearly_to_the_cosine_at_the_start_of_a_stage_only() -> None:
    plain = StageConfig(epochs=6, optimiser="adam", learning_rate=0.3, restart_epochs=3)
    warm = replace(plain, warmup_steps=8)
    steps = [(epoch, step) for epoch in range(6) for step in range(5)]
    factors = [learning_rate(warm, *at, 5) / learning_rate(plain, *at, 5) for at in steps]
    assert factors == pytest.approx([*(n / 8 for n in range(1, 9)), *[1.0] * 22]), "and not after the restart at 15"


def test_the_paper_preset_holds_the_papers_numbers() -> None:
    config = paper()
    assert (config.network.width, config.network.dropout, config.loop.batch_size) == (64, 0.3, 4)
    assert (config.augmentation.crop_px, config.loss.alpha, config.loss.gamma) == (368, 0.25, 2.0)
    assert (config.stage1.epochs, config.stage1.optimiser, config.stage1.restart_epochs) == (5000, "adam", 40)
    assert (config.stage2.epochs, config.stage2.optimiser) == (100, "sgd")
    assert config.stage1.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"minibatches_per_step": 3, "workers": 2}, "multiple of 2"),
        ({"batch_size": 0}, "batch_size"),
        ({"minibatches_per_step": 3, "workers": "1:4"}, "at least 4"),
        ({"workers": 0}, "workers 0 is neither"),
        ({"workers": -2}, "workers -2 is neither"),
        ({"workers": "4:2"}, "neither a count nor MIN:MAX: give 2, or 1:4"),
        ({"workers": "many"}, "workers 'many' is neither"),
        ({"keep_checkpoints": 0}, "keep_checkpoints"),
        ({"max_failures": -1}, "max_failures"),
    ],
)
def test_impossible_loops_are_refused(wrong: dict[str, int | str], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        LoopConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"epochs": -1},
        {"momentum": 1.0},
        {"restart_epochs": -1},
        {"clip_norm": -1.0},
        {"warmup_steps": -1},
    ],
)
def test_impossible_stages_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        StageConfig(**{"epochs": 1, "optimiser": "adam", "learning_rate": 1e-3} | wrong)  # type: ignore[arg-type]


def test_cores_are_shared_out_unless_given() -> None:
    assert LoopConfig(workers=1, cpus_per_worker=3).threads == 3
    assert LoopConfig(workers=8).threads >= 1
    assert LoopConfig(workers="1:4").threads == LoopConfig(workers=4).threads


def test_workers_may_come_and_go() -> None:
    assert LoopConfig(workers="2").worker_range == (2, 2)
    assert LoopConfig(workers="1:3").worker_range == (1, 3), "8 minibatches, unevenly shared"
