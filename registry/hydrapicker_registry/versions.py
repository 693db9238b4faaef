"""Versions of heads and trunks as MLflow keeps them: what their tags say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.metadata import HeadMetadata, validate_sha256
from hydrapicker_registry.names import HEAD_MODEL_PREFIX, TRUNK_MODEL_NAME, head_model_name
from hydrapicker_registry.package import HeadPackage, TrunkPackage

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class HeadVersion:
    """One version of a dataset's head.

    Attributes:
        dataset: The dataset's name, `generic` for the generic head.
        version: Counts from 1 per dataset.
        aliases: Such as `champion`, sorted.
        trunk_version: The trunk it belongs to, in this registry.
        trunk_sha256: sha256 of that trunk's weights.
        package_sha256: sha256 of the package's `head.json`, which vouches for the whole package.
        dataset_fingerprint: sha256 of the dataset's index, None for the generic head.
        ap: Average precision on held-out micrographs, None when it was not measured.
        auroc: Area under the ROC curve on the same, None when it was not measured.
        contributor: The authors, None when they are not on record.
        registered: When it entered the registry, in UTC.
        run_id: The MLflow run that made it.
    """

    dataset: str
    version: int
    aliases: tuple[str, ...]
    trunk_version: int
    trunk_sha256: str
    package_sha256: str
    dataset_fingerprint: str | None
    ap: float | None
    auroc: float | None
    contributor: str | None
    registered: datetime
    run_id: str

    @classmethod
    def from_mlflow(cls, version: ModelVersion, aliases: Mapping[str, int]) -> HeadVersion:
        """Read a version's tags; `aliases` are those of its registered model.

        Raises
        ------
        PackageError
            For a version that was not made by :meth:`HeadRegistry.register_head`.
        """
        tags, number = version.tags, int(version.version)
        if version.run_id is None:
            raise _foreign(version)
        try:
            return cls(
                dataset=tags["dataset"],
                version=number,
                aliases=tuple(sorted(alias for alias, target in aliases.items() if int(target) == number)),
                trunk_version=int(tags["trunk_version"]),
                trunk_sha256=validate_sha256(tags["trunk_sha256"]),
                package_sha256=package_sha256(version),
                dataset_fingerprint=tags.get("dataset_fingerprint"),
                ap=float(tags["ap"]) if "ap" in tags else None,
                auroc=float(tags["auroc"]) if "auroc" in tags else None,
                contributor=tags.get("contributor"),
                registered=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
                run_id=version.run_id,
            )
        except PackageError:
            raise
        except (KeyError, InvalidInputError, ValueError) as error:
            raise _foreign(version) from error


def package_sha256(version: ModelVersion) -> str:
    """Return the sha256 that vouches for a version's package.

    Raises
    ------
    PackageError
        For a version that was not made by :class:`HeadRegistry`.
    """
    try:
        return validate_sha256(version.tags["package_sha256"])
    except (KeyError, InvalidInputError) as error:
        raise _foreign(version) from error


def model_name(package: TrunkPackage | HeadPackage) -> str:
    """Return the name of the registered model that a package is a version of."""
    if isinstance(package, TrunkPackage):
        return TRUNK_MODEL_NAME
    return head_model_name(package.metadata.dataset)


def artifact_path(name: str, sha256: str) -> str:
    """Return where in a run's artifacts the package of registered model `name` lies.

    The checksum is part of the path, so that a run that registers again never writes over an earlier version.
    """
    place = "heads/" + name.removeprefix(HEAD_MODEL_PREFIX) if name != TRUNK_MODEL_NAME else "trunk"
    return f"{place}/{sha256[:16]}"


def trunk_tags(package: TrunkPackage, sha256: str) -> dict[str, str]:
    """Return the tags of a trunk's version."""
    tags = {"trunk_sha256": package.sha256, "package_sha256": sha256}
    return tags | _contributor(package.metadata.authors)


def head_tags(metadata: HeadMetadata, trunk_version: int, sha256: str) -> dict[str, str]:
    """Return the tags of a head's version; what is not known has no tag."""
    numbers = {
        "ap": metadata.metrics.get("ap"),
        "auroc": metadata.metrics.get("auroc"),
        "lambda_bias": metadata.training.lambda_bias,
    }
    tags = {
        "dataset": metadata.dataset,
        "trunk_version": str(trunk_version),
        "trunk_sha256": metadata.trunk.sha256,
        "package_sha256": sha256,
    }
    if metadata.dataset_fingerprint is not None:
        tags["dataset_fingerprint"] = metadata.dataset_fingerprint
    tags |= {name: f"{value:.6g}" for name, value in numbers.items() if value is not None}
    return tags | _contributor(metadata.authors)


def _contributor(authors: tuple[str, ...]) -> dict[str, str]:
    return {"contributor": ", ".join(authors)} if authors else {}


def _foreign(version: ModelVersion) -> PackageError:
    return PackageError(
        f"{version.name} version {version.version}: not registered by HydraPicker (its tags are missing or "
        "altered); register the head again"
    )
