"""The order of an epoch: a pure function of fingerprints, seed and epoch, whoever reads it and however many read it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Minibatch", "Source", "plan_epoch", "plan_step", "steps_in"]


@dataclass(frozen=True)
class Source:
    """The part of a dataset that is trained on.

    Attributes:
        name: The dataset's name.
        fingerprint: The dataset's fingerprint.
        rows: Row numbers, as of ``Dataset.split``, all different.
    """

    name: str
    fingerprint: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Micrographs of one dataset that are seen together.

    Attributes:
        dataset: The dataset's name.
        rows: Row numbers in the dataset.
    """

    dataset: str
    rows: tuple[int, ...]


def plan_epoch(sources: Iterable[Source], seed: int, epoch: int, batch_size: int) -> tuple[Minibatch, ...]:
    """Plan an epoch: every row of every source once, in minibatches from one dataset each.

    Rows are shuffled within each dataset and cut into minibatches (the last of a dataset may be smaller), then the
    minibatches of all datasets are shuffled together. The order in which sources or rows are listed does not matter.

    Parameters
    ----------
    sources : iterable of Source
        The datasets; names all different.
    seed, epoch : int
        Another of either gives another order.
    batch_size : int
        Micrographs per minibatch.
    """
    ordered = sorted(sources, key=lambda source: (source.fingerprint, source.name))
    assert batch_size >= 1, f"batch_size is {batch_size}"
    assert len({source.name for source in ordered}) == len(ordered), "names of datasets must be unique"
    minibatches = []
    for source in ordered:
        rows = np.sort(np.asarray(source.rows, dtype=np.int64))
        shuffled = rows[_order(len(rows), "rows", source.fingerprint, seed, epoch)].tolist()
        starts = range(0, len(shuffled), batch_size)
        minibatches += [Minibatch(source.name, tuple(shuffled[start : start + batch_size])) for start in starts]
    fingerprints = [source.fingerprint for source in ordered]
    order = _order(len(minibatches), "minibatches", fingerprints, seed, epoch)
    return tuple(minibatches[i] for i in order.tolist())


def steps_in(plan: Sequence[Minibatch], minibatches_per_step: int) -> int:
    """Count the steps of an epoch; the last may hold fewer minibatches than the others."""
    return -(-len(plan) // minibatches_per_step)


def plan_step(
    plan: Sequence[Minibatch], step: int, minibatches_per_step: int, rank: int = 0, world: int = 1
) -> tuple[Minibatch, ...]:
    """Say which minibatches a rank takes in a step, in order.

    A step is the same minibatches for any number of ranks; they are dealt out in turn, so that rank ``r`` takes
    numbers r, r + world, r + 2 world ... of them. A rank may get none, in the last step or in a large world.

    Parameters
    ----------
    plan : sequence of Minibatch
        As of :func:`plan_epoch`.
    step : int
        From 0 to ``steps_in(plan, minibatches_per_step) - 1``.
    minibatches_per_step : int
        Minibatches in a step, over all ranks.
    rank, world : int
        This rank, and how many there are.
    """
    assert 0 <= rank < world, f"rank {rank} of {world}"
    assert 0 <= step < steps_in(plan, minibatches_per_step), f"step {step}"
    first = step * minibatches_per_step
    return tuple(plan[first : first + minibatches_per_step][rank::world])


def _order(n: int, *key: object) -> NDArray[np.int64]:
    """Return a random permutation of n that depends on the key only.

    NumPy keeps the raw numbers of its bit generators the same from release to release, but not what ``permutation``
    makes of them, so that an epoch resumed after an update would go on in another order.
    """
    entropy = int.from_bytes(hashlib.sha256(json.dumps(key).encode()).digest(), "big")
    raw = np.random.Philox(np.random.SeedSequence(entropy)).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int64)
