"""The trainings of a study, in order, as commands of the product."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import default_store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles, labelling_order
from hydrapicker.study.steps import Step
from hydrapicker_registry.registry import LoadedHead

__all__ = ["HYDRAPICKER", "Generics", "few_name", "trainings"]

HYDRAPICKER = (sys.executable, "-m", "hydrapicker")

# Five steps an epoch, as a target's few micrographs would else give one or two, with a validation after each.
_ALONE = "train --preset demo --stage2.epochs 4 --loop.epoch-steps 5 --loop.validate-every 4".split()


@dataclass(frozen=True)
class Generics:
    """The generic heads that a study starts from: of the multi-head network, and of the single-head one or None."""

    general: LoadedHead
    single: LoadedHead | None


def few_name(target: str, labels: int) -> str:
    """The name of a target's few-shot dataset and head."""
    return f"{target}-few{labels}"


def trainings(config: StudyConfig, generics: Generics, targets: Mapping[str, TargetFiles]) -> list[Step]:
    """Few-shot contributions on both networks and a network from scratch, of every target.

    The contributions' particle files are written on the way.

    Raises:
        InvalidInputError: When a target has fewer labelled micrographs to train on than are asked for.
    """
    steps = []
    for name, files in targets.items():
        order, most = labelling_order(files.dataset), max(config.labels)
        if len(order) < most:
            raise InvalidInputError(
                f"{name} has {len(order)} training micrographs with particles and {most} labels are asked for: give "
                "--labels of at most that"
            )
        for labels in sorted(config.labels):
            few = _few(config, files, order[:labels], few_name(name, labels))
            steps.append(_contribution(config, config.general_uri, generics.general, files, few, ""))
        if config.single and generics.single:
            steps.append(_contribution(config, config.single, generics.single, files, few, "-single"))
        steps.append(_alone(config, generics.general, files))
    return steps


@dataclass(frozen=True)
class _Few:
    name: str
    micrographs: tuple[Path, ...]
    particles: Path


def _few(config: StudyConfig, files: TargetFiles, rows: list[int], name: str) -> _Few:
    particles = config.folder / "particles" / f"{name}.star"
    files.write_few(rows, particles)
    return _Few(name, tuple(files.by_row[row] for row in rows), particles)


def _contribution(
    config: StudyConfig, uri: str, generic: LoadedHead, files: TargetFiles, few: _Few, ending: str
) -> Step:
    dataset = files.dataset
    arguments = [
        *("contribute", few.name),
        *_options(config.contribution_config),
        *("--micrographs", *map(str, few.micrographs)),
        *("--particles", str(few.particles)),
        *("--diameter-angstrom", f"{dataset.diameter_angstrom:.7g}"),
        *("--pixel-size-angstrom", f"{dataset.rows[int(dataset.split('train')[0])].pixel_size_angstrom:.7g}"),
        *("--contrast", dataset.contrast),
        *("--test-size", "0"),
        *("--store", str(config.few_store)),
        *("--runs", str(config.folder / "runs")),
    ]
    depends = {
        "generic": generic.version.package_sha256,
        "particles": _sha256(few.particles),
        "options": _sha256(config.contribution_config),
    }
    return Step(few.name + ending, HYDRAPICKER, tuple(arguments), {"MLFLOW_TRACKING_URI": uri}, depends)


def _alone(config: StudyConfig, generic: LoadedHead, files: TargetFiles) -> Step:
    arguments = [
        *_ALONE,
        *_options(config.alone_config),
        *("--datasets", files.dataset.name),
        *("--network.width", str(generic.head.metadata.architecture["width"])),
        *("--stage1.epochs", str(config.alone_epochs)),
        *("--store", config.store or default_store()),
        *("--runs", str(config.folder / "runs")),
    ]
    depends = {"dataset": files.dataset.fingerprint, "options": _sha256(config.alone_config)}
    environment = {"MLFLOW_TRACKING_URI": config.alone_uri}
    return Step(f"{files.dataset.name}-alone", HYDRAPICKER, tuple(arguments), environment, depends)


def _options(path: Path | None) -> tuple[str, ...]:
    return () if path is None else ("--config", str(path))


def _sha256(path: Path | None) -> str:
    return "" if path is None else sha256(path.read_bytes()).hexdigest()
