"""What an ingest is given, and what it reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tyro.conf import Positional

from hydrapicker.cores import available_cores
from hydrapicker.errors import InvalidInputError
from hydrapicker.store.splits import split_size
from hydrapicker_core.scale import DEFAULT_BOX_PX
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.names import GENERIC, validate_dataset_name

__all__ = ["IngestConfig", "IngestReport"]


@dataclass(frozen=True)
class IngestConfig:
    """Micrographs and particles to make a dataset version of.

    Attributes:
        name: The dataset's name.
        micrographs: Micrograph files, folders or patterns such as "mics/*.mrc" or "s3://bucket/mics/*.mrc".
        particles: File with the true particles (.star, .box, .csv), or a folder with one per micrograph; or its URL.
        diameter_angstrom: The particle's diameter.
        pixel_size_angstrom: Pixel size of the micrographs; read from their headers when not given.
        contrast: Whether particles are darker or lighter than the background.
        box_px: Diameter of the particle in the store, in pixels; micrographs are shrunk to this scale.
        val_size: Validation micrographs, a count or a share below 1; by default a tenth, at least one of three or more.
        test_size: Test micrographs, a count or a share below 1; by default a tenth, at least one of three or more.
        split_seed: Another seed draws other validation and test micrographs.
        keep_empty: Take micrographs without any particle as true negatives; by default they are left out.
        skip_unusable: Leave out micrographs whose files are damaged or empty, instead of ending with their names.
        append: Keep what the current version has, and use its shards again; add the micrographs it does not have.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        parallel: Prepare on "threads" of this machine or on "ray"; "auto" is Ray where RAY_ADDRESS names a cluster.
        workers: Micrographs prepared at a time on threads; by default one per core. Ray uses all cores it has.
        shard_megabytes: Size of the files that hold the micrographs.
    """

    name: Positional[str]
    micrographs: tuple[str, ...]
    particles: str
    diameter_angstrom: float
    pixel_size_angstrom: float | None = None
    contrast: Contrast = "dark"
    box_px: int = DEFAULT_BOX_PX
    val_size: float | None = None
    test_size: float | None = None
    split_seed: int = 0
    keep_empty: bool = False
    skip_unusable: bool = False
    append: bool = False
    store: str | None = None
    parallel: Literal["auto", "threads", "ray"] = "auto"
    workers: int = field(default_factory=available_cores)
    shard_megabytes: float = 64

    def __post_init__(self) -> None:
        validate_dataset_name(self.name)
        if self.name == GENERIC:
            raise InvalidInputError(
                "name is generic, as the head of all datasets is called; give the dataset another name"
            )
        if isinstance(self.micrographs, str) or not self.micrographs:
            raise InvalidInputError(
                f"micrographs is {self.micrographs!r}; give a list of files, folders or patterns such as 'mics/*.mrc'"
            )
        for what in ("diameter_angstrom", "pixel_size_angstrom", "shard_megabytes"):
            value = getattr(self, what)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{what} is {value}; give a number above 0")
        for what in ("workers", "box_px"):
            if getattr(self, what) < 1:
                raise InvalidInputError(f"{what} is {getattr(self, what)}; give a whole number of at least 1")
        if self.contrast not in ("dark", "light"):
            raise InvalidInputError(f"contrast is {self.contrast!r}; give 'dark' or 'light'")
        if self.parallel not in ("auto", "threads", "ray"):
            raise InvalidInputError(f"parallel is {self.parallel!r}; give 'auto', 'threads' or 'ray'")
        for size in (self.val_size, self.test_size):
            split_size(size, 1)


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        name: The dataset's name.
        version: The version made, or the one that already held just this.
        fingerprint: sha256 of the version's index.
        unchanged: True when the current version already held just this, and no version was made.
        micrographs: Number of micrographs per split.
        particles: Number of particles per split.
        skipped: Files of micrographs left out, each with the reason.
        dropped_outside: Number of particles dropped because they lie outside of their micrograph.
        continued_from: Number of micrographs that an interrupted ingest had already stored.
        repaired: Files of an unchanged version that were damaged and were written anew.
    """

    name: str
    version: str
    fingerprint: str
    unchanged: bool
    micrographs: Mapping[str, int]
    particles: Mapping[str, int]
    skipped: Mapping[str, str] = field(default_factory=dict)
    dropped_outside: int = 0
    continued_from: int = 0
    repaired: tuple[str, ...] = ()
