"""What lies where in a store: names of files, and the manifest that says which versions of a dataset there are.

::

    <root>/<dataset>/manifest.json          the versions there are, and the current one; written last
    <root>/<dataset>/v0001/index.parquet    a row per micrograph
    <root>/<dataset>/v0001/00000.shard      micrographs back to back
    <root>/<dataset>/v0002/journal/...      an ingest under way: v0002 is not in the manifest, so it does not exist yet

A row's ``shard`` is a file in its version's own folder or, where a version reuses shards of an earlier one, a path
below the dataset's folder such as ``v0001/00000.shard``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from hydrapicker.errors import StoreError

__all__ = [
    "FORMAT_VERSION",
    "INDEX",
    "JOURNAL",
    "MANIFEST",
    "NORMALISATION",
    "PIXEL",
    "PIXEL_NAME",
    "SPLITS",
    "VERSION_NAME",
    "Manifest",
    "VersionEntry",
    "check_format",
    "shard_name",
    "shard_path",
    "version_name",
]

FORMAT_VERSION = 2
"""What is written. Version 1 had no shards of earlier versions in an index and no footers in the manifest."""
_READABLE = (1, 2)
NORMALISATION = "median-mad-clip6"
"""Name of what `hydrapicker_core.preprocess.prepare` does to pixels; another recipe gets another name."""
MANIFEST = "manifest.json"
INDEX = "index.parquet"
JOURNAL = "journal"
SPLITS = ("train", "val", "test")
VERSION_NAME = re.compile(r"v\d{4,}", re.ASCII)
"""What :func:`version_name` makes."""
PIXEL = np.dtype("<f2")
"""Type of the stored pixels ..."""
PIXEL_NAME = "float16"
"""... and what an index calls it."""


def version_name(number: int) -> str:
    """Name version ``number`` (from 1)."""
    return f"v{number:04d}"


def shard_name(number: int) -> str:
    """Name shard ``number`` (from 0) of a version."""
    return f"{number:05d}.shard"


def shard_path(dataset: str, version: str, shard: str) -> str:
    """Say where a shard lies below the store's root, by what an index of ``version`` calls it."""
    return f"{dataset}/{shard}" if "/" in shard else f"{dataset}/{version}/{shard}"


def check_format(found: object, where: str) -> None:
    """Refuse what another version of HydraPicker wrote in a format this one does not know."""
    if found not in _READABLE:
        known = " and ".join(map(str, _READABLE))
        raise StoreError(
            f"{where}: format version {found!r}, but this HydraPicker reads {known}; "
            "use the HydraPicker that wrote it, or ingest again"
        )


@dataclass(frozen=True)
class VersionEntry:
    """What the manifest says about one version.

    Attributes:
        fingerprint: sha256 of the version's index, in hex.
        created: When it was written, ISO 8601 in UTC.
        micrographs: Number of micrographs per split.
        particles: Number of particles per split.
        index_bytes: Size of the index; 0 in a manifest of format version 1.
        footer_bytes: Size of the index's Parquet footer, which ends it: metadata, its length, and the magic number.
        footer_sha256: sha256 of those bytes, so that the part of an index that a plan needs is checked alone.
    """

    fingerprint: str
    created: str
    micrographs: Mapping[str, int]
    particles: Mapping[str, int]
    index_bytes: int = 0
    footer_bytes: int = 0
    footer_sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The versions of a dataset.

    Attributes:
        name: The dataset's name.
        current: Name of the version that is used when none is asked for.
        versions: Entry of every version, by its name.
    """

    name: str
    current: str
    versions: Mapping[str, VersionEntry]

    def with_version(self, version: str, entry: VersionEntry) -> "Manifest":
        """Return this manifest with one more version, which becomes the current one."""
        return replace(self, current=version, versions=MappingProxyType({**self.versions, version: entry}))

    def to_bytes(self) -> bytes:
        """Write as JSON."""
        content = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "current": self.current,
            "versions": {version: asdict(entry) for version, entry in sorted(self.versions.items())},
        }
        return (json.dumps(content, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> "Manifest":
        """Read from JSON; ``where`` names the file in errors.

        Raises
        ------
        StoreError
            When it is not a manifest, or of a format version that is not known.
        """
        try:
            found = json.loads(content)
            check_format(found["format_version"], where)
            versions = {_checked_name(version): _entry(entry) for version, entry in found["versions"].items()}
            if found["current"] not in versions:
                raise ValueError(f"current is {found['current']!r}, which is none of its versions")
            return cls(found["name"], found["current"], MappingProxyType(versions))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{where}: not a dataset's manifest ({type(error).__name__}: {error}); "
                "restore it from a copy, or remove its folder and ingest again"
            ) from error


def _checked_name(version: str) -> str:
    if not VERSION_NAME.fullmatch(version):
        raise ValueError(f"no version can be called {version!r}")
    return version


def _entry(found: dict[str, Any]) -> VersionEntry:
    entry = VersionEntry(**found)
    for name, value in asdict(entry).items():
        default = getattr(VersionEntry, name, None)
        kind = dict if name in ("micrographs", "particles") else str if default is None else type(default)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
    return entry
