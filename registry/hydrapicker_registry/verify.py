"""Everything that the registry holds, downloaded anew and checked; the cache is left aside."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydrapicker_core.errors import HydraPickerError
from hydrapicker_registry import lookup
from hydrapicker_registry.connection import talking_to
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.mlflow_model import HEAD_FOLDER, TRUNK_FOLDER, check_executable, executable_parts
from hydrapicker_registry.names import HEAD_MODEL_PREFIX, TRUNK_MODEL_NAME, head_model_name
from hydrapicker_registry.package import HeadPackage, TrunkPackage, check_trunk, read_package
from hydrapicker_registry.reading import RegistryReader
from hydrapicker_registry.versions import head_tags, package_sha256, trunk_tags

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Finding:
    """What a version of a registered model is like.

    Attributes:
        name: Of the registered model, such as `hydrapicker.head.PDB-6b7n`.
        version: Its number.
        problem: What is wrong with it, None when it is intact.
    """

    name: str
    version: int
    problem: str | None


def verify(
    registry: RegistryReader,
    name: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> tuple[Finding, ...]:
    """Download all versions of one head, or of all heads and trunks, and check files, checksums, tags and code.

    Raises
    ------
    HeadNotFoundError
        When there is no head of that name.
    RegistryError
        When MLflow cannot be reached.
    """
    with talking_to(registry.tracking_uri):
        if name is not None:
            registry.versions(name)  # says so when there is none
            versions = list(lookup.model_versions(registry.client, f"name = '{head_model_name(name)}'"))
        elif registry.exists():
            versions = list(lookup.model_versions(registry.client, f"name = '{TRUNK_MODEL_NAME}'"))
            versions += lookup.model_versions(registry.client)
        else:
            versions = []
    findings = []
    for done, version in enumerate(sorted(versions, key=lambda v: (v.name, int(v.version)))):
        progress(done, len(versions), version.name)
        findings.append(Finding(version.name, int(version.version), _problem(registry, version)))
    progress(len(versions), len(versions), "done")
    return tuple(findings)


def _problem(registry: RegistryReader, version: "ModelVersion") -> str | None:
    try:
        with tempfile.TemporaryDirectory(prefix="hydrapicker-verify-") as scratch:
            folder = Path(scratch)
            try:
                _check(registry, version, folder)
            except PackageError as error:
                raise PackageError(str(error).replace(f"{folder}/", "")) from error
    except HydraPickerError as error:
        return str(error)
    return None


def _check(registry: RegistryReader, version: "ModelVersion", folder: Path) -> None:
    if version.name == TRUNK_MODEL_NAME:
        _download(registry, version, folder, (TRUNK_FOLDER,))
        trunk = read_package(folder / TRUNK_FOLDER, sha256=package_sha256(version))
        if not isinstance(trunk, TrunkPackage):
            raise PackageError("is a head and no trunk")
        _check_tags(version, trunk_tags(trunk, package_sha256(version)))
        return
    _download(registry, version, folder, (HEAD_FOLDER, TRUNK_FOLDER, *executable_parts()))
    head = read_package(folder / HEAD_FOLDER, sha256=package_sha256(version))
    if not isinstance(head, HeadPackage) or head_model_name(head.metadata.dataset) != version.name:
        raise PackageError(f"is no head of dataset {version.name.removeprefix(HEAD_MODEL_PREFIX)!r}")
    trunk_sha256 = version.tags.get("trunk_package_sha256", "")
    trunk = read_package(folder / TRUNK_FOLDER, sha256=trunk_sha256)
    if not isinstance(trunk, TrunkPackage):
        raise PackageError("its trunk is a head")
    check_trunk(head, trunk, "the head")
    with talking_to(registry.tracking_uri):
        number = lookup.trunk_version_of(registry.client, trunk.sha256)
    if number is None:
        raise PackageError("its trunk is not registered")
    _check_tags(version, head_tags(head.metadata, number, trunk_sha256, package_sha256(version)))
    check_executable(folder)


def _download(registry: RegistryReader, version: "ModelVersion", folder: Path, parts: Iterable[str]) -> None:
    for part in parts:
        registry.fetch(version, part, folder)


def _check_tags(version: "ModelVersion", expected: dict[str, str]) -> None:
    for name, value in expected.items():
        if version.tags.get(name) != value:
            raise PackageError(f"its tag {name} says {version.tags.get(name)!r}, and its package {value!r}")
