"""Curves as PNG images. Figures are drawn without pyplot, so nothing global changes and threads may draw at once."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydrapicker_core.metrics import ScoredPicks, auroc, average_precision, precision_recall_curve, roc_curve

_MOST_NAMED = 8
"""More datasets than this have no line of their own in a legend."""


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
    """Training losses, validation AP and the heads' distances from the generic head over the epochs of all phases.

    Of many datasets each is a faint line without a name, and their mean is drawn.
    """
    figure = Figure(figsize=(12, 3.8))
    losses, precision, distance = figure.subplots(1, 3)
    panels = {"loss": losses, "ap": precision, "distance": distance}
    for (kind, role), lines in _learning_series(history).items():
        _draw_lines(panels[kind], lines, role)
    for i in range(1, len(history)):
        if history[i]["phase"] != history[i - 1]["phase"]:
            for axes in panels.values():
                axes.axvline(i + 0.5, color="grey", linewidth=0.8)
    losses.set(title="training loss", xlabel="epoch", yscale="log")
    precision.set(title="validation AP", xlabel="epoch", ylim=(0, 1))
    distance.set(title="distance from the generic head", xlabel="epoch")
    for axes in panels.values():
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:  # the line between phases has no label
            axes.legend(fontsize="x-small")
    return png(figure)


def _learning_series(
    history: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, list[tuple[int, float]]]]:
    """Points by panel and head (``own``, ``generic``), then by dataset."""
    series: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for i, record in enumerate(history, start=1):
        for dataset, parts in record["losses"].items():
            series["loss", ""][dataset].append((i, sum(parts.values())))
        for dataset, value in record["distances"].items():
            series["distance", ""][dataset].append((i, value))
        for dataset, roles in (record["validation"] or {"heads": {}})["heads"].items():
            for role in ("own", "generic"):
                series["ap", role][dataset].append((i, roles[role]["ap"]))
    return series


def _draw_lines(axes: Axes, lines: Mapping[str, Sequence[tuple[int, float]]], role: str) -> None:
    style = "--" if role == "generic" else "-"
    if len(lines) <= _MOST_NAMED:
        for dataset, points in lines.items():
            axes.plot(*zip(*points, strict=True), style, label=f"{dataset} {role}".strip(), linewidth=1.2)
        return
    colour = "tab:orange" if role == "generic" else "tab:blue"
    at_epoch: dict[int, list[float]] = defaultdict(list)
    for points in lines.values():
        axes.plot(*zip(*points, strict=True), style, color=colour, alpha=0.2, linewidth=0.8)
        for epoch, value in points:
            at_epoch[epoch].append(value)
    means = [sum(values) / len(values) for values in at_epoch.values()]
    axes.plot(list(at_epoch), means, style, color=colour, label=f"mean of {len(lines)} datasets {role}".strip())
