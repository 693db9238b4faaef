"""All figures of a study as one tree that JSON holds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydrapicker.evaluation.model_table import mean_ap, mean_difference
from hydrapicker.evaluation.tables import OWN, EvaluatedDataset
from hydrapicker.study.models import ALONE, SINGLE, SINGLE_TUNED, ZERO_SHOT, few_shot
from hydrapicker.study.results import Results
from hydrapicker.study.topaz import IOU_THRESHOLDS
from hydrapicker_core.bootstrap import Interval
from hydrapicker_core.network import GENERIC

__all__ = ["as_tree"]

Pairs = Sequence[tuple[str, str]]


def as_tree(results: Results, labels: Sequence[int]) -> dict[str, Any]:
    """Everything measured, with intervals; what is undefined is None."""
    return {
        "sources": _datasets(results.sources.sources, [(OWN, GENERIC)]),
        "targets": _datasets(results.targets, _pairs(labels)),
        "heads": {
            target: {model: {"version": v.version, "run_id": v.run_id} for model, v in models.items()}
            for target, models in results.heads.items()
        },
        "default_threshold": results.default_threshold,
        "operating_points": {
            each.dataset: {
                "target": each.is_target,
                "precision": interval(each.precision),
                "recall": interval(each.recall),
                "f1": interval(each.f1),
                "best_f1": _number(each.best_f1),
                "best_threshold": _number(each.best_threshold),
            }
            for each in results.operating_points
        },
        "robustness": {
            each.dataset: {f"{factor:g}": interval(ap) for factor, ap in each.ap.items()} for each in results.robustness
        },
        "empty": {
            each.name: {f"{diameter:g}": list(counts) for diameter, counts in each.counts.items()}
            for each in results.empty
        },
        "topaz": {
            each.dataset: {
                str(factor): {f"{iou:g}": _number(each.ap(factor, iou)) for iou in IOU_THRESHOLDS}
                for factor in each.results
            }
            for each in results.topaz
        },
    }


def interval(value: Interval) -> dict[str, float | None]:
    """A figure with its ends."""
    return {"estimate": _number(value.estimate), "low": _number(value.low), "high": _number(value.high)}


def headline(results: Results) -> dict[str, Any]:
    """The figures without intervals, as MLflow takes them: by kind, dataset and model."""
    kinds = {"sources": results.sources.sources, "targets": results.targets}
    return {
        kind: {each.name: {model: each.figures(model) for model in each.results} for each in datasets}
        for kind, datasets in kinds.items()
    }


def _pairs(labels: Sequence[int]) -> Pairs:
    most = few_shot(max(labels))
    few = [(few_shot(n), ZERO_SHOT) for n in sorted(labels)]
    return [(ZERO_SHOT, ALONE), *few, (most, ALONE), (most, SINGLE_TUNED), (ZERO_SHOT, SINGLE)]


def _datasets(datasets: Sequence[EvaluatedDataset], pairs: Pairs) -> dict[str, Any]:
    by_name = {
        each.name: {
            "version": each.version,
            "micrographs": each.micrographs,
            "particles": each.particles,
            "models": {model: _by_iou(each, model) for model in each.results},
            "differences": {
                f"{new} minus {old}": {
                    f"{iou:g}": interval(each.ap_difference(new, old, iou)) for iou in IOU_THRESHOLDS
                }
                for new, old in _there(pairs, each.results)
            },
        }
        for each in datasets
    }
    everywhere = set.intersection(*(set(each.results) for each in datasets)) if datasets else set()
    models = [model for model in next(iter(datasets)).results if model in everywhere] if datasets else []
    mean = {
        "models": {m: {f"{iou:g}": interval(mean_ap(datasets, m, iou)) for iou in IOU_THRESHOLDS} for m in models},
        "differences": {
            f"{new} minus {old}": {
                f"{iou:g}": interval(mean_difference(datasets, (new, old), iou)) for iou in IOU_THRESHOLDS
            }
            for new, old in _there(pairs, dict.fromkeys(models))
        },
    }
    return {"datasets": by_name, "mean_ap": mean}


def _by_iou(dataset: EvaluatedDataset, model: str) -> dict[str, Any]:
    return {
        f"{iou:g}": {
            "ap": interval(dataset.ap(model, iou)),
            "auroc": _number(dataset.figures(model, iou)["auroc"]),
        }
        for iou in IOU_THRESHOLDS
    }


def _there(pairs: Pairs, models: Mapping[str, object]) -> Pairs:
    return [pair for pair in pairs if all(model in models for model in pair)]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
