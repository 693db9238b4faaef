"""Training minimises what it says: a tiny network on two datasets, in which one's particles are the other's dirt."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import get_args

import pytest
import torch
from torch import Tensor

from hydrapicker.streaming.loader import Batch
from hydrapicker.training.config import StageConfig
from hydrapicker.training.schedule import learning_rate
from hydrapicker.training.step import Step
from hydrapicker_core.bias_loss import BiasForm, head_distances
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig, channels_last, multi_head_from_single

DATASETS = ("dark", "bright")
SIDE_PX, BOX_PX = 64, 21
STAGE1 = StageConfig(epochs=1, optimiser="adam", learning_rate=5e-3)
STAGE2 = StageConfig(epochs=1, optimiser="sgd", learning_rate=1e-2, clip_norm=5.0)
STEPS = 120


def micrograph(kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise with dark and bright blobs, of which only those of one kind are particles."""
    grid = torch.arange(float(SIDE_PX))
    image = 0.3 * torch.randn(SIDE_PX, SIDE_PX, generator=generator)
    # One blob to a field of 21 px, anywhere in it but near its border.
    fields = torch.cartesian_prod(torch.arange(3), torch.arange(3))[torch.randperm(9, generator=generator)[:8]]
    centres = fields * 21 + 6 + 9 * torch.rand(8, 2, generator=generator)
    for i, (x, y) in enumerate(centres):
        blob = torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * 4**2))
        image += blob * (2 if i % 2 else -2)
    return image, centres[1::2] if kind == "bright" else centres[::2]


@cache
def batch(kind: str, number: int) -> Batch:
    generator = torch.Generator().manual_seed(2 * number + DATASETS.index(kind))
    made = [micrograph(kind, generator) for _ in range(2)]
    return Batch(kind, torch.stack([image for image, _ in made])[:, None], tuple(centres for _, centres in made))


def train(network: MultiHeadNetwork, stage: StageConfig, loss: LossConfig, own_heads: bool) -> None:
    parameters = list(network.parameters())
    optimiser: torch.optim.Optimizer = torch.optim.Adam(parameters, fused=True)
    if stage.optimiser == "sgd":
        optimiser = torch.optim.SGD(parameters, momentum=stage.momentum, fused=True)
    step = Step(network, network.trunk, optimiser, loss, BOX_PX, 1, autocast=False, clip_norm=stage.clip_norm)
    for number in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(stage, 0, number, STEPS)
        heads = DATASETS if own_heads else (GENERIC, GENERIC)
        step.take([batch(kind, number) for kind in DATASETS], heads, sorted(set(heads)), 2, seeds=[0, 0])


def loss_of(network: MultiHeadNetwork, head: str, kind: str) -> float:
    """On micrographs that no step has seen."""
    losses = []
    with torch.no_grad():
        for number in range(STEPS, STEPS + 16):
            made = batch(kind, number)
            losses.append(detection_loss(network(made.images, head), made.particles, BOX_PX, LossConfig()))
    return sum(loss.total(LossConfig()).item() for loss in losses) / len(losses)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # these images are so small that threads would mostly wait for each other
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stage1() -> MultiHeadNetwork:
    torch.manual_seed(0)
    network = channels_last(MultiHeadNetwork(NetworkConfig(width=4, dropout=0.0)))
    before = loss_of(network, GENERIC, "dark")
    train(network, STAGE1, LossConfig(), own_heads=False)
    assert loss_of(network, GENERIC, "dark") < 0.6 * before
    return network


def stage2(stage1: MultiHeadNetwork, loss: LossConfig) -> MultiHeadNetwork:
    network = channels_last(multi_head_from_single(deepcopy(stage1), DATASETS))
    train(network, STAGE2, loss, own_heads=True)
    return network


def distances(network: MultiHeadNetwork) -> list[float]:
    """Of the datasets' heads from the generic head, as fractions of its norm."""
    generic = list(network.generic.parameters())
    norm = torch.nn.utils.get_total_norm(generic).item()
    return [d / norm for d in head_distances([list(h.parameters()) for h in network.dataset_heads()], generic)]


def test_own_heads_beat_the_generic_head_on_their_dataset(stage1: MultiHeadNetwork) -> None:
    network = stage2(stage1, LossConfig())
    for kind in DATASETS:
        own = loss_of(network, kind, kind)
        assert own < 0.7 * loss_of(network, GENERIC, kind)
        assert own < 0.8 * loss_of(stage1, GENERIC, kind)


def test_without_bias_loss_the_generic_head_learns_nothing(stage1: MultiHeadNetwork) -> None:
    network = stage2(stage1, LossConfig(lambda_bias=0.0))
    before = stage1.generic.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in network.generic.state_dict().items())
    assert min(distances(network)) > 0.03


@pytest.mark.parametrize("form", get_args(BiasForm))
def test_with_a_large_bias_loss_own_heads_and_generic_coincide(stage1: MultiHeadNetwork, form: BiasForm) -> None:
    network = stage2(stage1, LossConfig(lambda_bias=30.0, bias_form=form))
    moved = [p - q for p, q in zip(network.generic.parameters(), stage1.generic.parameters(), strict=True)]
    assert max(distances(network)) < 0.004
    assert torch.nn.utils.get_total_norm(moved) > 0.1
