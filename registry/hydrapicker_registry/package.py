"""Packages: the weights of a head or a trunk with all that is needed to use and trust them.

A package is a folder: `head.json` (or `trunk.json`), `head.safetensors`, the card `README.md` and the card's
pictures. The JSON holds the sha256 of every other file, so its own sha256 vouches for the whole package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import strict
from hydrapicker_registry.atomic import whole_folder
from hydrapicker_registry.card import render_card
from hydrapicker_registry.errors import PackageError, TrunkMismatchError
from hydrapicker_registry.metadata import HeadMetadata, TrunkMetadata, TrunkReference, validate_sha256
from hydrapicker_registry.weights import parse_weights, serialise_weights

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
CARD_NAME = "README.md"

MAX_SIDE_FILE_BYTES = 16 * 2**20
MAX_WEIGHTS_BYTES = 2**30
"""A head of the paper's size has 25 MB; what is larger than this is no head, and not read into memory."""

_PICTURE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\.png")


@dataclass(frozen=True, eq=False)
class TrunkPackage:
    """A trunk.

    Attributes:
        metadata: The content of `trunk.json`.
        weights: Tensors by name, as the network's `state_dict` gives them.
        pictures: PNG files that the card shows, by file name.
    """

    metadata: TrunkMetadata
    weights: Mapping[str, torch.Tensor]
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """sha256 of the weights file, which covers architecture and input as well."""
        return _sha256(serialise_weights(self.weights, _contract(self.metadata)))

    def reference(self, version: int) -> TrunkReference:
        """Return what heads state of this trunk, registered as `version`."""
        return TrunkReference(version=version, sha256=self.sha256)


@dataclass(frozen=True, eq=False)
class HeadPackage:
    """A head.

    Attributes:
        metadata: The content of `head.json`.
        weights: Tensors by name, without the dataset's name (`blocks.0.conv.weight`).
        pictures: PNG files that the card shows, by file name.
    """

    metadata: HeadMetadata
    weights: Mapping[str, torch.Tensor]
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prefix = f"heads.{self.metadata.dataset}."
        if prefixed := [key for key in self.weights if key.startswith(prefix)]:
            raise PackageError(f"weight {prefixed[0]!r} names the dataset: leave out {prefix!r}")

    @cached_property
    def sha256(self) -> str:
        """sha256 of the weights file, which covers architecture, input and trunk as well."""
        return _sha256(serialise_weights(self.weights, _contract(self.metadata)))


def write_package(folder: Path, package: TrunkPackage | HeadPackage, words: str = "") -> str:
    """Write a package as a new folder, whole or not at all; `words` are Markdown for its card.

    Returns
    -------
    str
        sha256 of `head.json` or `trunk.json`, which vouches for the whole package.

    Raises
    ------
    PackageError
        For metadata, weights or pictures that a package cannot hold.
    OSError
        When `folder` exists and is not empty, or cannot be written.
    """
    kind = _kind(package.metadata)
    files = {CARD_NAME: render_card(package.metadata, package.sha256, tuple(package.pictures), words).encode()}
    files |= package.pictures
    document = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        **asdict(package.metadata),
        "weights_sha256": package.sha256,
        "attachments": {name: _sha256(content) for name, content in files.items()},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _parse_document(text, f"{kind}.json")  # what could not be read back is not written
    files[f"{kind}.safetensors"] = serialise_weights(package.weights, _contract(package.metadata))
    files[f"{kind}.json"] = text.encode()
    if _sha256(files[f"{kind}.safetensors"]) != package.sha256:
        raise PackageError(
            f"{kind}.safetensors: the weights changed since the package was made; make it from copies of them"
        )
    with whole_folder(folder) as scratch:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
    return _sha256(files[f"{kind}.json"])


def read_package(folder: Path, *, sha256: str | None = None) -> TrunkPackage | HeadPackage:
    """Read a package and check everything in it.

    Parameters
    ----------
    folder
        What :func:`write_package` wrote.
    sha256
        What :func:`write_package` returned, to make sure that the package is the very same; None to check only
        that it agrees with itself.

    Raises
    ------
    PackageError
        For files too many or too few, links, checksums that do not match, a pickle, unknown keys, wrong types,
        an unknown format version, and weights that do not belong to what the package states.
    """
    kind = "trunk" if (folder / "trunk.json").is_file() else "head"
    path = folder / f"{kind}.json"
    content = _read(path, MAX_SIDE_FILE_BYTES)
    if sha256 is not None and _sha256(content) != sha256:
        raise PackageError(f"{path}: changed since it was registered (its sha256 differs); do not use it")
    document = _parse_document(content.decode(errors="replace"), str(path))
    expected = {path.name, f"{kind}.safetensors", *document.attachments}
    if surplus := sorted({entry.name for entry in folder.iterdir()} - expected):
        raise PackageError(f"{folder}: holds {surplus[0]!r}, which {path.name} does not list; remove it")
    files = {
        name: _verified(folder / name, digest, MAX_SIDE_FILE_BYTES) for name, digest in document.attachments.items()
    }
    where = folder / f"{kind}.safetensors"
    data = _verified(where, document.weights_sha256, MAX_WEIGHTS_BYTES)
    weights = parse_weights(data, _contract(document.metadata), str(where))
    del files[CARD_NAME]
    package: TrunkPackage | HeadPackage
    if isinstance(document.metadata, TrunkMetadata):
        package = TrunkPackage(document.metadata, weights, files)
    else:
        package = HeadPackage(document.metadata, weights, files)
    # The file's own checksum, for another release of safetensors may write the same weights in other bytes.
    # This fills the cached property, as its first use would.
    object.__setattr__(package, "sha256", document.weights_sha256)
    return package


@dataclass(frozen=True)
class StoredPackage:
    """A package in a folder, checked; what is stored on from here stays the same to the byte.

    Attributes:
        folder: What :func:`write_package` wrote.
        sha256: Of `head.json` or `trunk.json`, which vouches for the whole package.
        package: The content.
    """

    folder: Path
    sha256: str
    package: TrunkPackage | HeadPackage


def open_package(folder: Path) -> StoredPackage:
    """Read a package that lies in a folder, and check everything in it; raises as :func:`read_package` does."""
    package = read_package(folder)
    document = folder / f"{_kind(package.metadata)}.json"
    return StoredPackage(folder, _sha256(document.read_bytes()), package)


def check_trunk(head: HeadPackage, trunk: TrunkPackage, named: str) -> None:
    """Raise TrunkMismatchError unless the head, called `named` in the message, was trained on this very trunk."""
    wanted = head.metadata.trunk.sha256
    if trunk.sha256 != wanted:
        raise TrunkMismatchError(
            f"{named} was trained on a trunk with sha256 {wanted[:12]}…, and the trunk at hand has "
            f"{trunk.sha256[:12]}…: a head works with its own trunk only, get both again from where they were made"
        )


@dataclass(frozen=True)
class _Document:
    metadata: TrunkMetadata | HeadMetadata
    weights_sha256: str
    attachments: dict[str, str]


@dataclass(frozen=True)
class _Checksums:
    weights_sha256: str
    attachments: dict[str, str]

    def __post_init__(self) -> None:
        if CARD_NAME not in self.attachments:
            raise InvalidInputError(f"attachments lack {CARD_NAME}")
        for name, digest in {"weights": self.weights_sha256, **self.attachments}.items():
            validate_sha256(digest)
            if name not in ("weights", CARD_NAME) and not _PICTURE_NAME.fullmatch(name):
                raise InvalidInputError(f"attachment {name!r} is not allowed: only {CARD_NAME} and .png files")


def _parse_document(text: str, where: str) -> _Document:
    document = strict.parse_object(text, where)
    version = document.pop("format_version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise PackageError(
            f"{where}: has format version {version!r} and this HydraPicker reads {FORMAT_VERSION}; "
            "upgrade it with `pip install --upgrade hydrapicker`"
        )
    kind = document.pop("kind", None)
    if kind != Path(where).stem:
        raise PackageError(f"{where}: states kind {kind!r}; get the package again")
    sums = {name: document.pop(name) for name in ("weights_sha256", "attachments") if name in document}
    checksums = strict.build(_Checksums, sums, where)
    metadata: HeadMetadata | TrunkMetadata
    if kind == "head":
        metadata = strict.build(HeadMetadata, document, where)
    else:
        metadata = strict.build(TrunkMetadata, document, where)
    return _Document(metadata, checksums.weights_sha256, checksums.attachments)


def _kind(metadata: TrunkMetadata | HeadMetadata) -> str:
    return "head" if isinstance(metadata, HeadMetadata) else "trunk"


def _contract(metadata: TrunkMetadata | HeadMetadata) -> dict[str, object]:
    """Return what the weights mean; not the registry's version of the trunk, which differs between registries."""
    contract: dict[str, object] = {
        "kind": _kind(metadata),
        "architecture": metadata.architecture,
        "input": asdict(metadata.input),
    }
    if isinstance(metadata, HeadMetadata):
        contract["trunk_sha256"] = metadata.trunk.sha256
    return contract


def _read(path: Path, limit: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise PackageError(f"{path}: not there or not a plain file; get the package again")
    if path.stat().st_size > limit:
        raise PackageError(f"{path}: larger than {limit // 2**20} MiB, which no package needs; do not use it")
    return path.read_bytes()


def _verified(path: Path, sha256: str, limit: int) -> bytes:
    content = _read(path, limit)
    if _sha256(content) != sha256:
        raise PackageError(f"{path}: damaged or altered (its sha256 differs); get the package again")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
