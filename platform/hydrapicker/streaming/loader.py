"""Batches ready to train on, read and augmented ahead of use on one background thread."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hydrapicker.store.store import Dataset
from hydrapicker.streaming.plan import Minibatch, plan_step, steps_in
from hydrapicker_core.augmentation import AugmentationConfig, augment, generator_for
from hydrapicker_core.preprocess import Background

__all__ = ["PREFETCHED_STEPS", "Batch", "load_minibatch", "stream_steps"]

PREFETCHED_STEPS = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops of one dataset's micrographs.

    Attributes:
        dataset: The dataset's name.
        images: float32 (b, 1, crop, crop), normalised.
        particles: For every image float32 (n, 2), x then y, in its pixels; n may be 0.
    """

    dataset: str
    images: Float[Tensor, "b 1 c c"]
    particles: tuple[Float[Tensor, "n 2"], ...]


def stream_steps(
    datasets: Mapping[str, Dataset],
    plan: Sequence[Minibatch],
    seed: int,
    epoch: int,
    augmentation: AugmentationConfig,
    minibatches_per_step: int,
    rank: int = 0,
    world: int = 1,
    first_step: int = 0,
) -> Iterator[tuple[Batch, ...]]:
    """Yield this rank's batches step by step, a few steps read ahead on one background thread.

    The time a caller waits in ``next`` is the time it waits for data. Closing the iterator, or leaving it to be
    collected, ends the thread.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        By the names in ``plan``.
    plan : sequence of Minibatch
        As of :func:`~hydrapicker.streaming.plan.plan_epoch`.
    seed, epoch : int
        With a micrograph's dataset and id they determine its crop.
    augmentation : AugmentationConfig
        Size of the crop, and what is varied.
    minibatches_per_step, rank, world : int
        As of :func:`~hydrapicker.streaming.plan.plan_step`.
    first_step : int
        Where to go on in the epoch.

    Yields
    ------
    tuple of Batch
        One per minibatch of this rank in the step; maybe none.

    Raises
    ------
    StoreError
        When a micrograph cannot be read or is damaged; at the step it belongs to.
    """

    def load(step: int) -> tuple[Batch, ...]:
        minibatches = plan_step(plan, step, minibatches_per_step, rank, world)
        return tuple(load_minibatch(datasets[m.dataset], m, seed, epoch, augmentation) for m in minibatches)

    ahead: deque[Future[tuple[Batch, ...]]] = deque()
    pool = ThreadPoolExecutor(1, "stream")
    try:
        for step in range(first_step, steps_in(plan, minibatches_per_step)):
            ahead.append(pool.submit(load, step))
            if len(ahead) > PREFETCHED_STEPS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def load_minibatch(
    dataset: Dataset, minibatch: Minibatch, seed: int, epoch: int, augmentation: AugmentationConfig
) -> Batch:
    """Read and augment one minibatch; see :func:`stream_steps`."""
    images, particles = [], []
    for row in minibatch.rows:
        micrograph = dataset.read(row)
        crop, inside = augment(
            torch.from_numpy(micrograph.image),
            torch.from_numpy(micrograph.particles),
            Background(micrograph.background_mean, micrograph.background_std),
            augmentation,
            # Simulated datasets all number their micrographs alike; the name keeps their crops apart.
            generator_for(seed, epoch, f"{minibatch.dataset}/{micrograph.id}"),
        )
        images.append(crop)
        particles.append(inside)
    return Batch(minibatch.dataset, torch.stack(images)[:, None], tuple(particles))
