"""Models on datasets as a Markdown table and as curves: AP with intervals, AUROC, differences."""

import math
from collections.abc import Iterable, Mapping, Sequence

from hydrapicker.evaluation.figures import detection_curves
from hydrapicker.evaluation.tables import EvaluatedDataset
from hydrapicker_core.bootstrap import Interval, bootstrap_mean, drawn_average_precision
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD, ScoredPicks, average_precision, pool

__all__ = ["ends", "mean_ap", "mean_difference", "model_curves", "model_table", "row"]

Pair = tuple[str, str]


def model_table(
    datasets: Sequence[EvaluatedDataset],
    models: Mapping[str, str],
    pairs: Sequence[Pair],
    iou_threshold: float = DEFAULT_IOU_THRESHOLD,
) -> list[str]:
    """Lines of a table: a row per dataset, and one of their means; AP / AUROC per model, and differences of AP.

    Args:
        datasets: One at least.
        models: What each column's model is called, by its name in the datasets; a dataset may lack some.
        pairs: New and old model of each difference.
        iou_threshold: Overlap above which a pick is a hit.
    """
    titles = [f"{models[new]} minus {models[old]}" for new, old in pairs]
    columns = ["dataset", "micrographs", "particles", *models.values(), *titles]
    lines = [row(columns), row(["---"] * len(columns))]
    for each in datasets:
        figures = [_figure(each, model, iou_threshold) for model in models]
        differences = [_difference(each, pair, iou_threshold) for pair in pairs]
        lines.append(row([each.name, str(each.micrographs), str(each.particles), *figures, *differences]))
    if len(datasets) > 1:
        means = [_mean(datasets, model, iou_threshold) for model in models]
        differences = [_signed(mean_difference(datasets, pair, iou_threshold)) for pair in pairs]
        lines.append(row(["mean", "", "", *means, *differences]))
    return lines


def mean_ap(datasets: Iterable[EvaluatedDataset], model: str, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> Interval:
    """The mean AP over the datasets that have a model, each of which has its micrographs drawn by itself."""
    parts = [each.parts(model, iou_threshold) for each in datasets if model in each.results]
    return bootstrap_mean(parts, drawn_average_precision)


def mean_difference(
    datasets: Iterable[EvaluatedDataset], pair: Pair, iou_threshold: float = DEFAULT_IOU_THRESHOLD
) -> Interval:
    """The mean difference of AP over the datasets that have both models."""
    both = [each for each in datasets if all(model in each.results for model in pair)]
    new, old = ([each.parts(model, iou_threshold) for each in both] for model in pair)
    return bootstrap_mean(new, drawn_average_precision, old)


def model_curves(
    datasets: Sequence[EvaluatedDataset],
    models: Mapping[str, str],
    title: str,
    iou_threshold: float = DEFAULT_IOU_THRESHOLD,
) -> bytes:
    """A PNG of every model's curves, its picks of all datasets ranked together."""
    picks: dict[str, ScoredPicks] = {}
    for model, name in models.items():
        have = [each for each in datasets if model in each.results]
        label = name + ("" if len(have) == len(datasets) else f" ({len(have)} datasets)")
        scored = pool(part for each in have for part in each.parts(model, iou_threshold))
        if not math.isnan(average_precision(scored)):
            picks[label] = scored
    return detection_curves(picks, title)


def row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def ends(interval: Interval, form: str = ".3f") -> str:
    """An interval's ends in brackets, after a space; nothing where there are none."""
    return "" if math.isnan(interval.low) else f" [{interval.low:{form}}, {interval.high:{form}}]"


def _figure(dataset: EvaluatedDataset, model: str, iou_threshold: float) -> str:
    if model not in dataset.results:
        return "-"
    ap, auroc = dataset.ap(model, iou_threshold), dataset.figures(model, iou_threshold)["auroc"]
    return f"{ap.estimate:.3f} / {auroc:.3f}{ends(ap)}"


def _difference(dataset: EvaluatedDataset, pair: Pair, iou_threshold: float) -> str:
    if not all(model in dataset.results for model in pair):
        return "-"
    return _signed(dataset.ap_difference(*pair, iou_threshold))


def _mean(datasets: Sequence[EvaluatedDataset], model: str, iou_threshold: float) -> str:
    ap = mean_ap(datasets, model, iou_threshold)
    have = [each.figures(model, iou_threshold)["auroc"] for each in datasets if model in each.results]
    return f"{ap.estimate:.3f} / {sum(have) / len(have) if have else math.nan:.3f}{ends(ap)}"


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3f}{ends(interval, '+.3f')}"
