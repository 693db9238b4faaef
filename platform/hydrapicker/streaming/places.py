"""Where the micrographs of a dataset lie, and which of them have been checked, kept for as long as the dataset is."""

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from hydrapicker.storage.mapped import MappedFiles
from hydrapicker.store.layout import shard_path
from hydrapicker.store.store import Dataset

__all__ = ["Places", "places_of"]


class Places:
    """What reading needs of every micrograph, as arrays: making a whole row takes as long as reading a tenth of it.

    ``checked`` says for every row whether its bytes on a local disk have been checked in this process; from then on
    they may be copied from ``mapped``, which is None where the store is not local. ``checksum`` gives what a row's
    bytes must have, xxh3-128 in hex.
    """

    def __init__(self, dataset: Dataset) -> None:
        rows = dataset.rows
        self._name, self._version, self._rows = dataset.name, dataset.version, rows
        self._height, self._width, self._offset = map(rows.column, ("height", "width", "offset"))
        self.checksum: Callable[[int], str] = rows.getter("checksum")
        self._shard, self._paths = dataset.shard_numbers, dict[int, str]()
        self.checked = np.zeros(len(rows), np.bool_)
        folder = dataset.location.local_folder
        self.mapped = None if folder is None else MappedFiles(folder)

    def shape(self, row: int) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._height.item(row), self._width.item(row)

    def start(self, row: int) -> tuple[str, int]:
        """Path of the shard below the store's root, and the first byte in it."""
        shard = self._shard.item(row)
        path = self._paths.get(shard)
        if path is None:
            path = self._paths[shard] = shard_path(self._name, self._version, self._rows[row].shard)
        return path, self._offset.item(row)


_known: WeakKeyDictionary[Dataset, Places] = WeakKeyDictionary()
_knowing = threading.Lock()


def places_of(dataset: Dataset) -> Places:
    """Return a dataset's places; reads its index when this is first asked for."""
    with _knowing:
        places = _known.get(dataset)
        if places is None:
            places = _known[dataset] = Places(dataset)
        return places
