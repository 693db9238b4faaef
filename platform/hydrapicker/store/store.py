"""Reading: a store of datasets, a dataset of micrographs, and every byte checked."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import DatasetNotFoundError, StoreError
from hydrapicker.storage.faults import Fault, fault_of
from hydrapicker.storage.location import Location, default_store
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.store.damage import damaged
from hydrapicker.store.index import IndexMeta
from hydrapicker.store.intact import DamagedError, read_pixels
from hydrapicker.store.layout import INDEX, MANIFEST, PIXEL, PIXEL_NAME, Manifest, shard_path
from hydrapicker.store.manifest import possible_names, read_manifest
from hydrapicker.store.outline import read_outline, read_rows
from hydrapicker.store.rows import Row, Rows
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.names import nearest, validate_dataset_name

__all__ = ["Dataset", "Store", "StoredMicrograph"]

_AT_ONCE = 16
"""Datasets about which the store is asked at a time."""

S, T = TypeVar("S"), TypeVar("T")


@dataclass(frozen=True, eq=False)
class StoredMicrograph:
    """A prepared micrograph with its particles.

    Attributes:
        id: The micrograph's name, unique in its dataset.
        image: float32 (height, width), normalised, particles dark.
        particles: float32 (n, 2), x then y, in pixels of ``image``.
        background_mean: Mean of the background of ``image``.
        background_std: Standard deviation of the background of ``image``.
        scale_x: Working / original pixels along x: ``x_original = x / scale_x``.
        scale_y: Working / original pixels along y.
        pixel_size_angstrom: Pixel size of the original image.
        original_height: Height of the original image in pixels.
        original_width: Width of the original image in pixels.
    """

    id: str
    image: NDArray[np.float32]
    particles: NDArray[np.float32]
    background_mean: float
    background_std: float
    scale_x: float
    scale_y: float
    pixel_size_angstrom: float
    original_height: int
    original_width: int


class Dataset:
    """One version of a dataset; it never changes. Safe to read from several threads.

    It may be pickled: it is opened anew where it arrives, and the rows it has read stay behind. Made by
    :meth:`Store.open`. ``name``, ``version``, ``fingerprint`` and ``created`` are strings; ``meta`` is what holds for
    all of its micrographs; ``location`` is the store it lies in.
    """

    def __init__(self, location: Location, manifest: Manifest, version: str) -> None:
        entry = manifest.versions[version]
        self.name, self.version, self.created = manifest.name, version, entry.created
        self.fingerprint, self.location = entry.fingerprint, location
        self._entry, self._index = entry, f"{manifest.name}/{version}/{INDEX}"
        self._outline = read_outline(location, self._index, entry)
        self.meta: IndexMeta = self._outline.meta
        self._rows: Rows | None = None
        self._reading_rows = Lock()

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {self.version!r}, {len(self)} micrographs)"

    def __reduce__(self) -> tuple[type["Dataset"], tuple[Location, Manifest, str]]:
        manifest = Manifest(self.name, self.version, {self.version: self._entry})
        return Dataset, (self.location, manifest, self.version)

    def __len__(self) -> int:
        """Return the number of micrographs."""
        return len(self.shard_numbers)

    @property
    def rows(self) -> Rows:
        """All that is known of each micrograph; the whole index is read when this is first asked for.

        Raises
        ------
        StoreError
            When the index cannot be read or is damaged.
        """
        with self._reading_rows:
            if self._rows is None:
                self._rows = read_rows(self.location, self._index, self._entry)
            return self._rows

    @property
    def box_px(self) -> int:
        """Side of a particle's box in working pixels."""
        return self.meta.box_px

    @property
    def diameter_angstrom(self) -> float:
        """The particle's diameter."""
        return self.meta.diameter_angstrom

    @property
    def contrast(self) -> Contrast:
        """Whether particles were dark or light in the original files."""
        return self.meta.contrast

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the row numbers of ``train``, ``val`` or ``test``, ascending; int64 (n,), read-only."""
        return self._outline.splits[name]

    @property
    def shard_numbers(self) -> NDArray[np.int32]:
        """For every row which shard it lies in, each shard having a number of its own; int32 (n,), read-only."""
        return self._outline.shard_numbers

    def path_of(self, row: int) -> tuple[str, int, int]:
        """Say where a micrograph's bytes lie: path below the store's root, first byte, number of bytes."""
        entry = self.rows[row]
        return shard_path(self.name, self.version, entry.shard), entry.offset, entry.length

    def read(self, row: int) -> StoredMicrograph:
        """Read one micrograph and check its bytes.

        Parameters
        ----------
        row : int
            Row number, the position in ``rows``.

        Raises
        ------
        StoreError
            When the bytes are missing or are not those that were ingested.
        """
        entry = self.rows[row]
        if entry.dtype != PIXEL_NAME:
            raise StoreError(f"{self._named(entry)}: unknown pixel type {entry.dtype!r}; update HydraPicker")
        content = self.read_checked(row)
        return self.with_image(row, np.frombuffer(content, PIXEL).reshape(entry.height, entry.width))

    def with_image(self, row: int, image: NDArray[np.float16]) -> StoredMicrograph:
        """Return a micrograph of which the stored image, (height, width), is there already."""
        entry = self.rows[row]
        return StoredMicrograph(
            id=entry.id,
            image=image.astype(np.float32),
            particles=entry.particles.copy(),
            background_mean=entry.background_mean,
            background_std=entry.background_std,
            scale_x=entry.width / entry.original_width,
            scale_y=entry.height / entry.original_height,
            pixel_size_angstrom=entry.pixel_size_angstrom,
            original_height=entry.original_height,
            original_width=entry.original_width,
        )

    def read_checked(self, row: int) -> bytes:
        """Read one micrograph's bytes as stored and check them (see :meth:`read`)."""
        entry = self.rows[row]
        try:
            return read_pixels(self.location, self.path_of(row)[0], entry)
        except DamagedError as error:
            raise damaged(self.name, self.version, entry.shard, entry.id, str(error)) from error
        except StoreError as error:
            if fault_of(error) is Fault.ABSENT:
                raise damaged(self.name, self.version, entry.shard, entry.id, "the shard is missing") from error
            raise type(error)(f"{self._named(entry)}: {error}") from error

    def _named(self, entry: Row) -> str:
        return f"dataset {self.name} {self.version}, shard {entry.shard}, micrograph {entry.id}"


class Store:
    """A store of datasets.

    Parameters
    ----------
    root : str, optional
        A folder or any fsspec URL; by default :func:`~hydrapicker.storage.location.default_store`.
    retry : RetryBudget, optional
        For how long what fails is tried again, where it may pass.
    """

    def __init__(self, root: str | None = None, retry: RetryBudget = RetryBudget()) -> None:  # noqa: B008 (it is frozen)
        self.location = Location(root or default_store(), retry)

    def __repr__(self) -> str:
        return f"Store({self.location.url()!r})"

    def names(self) -> tuple[str, ...]:
        """List the names of the datasets, sorted."""
        names = possible_names(self.location)
        there = _at_once(lambda name: self.location.exists(f"{name}/{MANIFEST}"), names)
        return tuple(name for name, found in zip(names, there, strict=True) if found)

    def manifests(self) -> dict[str, Manifest | StoreError]:
        """Read the manifests of all datasets, by name and sorted by it.

        Returns
        -------
        dict of str to Manifest or StoreError
            For a dataset whose manifest cannot be used the error that says why.

        Raises
        ------
        StoreError
            When the store does not answer or does not let us in.
        """

        def read(name: str) -> Manifest | StoreError | None:
            try:
                return self.manifest(name)
            except StoreError as error:
                if fault_of(error) not in (Fault.OTHER, Fault.DENIED):  # of the store, not of this one manifest
                    raise
                return error

        names = possible_names(self.location)
        found = zip(names, _at_once(read, names), strict=True)
        return {name: manifest for name, manifest in found if manifest is not None}

    def manifest(self, name: str) -> Manifest | None:
        """Read what versions a dataset has; None when there is no such dataset.

        Raises
        ------
        InvalidInputError
            When a dataset cannot have this name.
        StoreError
            When the store cannot be read.
        """
        manifest, tag = read_manifest(self.location, validate_dataset_name(name))
        return None if tag is None else manifest

    def open(self, name: str, version: str | None = None) -> Dataset:
        """Open a dataset, by default its current version.

        Raises
        ------
        DatasetNotFoundError
            When there is no dataset or version of this name; the message has the nearest names.
        StoreError
            When its index is damaged or of a format that is not known.
        """
        manifest = self.manifest(name)
        if manifest is None:
            raise DatasetNotFoundError(f"no dataset {name} in {self.location.url()}; {self._nearest(name)}")
        version = version or manifest.current
        if version not in manifest.versions:
            there = ", ".join(sorted(manifest.versions))
            raise DatasetNotFoundError(f"dataset {name} has no version {version}; there are {there}")
        return Dataset(self.location, manifest, version)

    def open_all(self, versions: Mapping[str, str | None], *, whole: bool = False) -> dict[str, Dataset]:
        """Open many datasets at once, as fast as the store answers.

        Parameters
        ----------
        versions : mapping of str to str or None
            The version of every dataset by the dataset's name; None for the current one.
        whole : bool, optional
            Read all their rows as well, which is otherwise done for each when its rows are first asked for.

        Returns
        -------
        dict of str to Dataset
            In the same order.

        Raises
        ------
        DatasetNotFoundError, StoreError
            As of :meth:`open`, for the first dataset that cannot be opened.
        """

        def opened(name: str) -> Dataset:
            dataset = self.open(name, versions[name])
            if whole:
                len(dataset.rows)
            return dataset

        return dict(zip(versions, _at_once(opened, versions), strict=True))

    def _nearest(self, name: str) -> str:
        names = self.names()
        if not names:
            return "the store is empty: make a dataset with `hydrapicker ingest`, or check --store or HYDRAPICKER_STORE"
        close = nearest(name, names)
        return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names[:10])}"


def _at_once(do: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Do something with each, many at a time; results in order, and the error of the first that fails."""
    pool = ThreadPoolExecutor(_AT_ONCE, "store")
    try:
        return list(pool.map(do, items))
    finally:
        pool.shutdown(cancel_futures=True)
