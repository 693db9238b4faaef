"""Reading whole epochs of small datasets, and telling whether the right bytes came."""

import threading
from contextlib import closing

import numpy as np

from hydrapicker.storage.location import Location
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch
from hydrapicker.streaming.reader import MinibatchReader

CONFIG = StreamingConfig(buffer_megabytes=2, connections=4, retry_seconds=30)


def minibatches(dataset: Dataset, size: int = 3, seed: int = 0) -> list[Minibatch]:
    return list(plan_epoch([Source.of(dataset)], seed, 0, size))


def read(dataset: Dataset, plan: list[Minibatch], config: StreamingConfig = CONFIG) -> list[tuple[np.ndarray, ...]]:
    with closing(MinibatchReader({dataset.name: dataset}, plan, config)) as reader:
        return list(reader)


def same(found: list[tuple[np.ndarray, ...]], plan: list[Minibatch], images: list[np.ndarray]) -> bool:
    """Whether just these minibatches came, bit for bit and in this order."""
    expected = [[images[row] for row in minibatch.rows] for minibatch in plan]
    return [len(group) for group in found] == [len(group) for group in expected] and all(
        got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()
        for group, other in zip(found, expected, strict=True)
        for got, wanted in zip(group, other, strict=True)
    )


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stream-fetch")]


def flip_bit(location: Location, dataset: Dataset, row: int) -> None:
    """Flip the last bit of a micrograph where it is stored."""
    path, offset, length = dataset.path_of(row)
    content = bytearray(location.read(path))
    content[offset + length - 1] ^= 1
    location.write(path, bytes(content))
