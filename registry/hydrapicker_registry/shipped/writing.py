"""Write the packages that ship, from a registry's generic head: the same weights, with what the public is told."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.metadata import HeadMetadata, Training, TrunkMetadata
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.package import HeadPackage, TrunkPackage, write_package
from hydrapicker_registry.reading import LoadedHead
from hydrapicker_registry.shipped import SUMS_NAME, TRUNK_FOLDER, read_shipped

M = TypeVar("M", TrunkMetadata, HeadMetadata)

MAX_SHIPPED_BYTES = 15_000_000
"""What everybody downloads with the wheel, whether they pick with it or not."""


@dataclass(frozen=True)
class Public:
    """What the public is told of the model; None leaves what is on record.

    Attributes:
        words: Markdown for the generic head's card: what it was trained on and where it fails.
        licence: Of the weights, as an SPDX identifier.
        authors: Who made it.
        citation: What to cite.
        metrics: Figures by name, in place of all that are on record.
        threshold: Recommended least score of a pick.
    """

    words: str = ""
    licence: str | None = None
    authors: tuple[str, ...] | None = None
    citation: str | None = None
    metrics: Mapping[str, float] | None = None
    threshold: float | None = None


def write_shipped(loaded: LoadedHead, public: Public, folder: Path) -> int:
    """Write trunk, generic head and their checksums into a folder, in place of what ships now; returns their bytes.

    Raises
    ------
    InvalidInputError
        For another head than the generic one, figures that are none, and more bytes than may ship; the folder is as
        it was.
    """
    if loaded.head.metadata.dataset != GENERIC:
        raise InvalidInputError(f"head {loaded.head.metadata.dataset!r} is not the generic one, which alone ships")
    trunk, head = _public(loaded, public)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shipped-") as scratch:
        new = Path(scratch)
        sums = {TRUNK_FOLDER: write_package(new / TRUNK_FOLDER, trunk)}
        sums[GENERIC] = write_package(new / GENERIC, head, public.words)
        (new / SUMS_NAME).write_text(json.dumps(sums, indent=2) + "\n")
        size = sum(file.stat().st_size for file in new.rglob("*") if file.is_file())
        if size > MAX_SHIPPED_BYTES:
            raise InvalidInputError(
                f"{head.metadata.dataset} head with its trunk has {size / 1e6:.1f} MB, and no more than "
                f"{MAX_SHIPPED_BYTES / 1e6:g} MB may ship: train a narrower network"
            )
        read_shipped(new)
        for name in (TRUNK_FOLDER, GENERIC):
            shutil.rmtree(folder / name, ignore_errors=True)
            (new / name).replace(folder / name)
        (new / SUMS_NAME).replace(folder / SUMS_NAME)
    return size


def _public(loaded: LoadedHead, public: Public) -> tuple[TrunkPackage, HeadPackage]:
    told: dict[str, Any] = {"licence": public.licence, "authors": public.authors, "citation": public.citation}
    told = {name: value for name, value in told.items() if value is not None}
    own: dict[str, Any] = {"metrics": _figures(public.metrics), "threshold": public.threshold}
    own = {name: value for name, value in own.items() if value is not None}
    trunk_metadata: TrunkMetadata = replace(_anywhere(loaded.trunk.metadata), **told)
    trunk = TrunkPackage(trunk_metadata, loaded.trunk.weights, loaded.trunk.pictures)
    # the number that it gets where it is adopted first
    reference = trunk.reference(1)
    head_metadata: HeadMetadata = replace(_anywhere(loaded.head.metadata), **told, **own, trunk=reference)
    head = HeadPackage(head_metadata, loaded.head.weights, loaded.head.pictures)
    if (trunk.sha256, head.sha256) != (loaded.trunk.sha256, loaded.head.sha256):
        raise PackageError("the weights' files would change: write them with the release of safetensors that made them")
    return trunk, head


def _anywhere(metadata: M) -> M:
    """Return metadata whose config names no place on the machine that trained it."""
    training = metadata.training
    config = {name: _without_places(value) for name, value in training.config.items()}
    told = Training(config, training.run_id, training.git_commit, training.lambda_bias)
    return replace(metadata, training=told)


def _without_places(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_places(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    return None if isinstance(value, str) and (value.startswith(("/", "~")) or "://" in value) else value


def _figures(metrics: Mapping[str, float] | None) -> dict[str, float] | None:
    if metrics is None:
        return None
    if wrong := [name for name, value in metrics.items() if type(value) not in (int, float)]:
        raise InvalidInputError(f"metric {wrong[0]} is no number: give finite numbers by name")
    return {name: float(value) for name, value in metrics.items()}
