"""The study's tables as Markdown, titled so that a microscopist who has not read the paper understands them."""

from collections.abc import Mapping, Sequence

from hydrapicker.evaluation.model_table import ends, model_table, row
from hydrapicker.evaluation.tables import OWN, EvaluatedDataset
from hydrapicker.study.models import ALONE, SINGLE, SINGLE_TUNED, ZERO_SHOT, few_shot
from hydrapicker.study.results import Results
from hydrapicker.study.robustness import FACTORS
from hydrapicker.study.topaz import IOU_THRESHOLDS, topaz_model
from hydrapicker_core.bootstrap import Interval
from hydrapicker_core.network import GENERIC

__all__ = ["SOURCE_MODELS", "few_shot_models", "markdown", "zero_shot_models"]

SOURCE_MODELS = {GENERIC: "generic head", OWN: "own head"}
"""What models are called on sources."""

_ABOUT = """\
# The paper's experiments, repeated

Figures are AP / AUROC on test micrographs that no model was trained on; in brackets 95 % intervals, from drawing the
test micrographs anew (bootstrap). A pick is a hit where its box and a particle's overlap by more than the IoU given. A
difference is of AP, both models on the same drawn micrographs; where its interval holds 0, the two cannot be told
apart on so few micrographs. The mean is over datasets, each drawn by itself.

What each model is:

- *generic head*, on targets *zero-shot*: picks molecules it never saw; no label of the dataset was used.
- *own head*: trained on the dataset's own labelled micrographs, on the trunk that all datasets share.
- *few-shot*: a new head for the target, trained on so many labelled micrographs; trunk and generic head stay fixed.
- *alone*: a whole network of the same width trained from scratch on all of the target's training micrographs.
- *multi-head*: the trunk above, trained with a head per source. *single-head*: a trunk trained with one head for all
  sources together; with micrographs, that head is trained on for the target just as the few-shot one.
"""
_TOPAZ = """\
- *Topaz*: its shipped detector (resnet16), not trained further, at the scale that does best on these very test
  micrographs: an upper bound of what a user reaches, who has to find a scale without knowing the particles.
"""


def zero_shot_models(results: Results, iou_threshold: float) -> dict[str, str]:
    """What is compared with no labels of the target used, and what it is called."""
    topaz = {topaz_model(iou_threshold): "Topaz, best scale"} if results.topaz else {}
    return {ZERO_SHOT: "zero-shot", ALONE: "alone", **topaz}


def few_shot_models(labels: Sequence[int]) -> dict[str, str]:
    """What is compared as labels are added, and what it is called."""
    few = {few_shot(n): f"few-shot, {n} micrograph{'s' if n > 1 else ''}" for n in sorted(labels)}
    return {ZERO_SHOT: "zero-shot", **few, ALONE: "alone"}


def markdown(results: Results, labels: Sequence[int]) -> str:
    """All tables."""
    most = max(labels)
    text = [_ABOUT + (_TOPAZ if results.topaz else "")]
    sources = results.sources.sources
    text += _table(
        "Table 1. Molecules it was trained on: generic head and own heads", sources, SOURCE_MODELS, [(OWN, GENERIC)]
    )
    for iou in IOU_THRESHOLDS:
        models = zero_shot_models(results, iou)
        pairs = [(ZERO_SHOT, other) for other in models if other != ZERO_SHOT]
        title = "Table 2. Molecules it never saw: no labels, against a network trained on the molecule alone"
        text += _table(title, results.targets, models, pairs, iou)
    for iou in IOU_THRESHOLDS:
        models = few_shot_models(labels)
        pairs = [(few_shot(n), ZERO_SHOT) for n in sorted(labels)] + [(few_shot(most), ALONE)]
        title = "Table 3. Molecules it never saw: a few labelled micrographs"
        text += _table(title, results.targets, models, pairs, iou)
    if SINGLE in results.targets[0].results:
        models = {few_shot(most): f"multi-head, {most} micrographs", SINGLE_TUNED: f"single-head, {most} micrographs"}
        models |= {ZERO_SHOT: "multi-head, zero-shot", SINGLE: "single-head, zero-shot"}
        pairs = [(few_shot(most), SINGLE_TUNED), (ZERO_SHOT, SINGLE)]
        for iou in IOU_THRESHOLDS:
            text += _table(
                "Table 4. Many heads or one: what the trunk was trained with", results.targets, models, pairs, iou
            )
    text += [*_operating_points(results), *_robustness(results), *_empty(results), *_topaz_scales(results)]
    return "\n".join(text).rstrip() + "\n"


def _table(
    title: str,
    datasets: Sequence[EvaluatedDataset],
    models: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    iou_threshold: float = IOU_THRESHOLDS[0],
) -> list[str]:
    return [f"## {title} (IoU {iou_threshold:g})", "", *model_table(datasets, models, pairs, iou_threshold), ""]


def _operating_points(results: Results) -> list[str]:
    lines = [
        f"## Picks at the default threshold, {results.default_threshold:.3f}",
        "",
        "The generic head as `hydrapicker pick` uses it when no threshold is given: of its picks, how many are",
        "particles (precision), and of the particles, how many it picks (recall); IoU 0.6. The best F1 is at the",
        "threshold that suits the dataset best, which only its labels tell.",
        "",
        row(["dataset", "", "precision", "recall", "F1", "best F1", "its threshold"]),
        row(["---"] * 7),
    ]
    for each in results.operating_points:
        figures = [_interval(each.precision), _interval(each.recall), _interval(each.f1)]
        best = [f"{each.best_f1:.3f}", f"{each.best_threshold:.3f}"]
        lines.append(row([each.dataset, "target" if each.is_target else "source", *figures, *best]))
    return [*lines, ""]


def _robustness(results: Results) -> list[str]:
    lines = [
        "## A diameter that is wrong",
        "",
        "AP of the generic head (zero-shot, IoU 0.6) on the targets' test micrographs, when the diameter it is told is",
        "wrong by so much; judged with boxes of the true diameter.",
        "",
        row(["dataset", "diameter", *(f"{factor - 1:+.0%}" if factor != 1 else "right" for factor in FACTORS)]),
        row(["---"] * (2 + len(FACTORS))),
    ]
    for each in results.robustness:
        lines.append(row([each.dataset, f"{each.diameter_angstrom:g} Å", *map(_interval, each.ap.values())]))
    return [*lines, ""]


def _empty(results: Results) -> list[str]:
    if not results.empty:
        return []
    diameters = list(results.empty[0].counts)
    lines = [
        "## Micrographs without particles",
        "",
        "Picks per micrograph of the generic head at the default threshold, by the diameter it is told: the mean, and",
        "the most on one.",
        "",
        row(["folder", "micrographs", *(f"{diameter:g} Å" for diameter in diameters)]),
        row(["---"] * (2 + len(diameters))),
    ]
    for each in results.empty:
        cells = [f"{sum(counts) / len(counts):.1f} (most {max(counts)})" for counts in each.counts.values()]
        lines.append(row([each.name, str(each.micrographs), *cells]))
    return [*lines, ""]


def _topaz_scales(results: Results) -> list[str]:
    if not results.topaz:
        return []
    lines = [
        "## Topaz at every scale",
        "",
        "AP (IoU 0.6 / 0.4) of Topaz' shipped detector on micrographs shrunk by whole factors, in brackets the",
        "particle's diameter in pixels of the shrunk micrograph.",
        "",
        row(["dataset", "scales"]),
        row(["---"] * 2),
    ]
    for each in results.topaz:
        px = next(iter(each.results.values()))[0].box_px
        cells = [
            f"{factor} ({px / factor:.0f} px): " + " / ".join(f"{each.ap(factor, iou):.3f}" for iou in IOU_THRESHOLDS)
            for factor in each.results
        ]
        lines.append(row([each.dataset, "; ".join(cells)]))
    return [*lines, ""]


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.3f}{ends(interval)}"
