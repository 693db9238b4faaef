"""Reading: a store of datasets, a dataset of micrographs, and every byte checked."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import xxhash
from numpy.typing import NDArray

from hydrapicker.errors import DatasetNotFoundError, StoreError
from hydrapicker.store.damage import damaged
from hydrapicker.store.index import IndexMeta
from hydrapicker.store.layout import INDEX, MANIFEST, Manifest, shard_path
from hydrapicker.store.location import Location, default_store
from hydrapicker.store.outline import read_outline, read_rows
from hydrapicker.store.retry import RetryBudget
from hydrapicker.store.rows import Row, Rows
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.names import nearest, validate_dataset_name

__all__ = ["Dataset", "Store", "StoredMicrograph"]

_DTYPES = {"float16": np.dtype("<f2")}
_OPENED_AT_ONCE = 16


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

    Made by :meth:`Store.open`. ``name``, ``version``, ``fingerprint`` and ``created`` are strings; ``meta`` is what
    holds for all of its micrographs; ``location`` is the store it lies in.
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
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise StoreError(f"{self._named(entry)}: unknown pixel type {entry.dtype!r}; update HydraPicker")
        content = self.read_checked(row)
        return self.with_image(row, np.frombuffer(content, dtype).reshape(entry.height, entry.width))

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
            content = self.location.read_range(*self.path_of(row))
        except StoreError as error:
            raise StoreError(f"{self._named(entry)}: {error}") from error
        if xxhash.xxh3_128_hexdigest(content) != entry.checksum:
            found = "" if len(content) == entry.length else f"{len(content)} of {entry.length} bytes, "
            raise damaged(self.name, self.version, entry.shard, entry.id, f"{found}the checksum does not match")
        return content

    def _named(self, entry: Row) -> str:
        return f"dataset {self.name} {self.version}, shard {entry.shard}, micrograph {entry.id}"


class Store:
    """A store of datasets.

    Parameters
    ----------
    root : str, optional
        A folder or any fsspec URL; by default :func:`~hydrapicker.store.location.default_store`.
    retry : RetryBudget, optional
        For how long what fails is tried again, where it may pass.
    """

    def __init__(self, root: str | None = None, retry: RetryBudget = RetryBudget()) -> None:  # noqa: B008 (it is frozen)
        self.location = Location(root or default_store(), retry)

    def __repr__(self) -> str:
        return f"Store({self.location.root!r})"

    def names(self) -> tuple[str, ...]:
        """List the names of the datasets, sorted."""
        return tuple(name for name in self.location.names() if self.location.exists(f"{name}/{MANIFEST}"))

    def manifest(self, name: str) -> Manifest | None:
        """Read what versions a dataset has; None when there is no such dataset.

        Raises
        ------
        InvalidInputError
            When a dataset cannot have this name.
        StoreError
            When the store cannot be read.
        """
        validate_dataset_name(name)
        path = f"{name}/{MANIFEST}"
        found = self.location.read_tagged(path)
        return None if found is None else Manifest.from_bytes(found[0], self.location.url(path))

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
            raise DatasetNotFoundError(f"no dataset {name} in {self.location.root}; {self._nearest(name)}")
        version = version or manifest.current
        if version not in manifest.versions:
            there = ", ".join(sorted(manifest.versions))
            raise DatasetNotFoundError(f"dataset {name} has no version {version}; there are {there}")
        return Dataset(self.location, manifest, version)

    def open_all(self, versions: Mapping[str, str | None]) -> dict[str, Dataset]:
        """Open many datasets at once, as fast as the store answers.

        Parameters
        ----------
        versions : mapping of str to str or None
            The version of every dataset by the dataset's name; None for the current one.

        Returns
        -------
        dict of str to Dataset
            In the same order.

        Raises
        ------
        DatasetNotFoundError, StoreError
            As of :meth:`open`, for the first dataset that cannot be opened.
        """
        pool = ThreadPoolExecutor(_OPENED_AT_ONCE, "open")
        try:
            return dict(zip(versions, pool.map(self.open, versions, versions.values()), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)

    def _nearest(self, name: str) -> str:
        names = self.names()
        if not names:
            return "the store is empty: make a dataset with `hydrapicker ingest`, or check --store or HYDRAPICKER_STORE"
        close = nearest(name, names)
        return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names[:10])}"
