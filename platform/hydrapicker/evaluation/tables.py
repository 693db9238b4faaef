"""The paper's tables from a registry and a store: own and generic heads on sources and on targets.

Sources are the datasets that the trunk was trained on, targets those that got a head later. On a target the generic
head is the zero-shot picker and the target's own head the few-shot one; models to compare with (a single-head network,
or one network per target) come from registries of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.compare import pick_tests
from hydrapicker.store.store import Dataset, Store
from hydrapicker_core.bootstrap import (
    Interval,
    MicrographPart,
    bootstrap_difference,
    bootstrap_intervals,
    drawn_average_precision,
)
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD, MicrographResult, auroc, average_precision, pool
from hydrapicker_core.network import GENERIC
from hydrapicker_registry.connection import without_login
from hydrapicker_registry.errors import HeadNotFoundError
from hydrapicker_registry.reading import CHAMPION
from hydrapicker_registry.registry import HeadRegistry, LoadedHead
from hydrapicker_registry.versions import HeadVersion

__all__ = ["OWN", "EvaluatedDataset", "HeadTables", "evaluate_heads"]

OWN = "own"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class EvaluatedDataset:
    """Models on one dataset's test micrographs.

    Attributes:
        name: Of the dataset.
        version: Of the dataset; the one its head was trained on.
        heads: Version in its registry of each model's head: ``generic``, ``own``, and those compared with.
        results: What each model picks on each test micrograph.
    """

    name: str
    version: str
    heads: Mapping[str, int]
    results: Mapping[str, Sequence[MicrographResult]]

    @property
    def particles(self) -> int:
        """On the test micrographs."""
        return sum(len(result.particles) for result in next(iter(self.results.values())))

    @property
    def micrographs(self) -> int:
        """How many there are to test on."""
        return len(next(iter(self.results.values())))

    def parts(self, model: str, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> list[MicrographPart]:
        """A model's picks judged at an overlap, micrograph by micrograph."""
        return [result.part(iou_threshold) for result in self.results[model]]

    def figures(self, model: str, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> dict[str, float]:
        """A model's ``ap`` and ``auroc``, without intervals."""
        picks = pool(self.parts(model, iou_threshold))
        return {"ap": average_precision(picks), "auroc": auroc(picks)}

    def ap(self, model: str, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> Interval:
        """A model's AP, with its interval over micrographs."""
        return bootstrap_intervals(self.parts(model, iou_threshold), {"": drawn_average_precision})[""]

    def ap_difference(self, new: str, old: str, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> Interval:
        """One model's AP minus another's, on the same drawn micrographs."""
        newer, older = (self.parts(model, iou_threshold) for model in (new, old))
        return bootstrap_difference(newer, older, drawn_average_precision)


@dataclass(frozen=True, eq=False)
class HeadTables:
    """All datasets evaluated.

    Attributes:
        trunk: Version of the generic head's trunk.
        generic: Version of the generic head.
        sources: Datasets the trunk was trained on.
        targets: Datasets that got a head later.
        left_out: Why others were not evaluated, by their names.
    """

    trunk: int
    generic: int
    sources: tuple[EvaluatedDataset, ...]
    targets: tuple[EvaluatedDataset, ...]
    left_out: Mapping[str, str]

    def metrics(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """AP and AUROC by ``sources`` or ``targets``, dataset and model."""
        return {
            kind: {each.name: {model: each.figures(model) for model in each.results} for each in datasets}
            for kind, datasets in (("sources", self.sources), ("targets", self.targets))
        }


def evaluate_heads(
    store: Store,
    against: Mapping[str, str] | None = None,
    datasets: Sequence[str] = (),
    progress: Progress = lambda done, total, label: None,
    tracking_uri: str | None = None,
) -> HeadTables:
    """Judge the champion generic head and the datasets' own heads on the datasets' test micrographs.

    A dataset's own head is its champion, or its newest version where none is (a contribution that failed the gate).
    Each dataset is taken in the version that its head was trained on, so that no test micrograph was trained on.

    Args:
        store: Where the datasets are.
        against: Tracking URIs of other registries, by what their models are called; each is judged on the targets by
            its head of the target's name.
        datasets: Names of those evaluated; empty: all that have a head and are in the store.
        progress: Told of every micrograph.
        tracking_uri: Of the registry; by default MLFLOW_TRACKING_URI.

    Raises:
        HeadNotFoundError: When the registry has no generic head, or not one for a dataset that was named.
        InvalidInputError: When a dataset that was named is not in the store as its head knew it, or nothing is left.
    """
    registry = HeadRegistry(tracking_uri)
    generic = registry.load(GENERIC)
    own, where = _own_heads(registry.list_heads()), without_login(registry.tracking_uri)
    if unknown := [name for name in datasets if name not in own]:
        raise HeadNotFoundError(f"no head for {', '.join(unknown)} in {where}: train or contribute it")
    rivals = {name: HeadRegistry(uri) for name, uri in (against or {}).items()}
    rival_heads = {name: _own_heads(each.list_heads()) for name, each in rivals.items()}
    found: dict[bool, list[EvaluatedDataset]] = {True: [], False: []}
    left_out = {}
    for name in datasets or sorted(own):
        dataset = _as_trained(store, own[name])
        if isinstance(dataset, str):
            left_out[name] = dataset
            continue
        is_source = name in generic.trunk.metadata.datasets
        heads = {GENERIC: generic, OWN: registry.load(name, own[name].version)}
        if not is_source:
            there = {model: versions[name] for model, versions in rival_heads.items() if name in versions}
            heads |= {model: rivals[model].load(name, head.version) for model, head in there.items()}
        found[is_source].append(_evaluated(dataset, heads, progress))
    if left_out and (datasets or not any(found.values())):
        raise InvalidInputError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    if not any(found.values()):
        raise HeadNotFoundError(f"no head but the generic one in {where}: train or contribute some")
    version = generic.version
    return HeadTables(version.trunk_version, version.version, tuple(found[True]), tuple(found[False]), left_out)


def _evaluated(dataset: Dataset, heads: Mapping[str, LoadedHead], progress: Progress) -> EvaluatedDataset:
    versions = {model: loaded.version.version for model, loaded in heads.items()}
    return EvaluatedDataset(dataset.name, dataset.version, versions, pick_tests(heads, dataset, progress))


def _own_heads(heads: Sequence[HeadVersion]) -> dict[str, HeadVersion]:
    """The champion of every dataset, or else its newest version; heads come newest first."""
    own: dict[str, HeadVersion] = {}
    for head in heads:
        if head.dataset != GENERIC and (head.dataset not in own or CHAMPION in head.aliases):
            own[head.dataset] = head
    return own


def _as_trained(store: Store, head: HeadVersion) -> Dataset | str:
    """The dataset as its head knew it, or why it is not there."""
    manifest = store.manifest(head.dataset)
    if manifest is None:
        return f"not in the store {store.location.url()}"
    for version, entry in manifest.versions.items():
        if entry.fingerprint == head.dataset_fingerprint:
            dataset = store.open(head.dataset, version)
            return dataset if len(dataset.split("test")) else f"{version} has no test micrographs"
    return f"no version in {store.location.url()} is what head version {head.version} was trained on"
