"""All that a study measures, once its models are trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydrapicker.evaluation.compare import pick_tests
from hydrapicker.evaluation.tables import EvaluatedDataset, HeadTables, evaluate_heads
from hydrapicker.picking.picker import Picker
from hydrapicker.store.store import Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.empty import EmptyFolder, count_picks
from hydrapicker.study.files import TargetFiles
from hydrapicker.study.models import ZERO_SHOT, target_heads
from hydrapicker.study.plan import Generics
from hydrapicker.study.robustness import RobustTarget, pick_with_wrong_diameters
from hydrapicker.study.topaz import TopazTarget, topaz_of
from hydrapicker_core.bootstrap import Interval, bootstrap_intervals, drawn_f1, drawn_precision, drawn_recall
from hydrapicker_core.metrics import best_f1, pool
from hydrapicker_core.network import GENERIC
from hydrapicker_registry.versions import HeadVersion

__all__ = ["OperatingPoint", "Results", "measure"]

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class OperatingPoint:
    """The generic head on a dataset's test micrographs, at the threshold that picking uses when none is given.

    Attributes:
        dataset: Its name.
        is_target: Whether no trunk has seen it.
        precision, recall, f1: At the default threshold, with intervals over micrographs.
        best_f1: The highest F1 over all thresholds.
        best_threshold: Where it is.
    """

    dataset: str
    is_target: bool
    precision: Interval
    recall: Interval
    f1: Interval
    best_f1: float
    best_threshold: float


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        sources: Generic and own heads on the source datasets.
        targets: All models on each target.
        heads: Which head each model of a target is, by target and model.
        default_threshold: Of the generic head.
        operating_points: At that threshold, of all datasets.
        robustness: The generic head with wrong diameters.
        empty: Its picks where there is nothing.
        topaz: Topaz' detector at its scales.
    """

    sources: HeadTables
    targets: Sequence[EvaluatedDataset]
    heads: Mapping[str, Mapping[str, HeadVersion]]
    default_threshold: float
    operating_points: Sequence[OperatingPoint]
    robustness: Sequence[RobustTarget]
    empty: Sequence[EmptyFolder]
    topaz: Sequence[TopazTarget]


def measure(
    config: StudyConfig, store: Store, generics: Generics, targets: Mapping[str, TargetFiles], progress: Progress
) -> Results:
    """Judge all models on all test micrographs.

    Raises:
        HeadNotFoundError: When a model is not where its training should have put it.
        InvalidInputError: When a source is not in the store as the trunk knew it.
    """
    known = sorted(generics.general.trunk.metadata.datasets)
    sources = evaluate_heads(store, datasets=known, progress=progress, tracking_uri=config.general_uri)
    picker = Picker.of(generics.general)
    topaz = [topaz_of(config, files) for files in targets.values()] if config.topaz else []
    evaluated, heads = [], {}
    for number, (name, files) in enumerate(targets.items()):
        loaded = target_heads(config, generics, files.dataset)
        heads[name] = {model: each.version for model, each in loaded.items()}
        results = dict(pick_tests(loaded, files.dataset, progress)) | (topaz[number].best() if topaz else {})
        versions = {model: each.version.version for model, each in loaded.items()}
        evaluated.append(EvaluatedDataset(name, files.dataset.version, versions, results))
    threshold = picker.threshold_or_own(None)
    points = [_at(threshold, each, GENERIC, False) for each in sources.sources]
    points += [_at(threshold, each, ZERO_SHOT, True) for each in evaluated]
    robust = [pick_with_wrong_diameters(picker, files, progress) for files in targets.values()]
    empty = [count_picks(picker, folder, config.empty_diameters_angstrom, progress) for folder in config.empty]
    return Results(sources, evaluated, heads, threshold, points, robust, empty, topaz)


def _at(threshold: float, dataset: EvaluatedDataset, model: str, is_target: bool) -> OperatingPoint:
    parts = dataset.parts(model)
    statistics = {"p": drawn_precision(threshold), "r": drawn_recall(threshold), "f1": drawn_f1(threshold)}
    found, best = bootstrap_intervals(parts, statistics), best_f1(pool(parts))
    return OperatingPoint(dataset.name, is_target, found["p"], found["r"], found["f1"], best.f1, best.threshold)
