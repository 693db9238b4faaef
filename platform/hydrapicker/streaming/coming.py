"""A minibatch that will be asked for: which of its micrographs are on their way already, and where they go."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hydrapicker.store.layout import PIXEL
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.buffers import Buffers, aligned
from hydrapicker.streaming.fetch import Answers, Fetcher, Wanted
from hydrapicker.streaming.merge import Piece
from hydrapicker.streaming.places import places_of
from hydrapicker.streaming.plan import Minibatch

__all__ = ["Coming", "Slot"]


class Coming:
    """A minibatch's images, each on its way or not.

    Parameters
    ----------
    minibatch : Minibatch
        Which micrographs.
    dataset : Dataset
        Their dataset.
    fetcher : Fetcher
        Of the dataset's store.

    Attributes
    ----------
    size : int
        Bytes of all images.
    held : int
        Bytes of those on their way, or there.
    near : bool
        Whether all seem to be on a local disk.
    """

    __slots__ = ("_dataset", "_images", "_lengths", "_nears", "_places", "_shapes",
                 "answers", "fetcher", "held", "minibatch", "near", "size")  # fmt: skip

    def __init__(self, minibatch: Minibatch, dataset: Dataset, fetcher: Fetcher) -> None:
        self.minibatch, self.fetcher, self.answers = minibatch, fetcher, Answers()
        self._dataset, self._places = dataset, places_of(dataset)
        self._shapes = [self._places.shape(row) for row in minibatch.rows]
        self._lengths = [PIXEL.itemsize * height * width for height, width in self._shapes]
        self._nears = [fetcher.near(dataset, row) for row in minibatch.rows]
        self._images: list[NDArray[np.float16] | None] = [None] * len(self._shapes)
        self.size, self.held, self.near = sum(self._lengths), 0, all(self._nears)

    def missing(self) -> Iterator["Piece[Slot]"]:
        """Yield what is not on its way yet and would come by a network, in order."""
        for position, row in enumerate(self.minibatch.rows):
            if self._images[position] is None and not self._nears[position]:
                yield Piece(*self._places.start(row), self._lengths[position], (self, position))

    def begin(self, position: int, buffers: Buffers) -> Wanted:
        """Take memory for one image, and say what is to be fetched into it."""
        return self._into(position, buffers.take(self._lengths[position]))

    def begin_rest(self, buffers: Buffers) -> list[Wanted]:
        """Do so for all images that are not on their way.

        Those on a local disk share one piece of memory, which is taken sooner than many; for the others it would be
        free again only when the last of them is not held any more.
        """
        rest = [position for position, image in enumerate(self._images) if image is None]
        if not self.near:
            return [self.begin(position, buffers) for position in rest]
        memory, start, wanted = buffers.take(sum(aligned(self._lengths[position]) for position in rest)), 0, []
        for position in rest:
            wanted.append(self._into(position, memory[start : start + self._lengths[position]]))
            start += aligned(self._lengths[position])
        return wanted

    def taken(self) -> tuple[NDArray[np.float16], ...]:
        """Wait until all images are there, and hand them over; raises why the first of them could not be had."""
        answers = [self.answers.get() for _ in self._images]
        failed = {row: error for row, error in answers if error is not None}
        if failed:
            raise failed[min(failed, key=self.minibatch.rows.index)]
        return tuple(image for image in self._images if image is not None)

    def _into(self, position: int, memory: NDArray[np.uint8]) -> Wanted:
        row, near = self.minibatch.rows[position], self._nears[position]
        self._images[position] = memory.view(PIXEL).reshape(self._shapes[position])
        self.held += self._lengths[position]
        return Wanted(self._dataset, self._places, row, memory.data, near, self.answers)


Slot = tuple[Coming, int]
"""A minibatch and the position of one of its micrographs."""
