"""The generic head and its trunk that lie in the wheel: a picker for a molecule nobody labelled, without any registry.

Beside this file are two packages as :func:`hydrapicker_registry.package.write_package` writes them, `trunk/` and
`generic/`, and `packages.json` with the sha256 of each. `python -m hydrapicker_registry.shipped` writes all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path

from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.package import HeadPackage, StoredPackage, TrunkPackage, check_trunk, read_package
from hydrapicker_registry.reading import LoadedHead
from hydrapicker_registry.strict import parse_object
from hydrapicker_registry.versions import SHIPPED, HeadVersion, shipped_name

TRUNK_FOLDER = "trunk"
SUMS_NAME = "packages.json"


def shipped_head() -> LoadedHead:
    """Return the shipped generic head with its trunk, with everything checked; MLflow is neither asked nor imported.

    Raises
    ------
    PackageError
        When what is installed is damaged or altered.
    """
    with shipped_packages() as (head, trunk):
        return _loaded(head, trunk)


@contextmanager
def shipped_packages() -> Iterator[tuple[StoredPackage, StoredPackage]]:
    """Give the shipped generic head and its trunk as they are stored, with everything checked.

    Raises
    ------
    PackageError
        As :func:`shipped_head`.
    """
    with resources.as_file(resources.files(__name__)) as folder:
        yield read_shipped(folder)


def shipped_sha256() -> str:
    """Return the sha256 that vouches for the shipped generic head's package."""
    with resources.as_file(resources.files(__name__)) as folder:
        return _sums(folder)[GENERIC]


def read_shipped(folder: Path) -> tuple[StoredPackage, StoredPackage]:
    """Read the generic head and its trunk from a folder such as this one, and check every byte of both.

    Raises
    ------
    PackageError
        When anything is missing, damaged or altered.
    """
    sums = _sums(folder)
    try:
        trunk, head = (_stored(folder / name, sums[name]) for name in (TRUNK_FOLDER, GENERIC))
        if not isinstance(head.package, HeadPackage) or not isinstance(trunk.package, TrunkPackage):
            raise PackageError(f"{folder}: not a generic head with its trunk")
        if head.package.metadata.dataset != GENERIC:
            raise PackageError(f"{head.folder}: head {head.package.metadata.dataset!r} and not the generic one")
    except PackageError as error:
        raise PackageError(f"{shipped_name()} is damaged, install hydrapicker again: {error}") from error
    check_trunk(head.package, trunk.package, shipped_name())
    return head, trunk


def _stored(folder: Path, sha256: str) -> StoredPackage:
    return StoredPackage(folder, sha256, read_package(folder, sha256=sha256))


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS_NAME
    try:
        said = parse_object(path.read_text(errors="replace"), str(path))
        return {name: str(said[name]) for name in (TRUNK_FOLDER, GENERIC)}
    except (OSError, KeyError, PackageError) as error:
        raise PackageError(f"{path}: missing or damaged, install hydrapicker again") from error


def _loaded(head: StoredPackage, trunk: StoredPackage) -> LoadedHead:
    assert isinstance(head.package, HeadPackage)
    assert isinstance(trunk.package, TrunkPackage)
    metadata = head.package.metadata
    version = HeadVersion(
        dataset=GENERIC,
        version=SHIPPED,
        aliases=(),
        trunk_version=SHIPPED,
        trunk_sha256=trunk.package.sha256,
        package_sha256=head.sha256,
        trunk_package_sha256=trunk.sha256,
        dataset_fingerprint=None,
        ap=metadata.metrics.get("ap"),
        auroc=metadata.metrics.get("auroc"),
        contributor=", ".join(metadata.authors) or None,
        registered=datetime.fromisoformat(metadata.created),
        run_id=metadata.training.run_id,
        lambda_bias=metadata.training.lambda_bias,
        retired=False,
    )
    return LoadedHead(head.package, trunk.package, version)
