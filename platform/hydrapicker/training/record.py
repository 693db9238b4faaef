"""What is written down of every epoch, and the seeds that make it repeatable."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hydrapicker.streaming.plan import Minibatch
from hydrapicker.training.step import StepResult, finite_norms
from hydrapicker_core.bias_loss import head_distances
from hydrapicker_core.network import MultiHeadNetwork


def seed_of(*parts: object) -> int:
    """A seed that is a pure function of its parts, the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1  # torch takes 63 bits


@dataclass(frozen=True)
class Validation:
    """Heads on micrographs they were not trained on.

    Attributes:
        loss: Mean over datasets of their own head's ``l_loc + lambda_cls * l_cls``; ``l_bias``, which only regularises,
            has no part in it.
        heads: Per dataset and head (``own``, ``generic``): loss, ap, auroc.
    """

    loss: float
    heads: dict[str, dict[str, dict[str, float]]]


@dataclass
class EpochRecord:
    """One epoch of a run.

    Attributes:
        phase: Name of the phase.
        epoch: Number of the epoch in its phase, from 1.
        losses: Per dataset: mean localisation and classification loss of its minibatches.
        distances: Per dataset: distance of its head's weights from the generic head's.
        particles: How many particles the epoch's crops held.
        lost_particles: How many of them no anchor could answer for, as nearer ones had taken it.
        learning_rate: At the epoch's last step.
        gradient_norm: Largest norm of a step's data gradient in the epoch, before it was clipped.
        megabytes_per_step: Gradients that each rank handed over to be averaged with the others', in 10^6 bytes.
        seconds: The epoch's duration without validation.
        micrographs_per_second: Over all ranks.
        data_wait_fraction: Share of the time spent waiting for data, by the rank that waited longest.
        validation: Where this epoch was validated.
        best_epoch: The epoch with the least validation loss so far; 0 for the phase's start.
    """

    phase: str
    epoch: int
    losses: dict[str, dict[str, float]]
    distances: dict[str, float]
    particles: int
    lost_particles: int
    learning_rate: float
    gradient_norm: float
    megabytes_per_step: float
    seconds: float
    micrographs_per_second: float
    data_wait_fraction: float
    validation: Validation | None = None
    best_epoch: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class Tally:
    """Adds up an epoch on one rank."""

    phase: str
    epoch: int
    losses: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    norms: list[Tensor] = field(default_factory=list)
    bytes_averaged: int = 0
    micrographs: int = 0
    particles: int = 0
    lost: int = 0
    waited: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time spent inside as waiting for data."""
        before = time.monotonic()
        yield
        self.waited += time.monotonic() - before

    def add(self, minibatches: Sequence[Minibatch], taken: StepResult) -> None:
        """Count a step; what lies on the device is read at the epoch's end, for reading waits for it."""
        for minibatch, loss in zip(minibatches, taken.losses, strict=True):
            self.losses[minibatch.dataset].append(torch.stack([loss.localisation, loss.classification]).detach())
            self.micrographs += len(minibatch.rows)
            self.particles += loss.particles
            self.lost += loss.lost
        self.norms.append(taken.gradient_norm)
        self.bytes_averaged += taken.bytes_averaged

    def record(self, network: MultiHeadNetwork, learning_rate: float, world: int) -> EpochRecord:
        """The epoch over all ranks.

        Raises:
            InvalidInputError: When a gradient was infinite or not a number.
        """
        norms = finite_norms(self.norms)  # which waits for the device
        seconds = time.monotonic() - self.started
        mine = ({name: _sums(losses) for name, losses in self.losses.items()}, self.waited)
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        counts, waited = [0, 0, 0], 0.0
        for rank_sums, rank_waited, *rank_counts in gather((*mine, self.micrographs, self.particles, self.lost), world):
            waited = max(waited, rank_waited)
            counts = [a + b for a, b in zip(counts, rank_counts, strict=True)]
            for name, parts in rank_sums.items():
                sums[name] = [a + b for a, b in zip(sums[name], parts, strict=True)]
        heads = [list(head.parameters()) for head in network.dataset_heads()]
        distances = head_distances(heads, list(network.generic.parameters()))
        return EpochRecord(
            phase=self.phase,
            epoch=self.epoch + 1,
            losses={n: {"localisation": s[0] / s[2], "classification": s[1] / s[2]} for n, s in sorted(sums.items())},
            distances=dict(zip(network.datasets, distances, strict=True)),
            particles=counts[1],
            lost_particles=counts[2],
            learning_rate=learning_rate,
            gradient_norm=max(norms),
            megabytes_per_step=self.bytes_averaged / len(norms) / 1e6,
            seconds=seconds,
            micrographs_per_second=counts[0] / seconds,
            data_wait_fraction=waited / seconds,
        )


def _sums(losses: Sequence[Tensor]) -> list[float]:
    """Localisation and classification added up, and how many there are."""
    localisation, classification = zip(*torch.stack(list(losses)).tolist(), strict=True)
    return [sum(localisation), sum(classification), float(len(losses))]


def gather(value: Any, world: int) -> list[Any]:
    """The values of all ranks, in rank order, on every rank."""
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def mean(values: Sequence[float]) -> float:
    """The mean, NaN for none."""
    return float(torch.tensor(values).mean()) if values else float("nan")
