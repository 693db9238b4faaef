"""Versions of heads and trunks as MLflow keeps them: what their tags say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as distributions
from typing import TYPE_CHECKING

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.metadata import HeadMetadata, validate_sha256
from hydrapicker_registry.names import TRUNK_MODEL_NAME, head_model_name
from hydrapicker_registry.package import HeadPackage, TrunkPackage

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

RETIRED = "retired"
"""The tag of a version, or of a whole registered model, that is no longer offered; its value says since when."""

SHIPPED = 0
"""The version of what lies in the wheel and is in no registry; MLflow counts from 1."""


def shipped_name() -> str:
    """Return what the shipped generic head is called where users read it."""
    return f"the generic head shipped with hydrapicker {distributions.version('hydrapicker')}"


@dataclass(frozen=True)
class HeadVersion:
    """One version of a dataset's head.

    Attributes:
        dataset: The dataset's name, `generic` for the generic head.
        version: Counts from 1 per dataset; `SHIPPED` for the generic head that lies in the wheel.
        aliases: Such as `champion`, sorted.
        trunk_version: The trunk it belongs to, in this registry; `SHIPPED` for the one in the wheel.
        trunk_sha256: sha256 of that trunk's weights.
        package_sha256: sha256 of the package's `head.json`, which vouches for the whole package.
        trunk_package_sha256: The same of the trunk's package, `trunk.json`.
        dataset_fingerprint: sha256 of the dataset's index, None for the generic head.
        ap: Average precision on held-out micrographs, None when it was not measured.
        auroc: Area under the ROC curve on the same, None when it was not measured.
        contributor: The authors, None when they are not on record.
        registered: When it entered the registry, in UTC.
        run_id: The MLflow run that made it.
        lambda_bias: Weight of the bias loss in training, None when it was not used.
        retired: Whether it, or the whole head, is no longer offered.
    """

    dataset: str
    version: int
    aliases: tuple[str, ...]
    trunk_version: int
    trunk_sha256: str
    package_sha256: str
    trunk_package_sha256: str
    dataset_fingerprint: str | None
    ap: float | None
    auroc: float | None
    contributor: str | None
    registered: datetime
    run_id: str
    lambda_bias: float | None
    retired: bool

    @property
    def called(self) -> str:
        """What users read: `PDB-6b7n version 3`, and where the shipped generic head comes from."""
        return shipped_name() if self.version == SHIPPED else f"{self.dataset} version {self.version}"

    @classmethod
    def from_mlflow(cls, version: ModelVersion, model: RegisteredModel) -> HeadVersion:
        """Read a version's tags, and what its registered model says of it.

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
                aliases=tuple(sorted(alias for alias, target in model.aliases.items() if int(target) == number)),
                trunk_version=int(tags["trunk_version"]),
                trunk_sha256=validate_sha256(tags["trunk_sha256"]),
                package_sha256=package_sha256(version),
                trunk_package_sha256=validate_sha256(tags["trunk_package_sha256"]),
                dataset_fingerprint=tags.get("dataset_fingerprint"),
                ap=_number(tags, "ap"),
                auroc=_number(tags, "auroc"),
                contributor=tags.get("contributor"),
                registered=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
                run_id=version.run_id,
                lambda_bias=_number(tags, "lambda_bias"),
                retired=RETIRED in tags or RETIRED in model.tags,
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


def trunk_tags(package: TrunkPackage, sha256: str) -> dict[str, str]:
    """Return the tags of a trunk's version."""
    tags = {"trunk_sha256": package.sha256, "package_sha256": sha256}
    return tags | _contributor(package.metadata.authors)


def head_tags(metadata: HeadMetadata, trunk_version: int, trunk_package_sha256: str, sha256: str) -> dict[str, str]:
    """Return the tags of a head's version; what is not known has no tag."""
    # MLflow's lists show tags in this order: what people look for comes before what machines check
    metrics, fingerprint = metadata.metrics, metadata.dataset_fingerprint
    numbers = {"ap": metrics.get("ap"), "auroc": metrics.get("auroc")}
    tags = {name: f"{value:.6g}" for name, value in numbers.items() if value is not None}
    if "gate_passed" in metrics:
        judged = "passed" if metrics["gate_passed"] else "failed"
        tags["gate"] = judged if metrics.get("micrographs", 1) else "not judged"
    if "gate_margin" in metrics:
        tags["gate_margin"] = gate_margin(metrics)
    tags |= _contributor(metadata.authors) | {"dataset": metadata.dataset, "trunk_version": str(trunk_version)}
    if metadata.training.lambda_bias is not None:
        tags["lambda_bias"] = f"{metadata.training.lambda_bias:.6g}"
    tags |= {} if fingerprint is None else {"dataset_fingerprint": fingerprint}
    return tags | {
        "trunk_sha256": metadata.trunk.sha256,
        "trunk_package_sha256": trunk_package_sha256,
        "package_sha256": sha256,
    }


def gate_margin(metrics: Mapping[str, float]) -> str:
    """Return the least AP margin that a contributed head had at the gate, with its interval where it has one."""
    low, high = (metrics.get(f"gate_margin_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{metrics['gate_margin']:+.3f}{interval}"


def _number(tags: Mapping[str, str], name: str) -> float | None:
    return float(tags[name]) if name in tags else None


def _contributor(authors: tuple[str, ...]) -> dict[str, str]:
    return {"contributor": ", ".join(authors)} if authors else {}


def _foreign(version: ModelVersion) -> PackageError:
    return PackageError(
        f"{version.name} version {version.version}: not registered by HydraPicker (its tags are missing or "
        "altered); register the head again"
    )
