"""What MLflow shows of a training, by name: MLflow's pages put charts whose names begin alike into one section.

A dozen metrics over all datasets tell one run from the next by eye; what each dataset's heads do is in sections of its
own, one for each quantity.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

Metrics = dict[str, float | None]

_QUALITIES = ("loss", "ap", "auroc")
_ROLES = ("own", "generic")


def summary(record: Mapping[str, Any]) -> Metrics:
    """An epoch over all datasets, from its record: means where there is a value for each."""
    losses = list(record["losses"].values())
    metrics: Metrics = {
        "train/localisation": _mean(parts["localisation"] for parts in losses),
        "train/classification": _mean(parts["classification"] for parts in losses),
        "train/learning_rate": record["learning_rate"],
        "train/gradient_norm": record["gradient_norm"],
        "train/distance": _mean(record["distances"].values()),
        "train/lost_particles_fraction": record["lost_particles"] / max(1, record["particles"]),
        "speed/micrographs_per_second": record["micrographs_per_second"],
        "speed/epoch_seconds": record["seconds"],
        "speed/data_wait_fraction": record["data_wait_fraction"],
        "speed/megabytes_per_step": record["megabytes_per_step"],
    }
    validation = record["validation"]
    if validation is not None:
        metrics["validation/loss"] = validation["loss"]
        metrics["validation/best_epoch"] = record["best_epoch"]
        metrics |= _mean_qualities("validation", validation["heads"], ("ap", "auroc"))
    return metrics


def by_dataset(record: Mapping[str, Any]) -> Metrics:
    """An epoch dataset by dataset: training losses, the heads' distances from the generic head, validation."""
    metrics: Metrics = {f"train_distance/{name}": value for name, value in record["distances"].items()}
    for name, parts in record["losses"].items():
        metrics |= {f"train_loss/{name}.{part}": value for part, value in parts.items()}
    validation = record["validation"]
    return metrics | (_qualities("validation", validation["heads"], _QUALITIES) if validation is not None else {})


def final_metrics(heads: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Metrics:
    """A training's end, from ap, auroc and best_f1 on test micrographs per dataset and head (``own``, ``generic``)."""
    qualities = ("ap", "auroc", "best_f1")
    return _mean_qualities("test", heads, qualities) | _qualities("test", heads, qualities)


def _qualities(split: str, heads: Mapping[str, Mapping[str, Mapping[str, float]]], names: Iterable[str]) -> Metrics:
    return {
        f"{split}_{quality}/{dataset}.{role}": roles[role].get(quality)
        for quality in names
        for dataset, roles in heads.items()
        for role in _ROLES
    }


def _mean_qualities(
    split: str, heads: Mapping[str, Mapping[str, Mapping[str, float]]], names: Iterable[str]
) -> Metrics:
    return {
        f"{split}/{quality}_{role}": _mean(roles[role].get(quality, math.nan) for roles in heads.values())
        for quality in names
        for role in _ROLES
    }


def _mean(values: Iterable[float]) -> float | None:
    """The mean of those that are numbers: a dataset whose validation micrographs hold no particles has no AP."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
