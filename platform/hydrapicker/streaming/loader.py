"""Batches ready to train on: fetched ahead by threads, decoded and augmented ahead of use on one more."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hydrapicker.store.store import Dataset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Minibatch, plan_step, steps_in
from hydrapicker.streaming.reader import MinibatchReader
from hydrapicker_core.augmentation import AugmentationConfig, augment, generator_for
from hydrapicker_core.preprocess import Background

__all__ = ["PREFETCHED_STEPS", "Batch", "make_batch", "stream_steps"]

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
    augmentation: AugmentationConfig,
    minibatches_per_step: int,
    rank: int = 0,
    world: int = 1,
    first_step: int = 0,
    config: StreamingConfig | None = None,
) -> Iterator[tuple[Batch, ...]]:
    """Yield this rank's batches step by step, read and made ahead of use on other threads.

    Reading begins with this call, so that an epoch's first batches may be made while the one before is validated. The
    time a caller waits in ``next`` is the time it waits for data. Closing the iterator, or leaving it to be
    collected, ends the threads.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        By the names in ``plan``.
    plan : sequence of Minibatch
        As of :func:`~hydrapicker.streaming.plan.plan_epoch`.
    seed : int
        With a micrograph's dataset and id, and how often the dataset was gone through, it determines the crop.
    augmentation : AugmentationConfig
        Size of the crop, and what is varied.
    minibatches_per_step, rank, world : int
        As of :func:`~hydrapicker.streaming.plan.plan_step`.
    first_step : int
        Where to go on in the epoch.
    config : StreamingConfig, optional
        How far and how to read ahead; a few steps of ready batches come on top of its bound.

    Yields
    ------
    tuple of Batch
        One per minibatch of this rank in the step; maybe none.

    Raises
    ------
    StoreError
        When a micrograph cannot be read or is damaged; at the step it belongs to.
    """
    stream = _stream(datasets, plan, seed, augmentation, minibatches_per_step, rank, world, first_step, config)
    next(stream)
    return stream


def _stream(
    datasets: Mapping[str, Dataset],
    plan: Sequence[Minibatch],
    seed: int,
    augmentation: AugmentationConfig,
    minibatches_per_step: int,
    rank: int,
    world: int,
    first_step: int,
    config: StreamingConfig | None,
) -> Iterator[tuple[Batch, ...]]:
    """Begin to read and yield an empty step, then go on as :func:`stream_steps`."""
    steps = range(first_step, steps_in(plan, minibatches_per_step))

    def minibatches_of(step: int) -> tuple[Minibatch, ...]:
        return plan_step(plan, step, minibatches_per_step, rank, world)

    def load(step: int) -> tuple[Batch, ...]:
        return tuple(make_batch(datasets[m.dataset], m, next(images), seed, augmentation) for m in minibatches_of(step))

    images = MinibatchReader(datasets, (m for step in steps for m in minibatches_of(step)), config)
    ahead: deque[Future[tuple[Batch, ...]]] = deque()
    pool = ThreadPoolExecutor(1, "stream")
    try:
        ahead.extend(pool.submit(load, step) for step in steps[:PREFETCHED_STEPS])
        yield ()
        for step in steps[PREFETCHED_STEPS:]:
            ahead.append(pool.submit(load, step))
            yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        images.close()  # which also ends the waiting of the step that is being made
        pool.shutdown(cancel_futures=True)


def make_batch(
    dataset: Dataset,
    minibatch: Minibatch,
    images: Sequence[NDArray[np.float16]],
    seed: int,
    augmentation: AugmentationConfig,
) -> Batch:
    """Decode and augment the stored images of one minibatch; see :func:`stream_steps`."""
    crops, particles = [], []
    for number, image in zip(minibatch.rows, images, strict=True):
        row = dataset.rows[number]
        crop, inside = augment(
            torch.from_numpy(image.astype(np.float32)),
            torch.from_numpy(row.particles.copy()),
            Background(row.background_mean, row.background_std),
            augmentation,
            # Simulated datasets all number their micrographs alike; the name keeps their crops apart.
            generator_for(seed, minibatch.sweep, f"{minibatch.dataset}/{row.id}"),
        )
        crops.append(crop)
        particles.append(inside)
    return Batch(minibatch.dataset, torch.stack(crops)[:, None], tuple(particles))
