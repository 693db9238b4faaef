"""Whole micrographs with their particles, one after the other, read ahead of use: what heads are judged on."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from hydrapicker.store.store import Dataset, StoredMicrograph
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Minibatch
from hydrapicker.streaming.reader import MinibatchReader

__all__ = ["stream_micrographs"]


def stream_micrographs(
    datasets: Mapping[str, Dataset], wanted: Iterable[tuple[str, int]], config: StreamingConfig | None = None
) -> Iterator[StoredMicrograph]:
    """Yield micrographs in the order they are asked for, the next ones under way on other threads.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        By the names in ``wanted``.
    wanted : iterable of (str, int)
        Dataset's name and row number of each micrograph.
    config : StreamingConfig, optional
        How far and how to read ahead.

    Raises
    ------
    StoreError
        When a micrograph cannot be read or is damaged; at its turn.
    """
    wanted = list(wanted)
    one_by_one = (Minibatch(name, (int(row),), 0) for name, row in wanted)
    with closing(MinibatchReader(datasets, one_by_one, config)) as images:
        for (name, row), (image,) in zip(wanted, images, strict=True):
            yield datasets[name].with_image(int(row), image)
