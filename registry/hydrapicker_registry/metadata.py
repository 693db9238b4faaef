"""What a package says about its weights: the content of `head.json` and `trunk.json`."""

import json
import math
import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Literal

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.names import GENERIC, TRUNK_MODEL_NAME, validate_dataset_name

Contrast = Literal["dark", "light"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def validate_sha256(digest: str) -> str:
    """Return `digest` when it is 64 lower-case hexadecimal digits, else raise InvalidInputError."""
    if not _SHA256.fullmatch(digest):
        raise InvalidInputError(f"{digest[:80]!r} is not a sha256: expected 64 lower-case hexadecimal digits")
    return digest


def utc_now() -> str:
    """Return the present time as packages state it, for example `2026-01-31T12:00:00+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class TrunkReference:
    """The trunk a head was trained on.

    Attributes:
        version: What the trunk is called in the registry where the head was trained.
        sha256: sha256 of the trunk's weights. This decides; the version is for people.
        name: The trunk's name in the registry.
    """

    version: int
    sha256: str
    name: str = TRUNK_MODEL_NAME

    def __post_init__(self) -> None:
        validate_sha256(self.sha256)
        _at_least_one("trunk version", self.version)
        if self.name != TRUNK_MODEL_NAME:
            raise InvalidInputError(f"trunk name {self.name!r} is unknown: expected {TRUNK_MODEL_NAME!r}")


@dataclass(frozen=True)
class TrunkInput:
    """The images a trunk expects.

    Attributes:
        box_px: A particle's diameter in pixels of the rescaled micrograph.
        normalisation: Name of the normalisation.
    """

    box_px: int
    normalisation: str

    def __post_init__(self) -> None:
        _at_least_one("box_px", self.box_px)


@dataclass(frozen=True)
class HeadInput(TrunkInput):
    """The images a head expects.

    Attributes:
        box_px: A particle's diameter in pixels of the rescaled micrograph.
        normalisation: Name of the normalisation.
        contrast: Whether particles are darker or lighter than the ice in the dataset's micrographs.
        diameter_angstrom: The diameter of the dataset's particle; None for the generic head.
    """

    contrast: Contrast
    diameter_angstrom: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        diameter = self.diameter_angstrom
        if diameter is not None and not (math.isfinite(diameter) and diameter > 0):
            raise InvalidInputError(f"diameter_angstrom {diameter} must be a positive number")


@dataclass(frozen=True)
class Training:
    """How the weights came about.

    Attributes:
        config: The whole configuration tree of the job, as JSON.
        run_id: The MLflow run.
        git_commit: The commit of the code, None when it did not run from a checkout.
        lambda_bias: Weight of the bias loss, None when it was not used.
    """

    config: dict[str, object]
    run_id: str
    git_commit: str | None
    lambda_bias: float | None

    @property
    def private(self) -> bool:
        """Whether it was trained where its micrographs are, and nothing of them was to leave with the weights."""
        return self.config.get("private") is True


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What heads and trunks have in common.

    Attributes:
        architecture: What the network is built from, as JSON (width, group norm, dropout, ...).
        training: How the weights came about.
        metrics: Finite numbers by name: `ap`, `auroc`, ...
        authors: Who made it.
        licence: Under what terms, as an SPDX identifier where there is one.
        citation: What to cite.
        created: ISO 8601 date and time in UTC (see :func:`utc_now`).
    """

    architecture: dict[str, object]
    training: Training
    metrics: dict[str, float]
    authors: tuple[str, ...]
    licence: str | None
    citation: str | None
    created: str

    def __post_init__(self) -> None:
        # JSON has no tuples: what is built here equals what is read back
        object.__setattr__(self, "architecture", _as_json("architecture", self.architecture))
        config = _as_json("training config", self.training.config)
        rest = {field.name: getattr(self.training, field.name) for field in fields(Training)}
        object.__setattr__(self, "training", Training(**(rest | {"config": config})))
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise InvalidInputError(f"metric {name} is {value}: leave out what is not defined")
        _validate_created(self.created)


@dataclass(frozen=True, kw_only=True)
class TrunkMetadata(_Metadata):
    """The content of `trunk.json`.

    Attributes:
        input: The images the trunk expects.
        datasets: The datasets it was trained on, name to fingerprint.
    """

    input: TrunkInput
    datasets: dict[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, fingerprint in self.datasets.items():
            validate_dataset_name(name)
            validate_sha256(fingerprint)


@dataclass(frozen=True, kw_only=True)
class HeadMetadata(_Metadata):
    """The content of `head.json`.

    Attributes:
        dataset: Name of the dataset, `generic` for the generic head.
        dataset_version: Version of the dataset; None for the generic head, which has no dataset.
        dataset_fingerprint: sha256 of the dataset's index; None for the generic head.
        trunk: The trunk it was trained on.
        input: The images the head expects.
        threshold: Recommended least score of a pick, 0 to 1; None when it was not measured.
    """

    dataset: str
    dataset_version: int | None
    dataset_fingerprint: str | None
    trunk: TrunkReference
    input: HeadInput
    threshold: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        validate_dataset_name(self.dataset)
        origin = (self.dataset_version, self.dataset_fingerprint)
        if self.dataset == GENERIC and origin != (None, None):
            raise InvalidInputError("the generic head has no dataset: leave dataset version and fingerprint None")
        if self.dataset != GENERIC and None in origin:
            raise InvalidInputError(f"head {self.dataset!r} needs its dataset's version and fingerprint")
        if self.dataset_version is not None:
            _at_least_one("dataset_version", self.dataset_version)
        if self.dataset_fingerprint is not None:
            validate_sha256(self.dataset_fingerprint)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidInputError(f"threshold {self.threshold} is not a score: expected 0 to 1")


def _as_json(what: str, value: dict[str, object]) -> dict[str, object]:
    try:
        result: dict[str, object] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} cannot be written as JSON ({error})") from error
    return result


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise InvalidInputError(f"{what} {value} must be at least 1")


def _validate_created(created: str) -> None:
    try:
        offset = datetime.fromisoformat(created).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        raise InvalidInputError(
            f"created {created[:40]!r} is not a time in UTC: expected for example '2026-01-31T12:00:00+00:00'"
        )
