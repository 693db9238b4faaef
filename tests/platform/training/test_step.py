"""A step shared out over ranks against the naive one: one process, one batch of everything, autograd throughout."""

import math
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.loader import Batch
from hydrapicker.training.step import Step, StepResult, finite_norms
from hydrapicker_core.bias_loss import BiasForm, bias_loss
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

DATASETS = ("a", "b", "c", "d")
STEPS: list[list[str]] = [["a", "b", "c", "a"], ["b", "b"], ["c"], ["a", "c", "b", "a", "c"], ["d", "a"]]
"""Datasets of each step's minibatches: more than ranks, as many, fewer; no rank's share holds all that are touched."""


@dataclass(frozen=True)
class Case:
    """One way to train; `clip_norm` lies between the norms of the steps, so that some are clipped and some are not."""

    optimiser: str
    form: BiasForm
    clip_norm: float

    @property
    def loss(self) -> LossConfig:
        return LossConfig(lambda_bias=0.3, bias_form=self.form)

    def __str__(self) -> str:
        return f"{self.optimiser}-{self.form}-{'clipped' if self.clip_norm else 'free'}"


CASES = (
    Case("adam", "per-head", 0.0),
    Case("sgd", "per-head", 9.0),
    Case("adam", "per-tensor", 9.0),
    Case("sgd", "squared", 0.0),
)


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
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)


def naive(case: Case) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after all steps, and the norm of the data's gradient in each."""
    model = network().to(memory_format=torch.contiguous_format)
    steps, norms = optimiser(model, case.optimiser), []
    for number, names in enumerate(STEPS):
        steps.zero_grad()
        losses = []
        for i, name in enumerate(names):
            made = batch(number, i)
            losses.append(detection_loss(model(made.images, name), made.particles, 21, case.loss).total(case.loss))
        torch.stack(losses).mean().backward()
        norms.append(clip(model, case.clip_norm))
        heads = [list(head.parameters()) for head in model.dataset_heads()]
        (case.loss.lambda_bias * bias_loss(heads, list(model.generic.parameters()), case.form)).backward()
        steps.step()
    return model.state_dict(), norms


def clip(model: torch.nn.Module, largest: float) -> float:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    for gradient in gradients:
        gradient *= largest / (norm + 1e-6) if 0 < largest < norm else 1.0  # torch adds as much
    return norm


def take(step: Step, number: int, rank: int, world: int) -> StepResult:
    names = STEPS[number]
    mine = list(range(len(names)))[rank::world]
    return step.take(
        [batch(number, i) for i in mine],
        heads=[names[i] for i in mine],
        touched=sorted(set(names)),
        minibatches=len(names),
        seeds=[0] * len(mine),
    )


def watch(trunk: DistributedDataParallel, counted: list[int]) -> None:
    """Count the bytes that are averaged, by DDP and otherwise."""
    all_reduce = dist.all_reduce

    def hook(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        so_far = counted[0] + bucket.buffer().nbytes
        future = allreduce_hook(dist.group.WORLD, bucket)
        counted[0] = so_far  # the hook averages by all_reduce, which is watched too
        return future

    def watched(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        counted[0] += tensor.nbytes
        return all_reduce(tensor, *args, **kwargs)

    trunk.register_comm_hook(None, hook)
    dist.all_reduce = watched


def rank_main(rank: int, world: int, folder: str) -> None:
    """Train every case in turn, as one of `world` processes."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    for case in CASES:
        model = network()
        trunk = DistributedDataParallel(model.trunk) if world > 1 else model.trunk
        counted = [0]
        if case is CASES[0] and world > 1:  # watched in one case only, as watching replaces how DDP averages
            watch(trunk, counted)
        steps = optimiser(model, case.optimiser)
        step = Step(model, trunk, steps, case.loss, 21, world, autocast=False, clip_norm=case.clip_norm)
        taken = [take(step, number, rank, world) for number in range(len(STEPS))]
        if case is CASES[0]:
            told = sum(result.bytes_averaged for result in taken)
            assert told == counted[0], f"{told} bytes are told of and {counted[0]} were averaged"
        weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        save_file(
            {**weights, "norms": torch.stack([result.gradient_norm for result in taken])}, f"{folder}/{case}.{rank}"
        )
    if world > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} ranks".format)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    world, folder = request.param, tmp_path_factory.mktemp("ranks")
    if world == 1:
        rank_main(0, 1, str(folder))
    else:
        # Forked from one clean process that has imported everything, which takes longer than the training.
        multiprocessing.set_forkserver_preload(["torch._dynamo", "hydrapicker.training.step"])
        mp.start_processes(rank_main, (world, str(folder)), nprocs=world, start_method="forkserver")
    return world, folder


# All start from a network whose heads differ, so the bias loss has a gradient everywhere.
@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_equal_the_naive_ones(trained: tuple[int, Path], case: Case) -> None:
    world, folder = trained
    weights, norms = naive(case)
    before = network().state_dict()
    if case.clip_norm:
        assert min(norms) < case.clip_norm < max(norms)
    for rank in range(world):
        got = load_file(folder / f"{case}.{rank}")
        assert got.pop("norms").tolist() == pytest.approx(norms, rel=1e-9)
        assert got.keys() == weights.keys()
        for name in weights:
            assert torch.allclose(got[name], weights[name], rtol=1e-7, atol=1e-9), (rank, name)
    assert all(not torch.allclose(weights[name], before[name], atol=1e-5) for name in weights if "out.weight" in name)


def test_ranks_end_with_the_same_bits(trained: tuple[int, Path]) -> None:
    world, folder = trained
    for case in CASES:
        first, *others = [load_file(folder / f"{case}.{rank}") for rank in range(world)]
        assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def trained_on_threads(*, autocast: bool) -> tuple[dict[str, Tensor], list[float]]:
    torch.manual_seed(0)
    model = channels_last(MultiHeadNetwork(NetworkConfig(width=8, dropout=0.3), DATASETS))
    step = Step(model, model.trunk, optimiser(model, "adam"), LossConfig(), 21, 1, autocast=autocast)
    norms = []
    for number, names in enumerate(STEPS[:3]):
        made = [batch(number, i) for i in range(len(names))]
        single = [Batch(b.dataset, b.images.float(), tuple(xy.float() for xy in b.particles)) for b in made]
        norms.append(step.take(single, names, sorted(set(names)), len(names), range(len(names))).gradient_norm.item())
    return model.state_dict(), norms


def test_two_runs_end_with_the_same_bits_and_bfloat16_is_nearly_the_same() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = {autocast: [trained_on_threads(autocast=autocast) for _ in range(2)] for autocast in (False, True)}
    finally:
        torch.set_num_threads(before)
    for (weights, norms), (again, norms_again) in runs.values():
        assert norms == norms_again
        assert all(torch.equal(again[name], value) for name, value in weights.items())
    (_, exact), (_, coarse) = runs[False][0], runs[True][0]
    assert coarse != exact
    assert coarse == pytest.approx(exact, rel=0.05)


def test_a_gradient_that_is_no_number_is_an_error_in_one_line() -> None:
    model = network()
    step = Step(model, model.trunk, optimiser(model, "sgd"), LossConfig(), 21, 1, autocast=False, clip_norm=1.0)
    norms = [take(step, 0, 0, 1).gradient_norm]
    assert finite_norms(norms) == [pytest.approx(norms[0].item())]
    with torch.no_grad():
        model.head("b").out.weight[0, 0, 0, 0] = math.nan
    norms.append(take(step, 1, 0, 1).gradient_norm)
    with pytest.raises(InvalidInputError, match=r"no finite number any more: give a smaller learning rate$"):
        finite_norms(norms)
    assert finite_norms([]) == []
