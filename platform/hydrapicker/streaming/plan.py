"""The order of an epoch: a pure function of fingerprints, seed and epoch, whoever reads it and however many read it.

Each dataset is an endless sequence of minibatches: it is gone through in one order, then in another, and so on; each
time is a sweep. An epoch takes the next few minibatches of each dataset, and draws in which order datasets take turns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from hydrapicker.streaming.order import random_order, sweep_order
from hydrapicker.streaming.sampling import Sampling, quotas

if TYPE_CHECKING:
    from hydrapicker.store.store import Dataset

__all__ = ["EpochPlan", "Minibatch", "Sampling", "Source", "plan_epoch", "plan_step", "steps_in"]

_SWEEPS_KEPT = 2
"""Per dataset: what is read ahead may be in the sweep after that which is trained on."""


@dataclass(frozen=True, eq=False)
class Source:
    """The part of a dataset that is trained on.

    Attributes:
        name: The dataset's name.
        fingerprint: The dataset's fingerprint.
        rows: int64 (n,), row numbers, as of ``Dataset.split``, all different.
        shards: int32 (n,), which shard each row lies in; which number stands for which shard does not matter.
    """

    name: str
    fingerprint: str
    rows: NDArray[np.int64]
    shards: NDArray[np.int32]

    def __post_init__(self) -> None:
        assert self.rows.shape == self.shards.shape == (len(self.rows),), f"{self.rows.shape}, {self.shards.shape}"

    @classmethod
    def of(cls, dataset: "Dataset", split: str = "train") -> "Source":
        """Return the source that a split of a dataset is."""
        rows = dataset.split(split)
        return cls(dataset.name, dataset.fingerprint, rows, dataset.shard_numbers[rows])


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Micrographs of one dataset that are seen together.

    Attributes:
        dataset: The dataset's name.
        rows: Row numbers in the dataset.
        sweep: How often the dataset had been gone through before, over all epochs; a micrograph that is seen again
            in the same epoch is seen in another sweep.
    """

    dataset: str
    rows: tuple[int, ...]
    sweep: int


class EpochPlan(Sequence[Minibatch]):
    """The minibatches of an epoch, in order; made by :func:`plan_epoch`.

    A dataset's order is worked out when its first minibatch is asked for, so that going on in the middle costs no
    more than starting. Safe to use from several threads.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seed: int,
        epoch: int,
        batch_size: int,
        sampling: Sampling,
        shuffle_window: int,
        minibatches: int,
    ) -> None:
        self._sources, self._batch_size = sources, batch_size
        self._per_sweep = [-(-len(source.rows) // batch_size) for source in sources]
        quota = quotas(self._per_sweep, sampling, minibatches)
        self._passed = quota * epoch
        self._turns = _turns(quota, "minibatches", [source.fingerprint for source in sources], seed, epoch)
        # How many turns a dataset has had before each of its turns: what it takes then is that far on from the
        # epoch's first.
        by_source = np.argsort(self._turns, kind="stable")
        self._turns_before = np.empty_like(by_source)
        self._turns_before[by_source] = np.arange(len(by_source)) - np.repeat(np.cumsum(quota) - quota, quota)
        self._sweeps = [lru_cache(_SWEEPS_KEPT)(partial(_sweep, s, shuffle_window, seed)) for s in sources]

    def __len__(self) -> int:
        """Return the number of minibatches."""
        return len(self._turns)

    @overload
    def __getitem__(self, index: int) -> Minibatch: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Minibatch, ...]: ...
    def __getitem__(self, index: int | slice) -> Minibatch | tuple[Minibatch, ...]:
        """Return one minibatch, or those of a slice."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        turn = int(self._turns[index])
        number = int(self._passed[turn]) + int(self._turns_before[index])
        sweep, position = divmod(number, self._per_sweep[turn])
        start = position * self._batch_size
        rows = self._sweeps[turn](sweep)[start : start + self._batch_size]
        return Minibatch(self._sources[turn].name, tuple(rows.tolist()), sweep)


def plan_epoch(
    sources: Iterable[Source],
    seed: int,
    epoch: int,
    batch_size: int,
    sampling: Sampling = "proportional",
    shuffle_window: int = 4096,
    minibatches: int = 0,
) -> EpochPlan:
    """Plan an epoch in minibatches from one dataset each; by default every row of every source once.

    Rows are shuffled within each dataset (see :func:`~hydrapicker.streaming.order.sweep_order`) and cut into
    minibatches (the last of a sweep may be smaller), and the datasets take turns at random. With another sampling
    than ``proportional`` the epoch is as long, but a small dataset may be gone through many times in it, and a large
    one over several epochs; each time it is gone through, every row of it comes once. The order in which sources or
    rows are listed does not matter.

    Parameters
    ----------
    sources : iterable of Source
        The datasets; names all different.
    seed, epoch : int
        Another of either gives another order.
    batch_size : int
        Micrographs per minibatch.
    sampling : Sampling
        How an epoch is shared out among the datasets, see :func:`~hydrapicker.streaming.sampling.quotas`.
    shuffle_window : int
        Micrographs of a dataset that are shuffled together.
    minibatches : int
        Length of the epoch, at least one minibatch for each dataset; 0: as long as all datasets gone through once.
    """
    assert batch_size >= 1, f"batch_size is {batch_size}"
    assert epoch >= 0, f"epoch is {epoch}"
    ordered = sorted(sources, key=lambda source: (source.fingerprint, source.name))
    assert len({source.name for source in ordered}) == len(ordered), "names of datasets must be unique"
    with_rows = [source for source in ordered if len(source.rows)]
    return EpochPlan(with_rows, seed, epoch, batch_size, sampling, shuffle_window, minibatches if with_rows else 0)


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
    return tuple(plan[first + rank : first + minibatches_per_step : world])


def _turns(quota: NDArray[np.int64], *key: object) -> NDArray[np.int32]:
    """Draw which dataset's turn it is at every minibatch."""
    each = np.repeat(np.arange(len(quota), dtype=np.int32), quota)
    return each[random_order(len(each), *key)]


def _sweep(source: Source, window: int, seed: int, sweep: int) -> NDArray[np.int64]:
    """Return a source's rows in the order of one sweep."""
    by_number = np.argsort(source.rows, kind="stable")
    order = sweep_order(source.shards[by_number], window, source.fingerprint, seed, sweep)
    return source.rows[by_number[order]]
