"""The epochs of a run as plans and batches; each is begun while the one before is validated and saved."""

from collections.abc import Iterator, Mapping

from hydrapicker.store.store import Dataset
from hydrapicker.streaming.loader import Batch, stream_steps
from hydrapicker.streaming.plan import EpochPlan, Source, plan_epoch
from hydrapicker.training.recipe import Recipe

Epoch = tuple[EpochPlan, Iterator[tuple[Batch, ...]]]
"""An epoch's plan, and this rank's batches step by step."""


class Epochs:
    """The epochs of a run, counted over all of its phases: which micrographs come does not depend on the phase.

    Args:
        recipe: Seed, minibatches, crops, and how to read.
        datasets: By the recipe's names.
        rank: This rank.
        world: Number of ranks.
    """

    def __init__(self, recipe: Recipe, datasets: Mapping[str, Dataset], rank: int, world: int) -> None:
        self._recipe, self._datasets, self._rank, self._world = recipe, datasets, rank, world
        self._sources = [Source.of(dataset) for dataset in datasets.values()]
        self._count = sum(phase.stage.epochs for phase in recipe.phases)
        self._begun: dict[int, Epoch] = {}

    def take(self, epoch: int) -> Epoch:
        """Hand over an epoch, begun before or now."""
        self.begin(epoch)
        return self._begun.pop(epoch)

    def begin(self, epoch: int) -> None:
        """Begin to read an epoch, unless the run has none of this number."""
        if epoch < self._count and epoch not in self._begun:
            self._begun[epoch] = self._open(epoch)

    def _open(self, epoch: int) -> Epoch:
        recipe, loop, streaming = self._recipe, self._recipe.loop, self._recipe.streaming
        plan = plan_epoch(
            self._sources,
            loop.seed,
            epoch,
            loop.batch_size,
            streaming.sampling,
            streaming.shuffle_window,
            loop.epoch_steps * loop.minibatches_per_step,
        )
        batches = stream_steps(
            self._datasets,
            plan,
            loop.seed,
            recipe.augmentation,
            loop.minibatches_per_step,
            self._rank,
            self._world,
            config=streaming,
        )
        return plan, batches
