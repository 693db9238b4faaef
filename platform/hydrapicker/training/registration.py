"""From the weights of a finished run to packages in the head registry, judged on micrographs nobody trained on."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hydrapicker.evaluation.figures import detection_curves
from hydrapicker.evaluation.heads import score_micrographs
from hydrapicker.evaluation.overlays import stored_overlay
from hydrapicker.provenance import git_commit
from hydrapicker.store.layout import NORMALISATION
from hydrapicker.store.store import Dataset
from hydrapicker.tracking import TrackedRun
from hydrapicker.training.checkpoint import stored
from hydrapicker_core.bootstrap import MicrographPart
from hydrapicker_core.metrics import Metrics, ScoredPicks, best_mean_f1, pool, summarise
from hydrapicker_core.network import GENERIC, Head, MultiHeadNetwork
from hydrapicker_registry.metadata import (
    Contrast,
    HeadInput,
    HeadMetadata,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkReference,
)
from hydrapicker_registry.package import HeadPackage, TrunkPackage
from hydrapicker_registry.registry import HeadRegistry

_OVERLAY = "overlay.png"
_CURVES = "curves.png"


@dataclass(frozen=True, eq=False)
class Judged:
    """The heads of a run on the test micrographs of its datasets, and the thresholds found on the validation ones.

    Attributes:
        test: Per dataset and head name: picks on each of the ``test`` micrographs.
        thresholds: Per head name: the score with the best F1 on the ``val`` micrographs, where a dataset has none on
            its ``train`` micrographs; of the generic head the best F1 averaged over datasets.
        micrographs: Per dataset: number of ``test`` micrographs.
        overlays: Per head name: a PNG of what it picks on the first ``test`` micrograph of its dataset; the generic
            head on that of the first dataset.
    """

    test: dict[str, dict[str, list[MicrographPart]]]
    thresholds: dict[str, float | None]
    micrographs: dict[str, int]
    overlays: dict[str, bytes]

    def metrics(self, head: str, datasets: Iterable[str] | None = None) -> Metrics:
        """A head's metrics on some datasets; None: a dataset's head on its own, the generic head on all."""
        names = list(datasets or ([head] if head != GENERIC else self.test))
        return summarise(
            pool(part for name in names for part in self.test[name][head]),
            sum(self.micrographs[name] for name in names),
            self.thresholds[head],
        )

    def by_dataset(self) -> dict[str, dict[str, dict[str, float]]]:
        """Per dataset the metrics of its ``own`` head (the only one there may be) and the ``generic`` one."""
        own = {name: name if name in heads else GENERIC for name, heads in self.test.items()}
        return {
            name: {
                role: numbers(self.metrics(head, [name])) for role, head in (("own", own[name]), ("generic", GENERIC))
            }
            for name in self.test
        }


def judge_network(
    network: MultiHeadNetwork,
    datasets: Mapping[str, Dataset],
    rivals: Mapping[str, Head] | None = None,
    pictures: Iterable[str] | None = None,
) -> Judged:
    """Judge every dataset's own head and the generic head, all in one pass through the trunk for each micrograph.

    Args:
        network: Trunk and heads.
        datasets: With a head each, or with none in a single-head network.
        rivals: More heads of this trunk that are judged on the test micrographs in the same pass.
        pictures: Heads of which overlays are drawn, each with one more pass on one micrograph; None: all.
    """
    network.eval()
    test, validation = {}, {}
    for name, dataset in datasets.items():
        heads = {head: network.head(head) for head in (name, GENERIC) if head in (*network.datasets, GENERIC)}
        test[name] = score_micrographs(network.trunk, heads | dict(rivals or {}), dataset, dataset.split("test"))
        known = dataset.split("val") if len(dataset.split("val")) else dataset.split("train")
        validation[name] = score_micrographs(network.trunk, heads, dataset, known)
    thresholds = {name: _threshold([validation[name][name]]) for name in network.datasets}
    thresholds[GENERIC] = _threshold(validation[name][GENERIC] for name in datasets)
    overlays = {}
    for name in (*network.datasets, GENERIC) if pictures is None else pictures:
        dataset = datasets.get(name, next(iter(datasets.values())))
        if len(dataset.split("test")):
            row = int(dataset.split("test")[0])
            overlays[name] = stored_overlay(network.trunk, network.head(name), dataset, row, thresholds[name])
    micrographs = {name: len(dataset.split("test")) for name, dataset in datasets.items()}
    return Judged(test, thresholds, micrographs, overlays)


def _threshold(datasets: Iterable[Sequence[MicrographPart]]) -> float | None:
    threshold = best_mean_f1(pool(parts) for parts in datasets)
    return None if math.isnan(threshold) else min(1.0, threshold)


@dataclass(frozen=True)
class Origin:
    """Where a run's packages come from.

    Attributes:
        run_id: The MLflow run.
        started: When the run was first started.
        config: The job's config tree, as plain values.
        lambda_bias: Weight of the bias loss.
        box_px: Side of a particle's box in working pixels.
        contrast: What the datasets' contrast is: the generic head takes it for its own.
        contributor: Author on record; may be empty.
    """

    run_id: str
    started: str
    config: dict[str, Any]
    lambda_bias: float
    box_px: int
    contrast: Contrast
    contributor: str

    @classmethod
    def of(cls, run: TrackedRun, config: Any, box_px: int, contrast: Contrast) -> "Origin":
        """What a run with a config of some job puts on record."""
        tree, bias = asdict(config), config.loss.lambda_bias
        return cls(run.run_id, run.started, tree, bias, box_px, contrast, config.contributor)

    def shared(self, network: MultiHeadNetwork, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What the metadata of a trunk and of a head have in common."""
        return {
            "architecture": network.config.as_dict(),
            "training": Training(self.config, self.run_id, git_commit(), self.lambda_bias),
            "metrics": dict(metrics),
            "authors": (self.contributor,) if self.contributor else (),
            "licence": None,
            "citation": None,
            "created": self.started,
        }


def trunk_package(network: MultiHeadNetwork, datasets: Mapping[str, Dataset], origin: Origin) -> TrunkPackage:
    """The trunk of a run."""
    metadata = TrunkMetadata(
        **origin.shared(network, {}),
        input=TrunkInput(origin.box_px, NORMALISATION),
        datasets={name: dataset.fingerprint for name, dataset in datasets.items()},
    )
    return TrunkPackage(metadata, stored(network.trunk.state_dict()))


@dataclass(frozen=True)
class RegisteredHead:
    """A head that a run put into the registry.

    Attributes:
        name: Of its dataset, or ``generic``.
        version: In the registry.
        metrics: On its dataset's test micrographs, by name; the generic head's on those of all datasets.
        generic_metrics: The generic head's on the same micrographs.
        champion: Whether it is what users get by its name; a contribution may have stayed challenger.
    """

    name: str
    version: int
    metrics: dict[str, float]
    generic_metrics: dict[str, float]
    champion: bool = True


def register_head(
    network: MultiHeadNetwork,
    name: str,
    dataset: Dataset | None,
    judged: Judged,
    trunk: TrunkReference,
    tracker: TrackedRun,
    origin: Origin,
    say: Callable[[str], None],
) -> RegisteredHead:
    """Register one head of a run, `dataset` being None for the generic head, and log what it does.

    It becomes champion, or challenger where only a maintainer may make champions.
    """
    package = head_package(network, name, dataset, judged, trunk, origin)
    version, champion = _register_once(package, tracker.run_id)
    generic = judged.metrics(GENERIC, [name] if dataset else None)
    head = RegisteredHead(name, version, package.metadata.metrics, numbers(generic), champion)
    log_pictures(package, tracker)
    ask = f"; ask a maintainer for `hydrapicker heads promote {name} --version {version}`"
    ap = head.metrics.get("ap", float("nan"))
    say(f"registered head {name} version {version}, AP {ap:.3f}{'' if champion else ask}")
    return head


def head_package(
    network: MultiHeadNetwork,
    name: str,
    dataset: Dataset | None,
    judged: Judged,
    trunk: TrunkReference,
    origin: Origin,
    pictures: bool = True,
    more_metrics: Mapping[str, float] | None = None,
) -> HeadPackage:
    """One head of a run, `dataset` being None for the generic head."""
    images = {_OVERLAY: judged.overlays[name]} if name in judged.overlays else {}
    metrics = numbers(judged.metrics(name)) | dict(more_metrics or {})
    return HeadPackage(
        _head_metadata(network, name, dataset, judged.thresholds[name], trunk, origin, metrics),
        stored(network.head(name).state_dict()),
        images | {_CURVES: _curves(name, judged)} if pictures and judged.micrographs.get(name, 1) else {},
    )


def log_pictures(package: HeadPackage, run: TrackedRun) -> None:
    """Keep a head's pictures with its run too."""
    for picture, content in package.pictures.items():
        folder = {_OVERLAY: "overlays", _CURVES: "curves"}[picture]
        run.log_file(f"{folder}/{package.metadata.dataset}.png", content)


def _register_once(package: HeadPackage, run_id: str) -> tuple[int, bool]:
    """Register a head and offer it; returns its version, and whether it is champion."""
    # A run that is repeated finds what it registered before, and does not take the title from a newer version.
    registry, name = HeadRegistry(), package.metadata.dataset
    versions = {head.version: head for head in registry.list_heads() if head.dataset == name}
    version = next((head.version for head in versions.values() if head.run_id == run_id), None)
    if version is None:
        version = registry.register_head(package, run_id)
    elif version < max(versions):
        return version, "champion" in versions[version].aliases
    return version, registry.offer(name, version) == "champion"


def _curves(name: str, judged: Judged) -> bytes:
    if name == GENERIC:
        parts = {f"on {other}": scored[GENERIC] for other, scored in judged.test.items()}
    else:
        parts = {"own head": judged.test[name][name], "generic head": judged.test[name][GENERIC]}
    curves: dict[str, ScoredPicks] = {label: pool(each) for label, each in parts.items()}
    return detection_curves(curves, f"{name}: test micrographs, IoU 0.6")


def _head_metadata(
    network: MultiHeadNetwork,
    name: str,
    dataset: Dataset | None,
    threshold: float | None,
    trunk: TrunkReference,
    origin: Origin,
    metrics: Mapping[str, float],
) -> HeadMetadata:
    return HeadMetadata(
        **origin.shared(network, metrics),
        dataset=name,
        dataset_version=int(dataset.version.removeprefix("v")) if dataset else None,
        dataset_fingerprint=dataset.fingerprint if dataset else None,
        trunk=trunk,
        input=HeadInput(
            origin.box_px,
            NORMALISATION,
            dataset.contrast if dataset else origin.contrast,
            dataset.diameter_angstrom if dataset else None,
        ),
        threshold=threshold,
    )


def numbers(metrics: Metrics) -> dict[str, float]:
    """Metrics by name, without those that are undefined."""
    return {name: float(value) for name, value in metrics.as_dict().items() if value is not None}
