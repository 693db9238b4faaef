"""A step shared out over ranks against the naive one: one process, one batch of everything, autograd throughout."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.streaming.loader import Batch
from hydrapicker.training.step import Step
from hydrapicker_core.bias_loss import bias_loss
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

DATASETS = ("a", "b", "c")
LOSS = LossConfig(lambda_bias=0.3)
STEPS: list[list[str]] = [["a", "b"], ["b", "b"], ["c"], ["a", "c"]]
"""Datasets of each step's minibatches; the third step leaves one of two ranks without any."""


def network() -> MultiHeadNetwork:
    torch.manual_seed(0)
    made = MultiHeadNetwork(NetworkConfig(width=4, dropout=0.0), DATASETS)
    # In double precision: the L1 loss turns where a prediction passes its target, and rounding must not decide when.
    return channels_last(made.double())


def batch(step: int, minibatch: int) -> Batch:
    generator = torch.Generator().manual_seed(100 * step + minibatch)
    images = torch.randn(2, 1, 48, 48, generator=generator, dtype=torch.float64)
    particles = tuple(torch.rand(3, 2, generator=generator) * 47 for _ in range(2))
    return Batch(STEPS[step][minibatch], images, particles)


def optimiser(model: torch.nn.Module, kind: str) -> torch.optim.Optimizer:
    if kind == "adam":
        return torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, fused=True)


def naive(kind: str) -> dict[str, torch.Tensor]:
    model = network().to(memory_format=torch.contiguous_format)
    steps = optimiser(model, kind)
    for number, names in enumerate(STEPS):
        steps.zero_grad()
        losses = []
        for i, name in enumerate(names):
            made = batch(number, i)
            losses.append(detection_loss(model(made.images, name), made.particles, 21, LOSS).total(LOSS))
        bias = bias_loss([list(h.parameters()) for h in model.dataset_heads()], list(model.generic.parameters()))
        (torch.stack(losses).mean() + LOSS.lambda_bias * bias).backward()
        steps.step()
    return model.state_dict()


def ours(rank: int, world: int, folder: str, kind: str) -> None:
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    model = network()
    trunk = DistributedDataParallel(model.trunk) if world > 1 else model.trunk
    step = Step(model, trunk, optimiser(model, kind), LOSS, 21, world, autocast=False)
    for number, names in enumerate(STEPS):
        mine = list(range(len(names)))[rank::world]
        step.take(
            [batch(number, i) for i in mine],
            heads=[names[i] for i in mine],
            touched=sorted(set(names)),
            minibatches=len(names),
            seeds=[0] * len(mine),
        )
    if rank == 0:
        save_file({name: value.contiguous().clone() for name, value in model.state_dict().items()}, f"{folder}/out")
    if world > 1:
        dist.destroy_process_group()


# Both start from a network whose heads differ, so the bias loss has a gradient everywhere.
@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("world", [1, 2])
def test_steps_equal_the_naive_ones(world: int, kind: str, tmp_path: Path) -> None:
    if world == 1:
        ours(0, 1, str(tmp_path), kind)
    else:
        mp.spawn(ours, (world, str(tmp_path), kind), nprocs=world)
    got, expected = load_file(tmp_path / "out"), naive(kind)
    before = network().state_dict()
    assert got.keys() == expected.keys()
    for name in expected:
        assert torch.allclose(got[name], expected[name], rtol=1e-7, atol=1e-9), name
    assert any(not torch.allclose(expected[name], before[name], atol=1e-4) for name in expected)
