"""A training step with 2 to 128 heads: this implementation against the naive one, on two processes of one thread.

Naive: the whole network under DDP, and the bias loss by autograd (which uses every parameter, so DDP need not look for
unused ones). Both take the same steps, as the demo does: a minibatch of 4 crops for each rank, each of another dataset.

Prints per step, as medians: seconds without the optimiser's own, which goes through every head's weights in any
implementation; the seconds of those that a core worked for this process, which neighbours on the machine disturb less;
the optimiser's seconds; and the megabytes that a rank hands over to be averaged, counted as they are handed over.
Ratios are to 2 heads of the same implementation, in the same round. The variants take turns, step by step, so that a
machine that slows down slows them all.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.streaming.loader import Batch
from hydrapicker.training.step import Step
from hydrapicker_core.bias_loss import bias_loss
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

WORLD = 2
WIDTH = 12
CROP_PX = 256
CROPS = 4
BOX_PX = 21
HEADS = (2, 8, 32, 128)
WARM_UP, ROUNDS = 1, 7
LOSS = LossConfig()

Take = Callable[[Batch, list[str]], Any]
"""Takes a step with this rank's minibatch; also told the datasets of all ranks' minibatches."""

Times = tuple[float, float]


@dataclass
class Sent:
    """Counts the bytes that this rank hands over to be averaged."""

    bytes: int = 0

    def watch(self, ddp: DistributedDataParallel) -> DistributedDataParallel:
        """Count what DDP averages."""

        def hook(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            counted = self.bytes + bucket.buffer().nbytes
            future = allreduce_hook(dist.group.WORLD, bucket)
            self.bytes = counted  # the hook averages by all_reduce, which may be watched too
            return future

        ddp.register_comm_hook(None, hook)
        return ddp

    def watch_all_reduce(self) -> None:
        """Count what is averaged by ``torch.distributed.all_reduce``."""
        original = dist.all_reduce

        def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.bytes += tensor.nbytes
            return original(tensor, *args, **kwargs)

        dist.all_reduce = counted


class Variant:
    """One implementation with one number of heads, and what its steps took.

    Attributes:
        seconds: Per step: on the clock, of the core, of the optimiser on the clock.
        bytes: Per step.
    """

    def __init__(self, take: Take, network: MultiHeadNetwork, optimiser: torch.optim.Optimizer, sent: Sent) -> None:
        self.take, self.datasets, self.sent = take, network.datasets, sent
        self.seconds: list[tuple[float, float, float]] = []
        self.bytes: list[int] = []
        self._at: list[Times] = []
        for register in (optimiser.register_step_pre_hook, optimiser.register_step_post_hook):
            register(lambda *_: self._at.append(now()))

    def measure(self, number: int, rank: int) -> None:
        """Take one step."""
        names = random.Random(number).sample(self.datasets, WORLD)
        batch = make_batch(names[rank], number)
        dist.barrier()
        sent, self._at = self.sent.bytes, [now()]
        self.take(batch, names)
        start, optimiser, end = self._at
        self.seconds.append((optimiser[0] - start[0], optimiser[1] - start[1], end[0] - optimiser[0]))
        self.bytes.append(self.sent.bytes - sent)

    def columns(self) -> list[tuple[float, ...]]:
        """Of all measured steps: seconds, those of the core, those of the optimiser, bytes."""
        return [*zip(*self.seconds[WARM_UP:], strict=True), tuple(self.bytes[WARM_UP:])]


def now() -> Times:
    """The time on the clock, and how long this process has been worked for."""
    return time.perf_counter(), time.process_time()


class NaiveNetwork(nn.Module):
    """Everything in one module, the bias loss too: DDP must see all that parameters are used for."""

    def __init__(self, network: MultiHeadNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A head's output, and the bias loss of all heads."""
        heads = [list(head.parameters()) for head in self.network.dataset_heads()]
        return self.network(images, name), bias_loss(heads, list(self.network.generic.parameters()))


def naive(heads: int, sent: Sent) -> Variant:
    """DDP and autograd for everything."""
    network, optimiser = make_network(heads)
    ddp = sent.watch(DistributedDataParallel(NaiveNetwork(network)))

    def take(batch: Batch, names: list[str]) -> None:
        optimiser.zero_grad()
        images = batch.images.contiguous(memory_format=torch.channels_last)
        output, bias = ddp(images, batch.dataset)
        loss = detection_loss(output, batch.particles, BOX_PX, LOSS).total(LOSS)
        (loss + LOSS.lambda_bias * bias).backward()
        optimiser.step()

    return Variant(take, network, optimiser, sent)


def ours(heads: int, sent: Sent) -> Variant:
    """What the package does."""
    network, optimiser = make_network(heads)
    trunk = sent.watch(DistributedDataParallel(network.trunk))
    step = Step(network, trunk, optimiser, LOSS, BOX_PX, WORLD, autocast=False, clip_norm=5.0)

    def take(batch: Batch, names: list[str]) -> None:
        step.take([batch], [batch.dataset], touched=sorted(names), minibatches=WORLD, seeds=[0])

    return Variant(take, network, optimiser, sent)


def make_network(heads: int) -> tuple[MultiHeadNetwork, torch.optim.Optimizer]:
    """A network and the optimiser of stage 2."""
    torch.manual_seed(0)
    network = channels_last(MultiHeadNetwork(NetworkConfig(width=WIDTH), [f"dataset{i}" for i in range(heads)]))
    return network, torch.optim.SGD(network.parameters(), lr=5e-4, momentum=0.9, fused=True)


def make_batch(dataset: str, number: int) -> Batch:
    """Crops of noise with particles all over."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(CROPS, 1, CROP_PX, CROP_PX, generator=generator)
    return Batch(dataset, images, tuple(torch.rand(60, 2, generator=generator) * CROP_PX for _ in range(CROPS)))


def run(rank: int, folder: str) -> None:
    """One of the processes; the first prints the table."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    sent = Sent()
    sent.watch_all_reduce()
    variants = {name: {n: make(n, sent) for n in HEADS} for name, make in {"ours": ours, "naive": naive}.items()}
    for number in range(WARM_UP + ROUNDS):
        for of_heads in variants.values():
            for variant in of_heads.values():
                variant.measure(number, rank)
    if rank == 0:
        show(variants)
    dist.destroy_process_group()


def show(variants: dict[str, dict[int, Variant]]) -> None:
    """Print the medians."""
    print(f"width {WIDTH}, {WORLD} ranks with {CROPS} crops of {CROP_PX} px each per step, median of {ROUNDS} steps")
    titles = (("seconds", 10), ("ratio", 7), ("of core", 10), ("ratio", 7), ("optimiser", 11), ("megabytes", 11))
    print(f"{'':6}{'heads':>6}" + "".join(f"{title:>{width}}" for title, width in (*titles, ("ratio", 7))))
    for name, of_heads in variants.items():
        first = of_heads[HEADS[0]].columns()
        for heads, variant in of_heads.items():
            columns = variant.columns()
            seconds, core, optimiser, sent = (statistics.median(column) for column in columns)
            # Ratios within a round, in which neighbours on the machine disturb all alike.
            slower, busier, _, more = (
                statistics.median(own / two for own, two in zip(*pair, strict=True) if two)
                for pair in zip(columns, first, strict=True)
            )
            print(
                f"{name:6}{heads:6}{seconds:10.3f}{slower:7.2f}{core:10.3f}{busier:7.2f}"
                f"{optimiser:11.3f}{sent / 1e6:11.2f}{more:7.2f}"
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as rendezvous:
        mp.spawn(run, (rendezvous,), nprocs=WORLD)
