"""Curves as PNG images. Figures are drawn without pyplot, so nothing global changes and threads may draw at once."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from hydrapicker_core.metrics import ScoredPicks, auroc, average_precision, precision_recall_curve, roc_curve


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def detection_curves(picks: Mapping[str, ScoredPicks], title: str) -> bytes:
    """Precision-recall and ROC curve of each entry, side by side, with AP and AUROC in the legends."""
    figure = Figure(figsize=(9, 4.2))
    left, right = figure.subplots(1, 2)
    for label, scored in picks.items():
        curve = precision_recall_curve(scored)
        left.step(curve.recall, curve.precision, where="pre", label=f"{label}, AP {average_precision(scored):.3f}")
        roc = roc_curve(scored)
        right.plot(roc.false_positive_rate, roc.true_positive_rate, label=f"{label}, AUROC {auroc(scored):.3f}")
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left" if axes is left else "lower right", fontsize="small")
    figure.suptitle(title)
    return png(figure)


def learning_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Training losses, validation AP and the heads' distances from the generic head over the epochs of all phases."""
    figure = Figure(figsize=(12, 3.8))
    losses, precision, distance = figure.subplots(1, 3)
    series: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for i, record in enumerate(history, start=1):
        for dataset, parts in record["losses"].items():
            series["loss", dataset].append((i, sum(parts.values())))
        for dataset, value in record["distances"].items():
            series["distance", dataset].append((i, value))
        for dataset, roles in (record["validation"] or {"heads": {}})["heads"].items():
            series["ap", f"{dataset} own"].append((i, roles["own"]["ap"]))
            series["ap", f"{dataset} generic"].append((i, roles["generic"]["ap"]))
    for (kind, label), points in series.items():
        axes = {"loss": losses, "ap": precision, "distance": distance}[kind]
        axes.plot(*zip(*points, strict=True), "--" if label.endswith("generic") else "-", label=label, linewidth=1.2)
    for i in range(1, len(history)):
        if history[i]["phase"] != history[i - 1]["phase"]:
            for axes in (losses, precision, distance):
                axes.axvline(i + 0.5, color="grey", linewidth=0.8)
    losses.set(title="training loss", xlabel="epoch", yscale="log")
    precision.set(title="validation AP", xlabel="epoch", ylim=(0, 1))
    distance.set(title="distance from the generic head", xlabel="epoch")
    for axes in (losses, precision, distance):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:  # the line between phases has no label
            axes.legend(fontsize="x-small")
    return png(figure)
