"""AP against lambda_bias as one PNG image, with zero beside the logarithmic axis."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from hydrapicker.evaluation.figures import png
from hydrapicker.tuning.objective import Scores
from hydrapicker.tuning.outcome import Outcome, best_of

_GENERIC, _OWN, _STAGE1 = "#1f5fa8", "#c8641e", "#666666"
_MARKERS = {"per-head": "o", "per-tensor": "s", "squared": "^"}


def draw_search(
    outcomes: Sequence[Outcome], stage1: Mapping[int, Scores], targets: Sequence[str], names: Sequence[str]
) -> bytes:
    """The generic head's AP on the targets and the own heads' on the sources, the best trial marked.

    Args:
        outcomes: Of all trials.
        stage1: By width, what stage 1's only head was worth on the same micrographs.
        targets: Names of the targets.
        names: Settings that were varied: a line joins the trials only where lambda_bias alone was.
    """
    drawn = [outcome for outcome in outcomes if outcome.generic_ap is not None]
    figure = Figure(figsize=(8.4, 5.2))
    axes = figure.subplots()
    zero = _zero_position([outcome.settings.lambda_bias for outcome in drawn])
    _draw_stage1(axes, stage1)
    for color, of, label in (
        (_OWN, "own_ap", "own heads, on their sources' val micrographs"),
        (_GENERIC, "generic_ap", f"generic head, on {', '.join(targets)} (never trained on)"),
    ):
        _draw_trials(axes, drawn, of, color, label, zero, joined=len(names) == 1)
    best = best_of(drawn)
    if best is not None:
        _mark(axes, best, zero)
    _log_axis_with_zero(axes, drawn, zero)
    axes.set(ylabel="average precision at IoU 0.6", title="Which weight of the bias loss makes the best generic head?")
    axes.grid(alpha=0.25)
    axes.margins(y=0.14)  # room for what is written above the best
    _legend(axes, drawn)
    return png(figure)


def _draw_trials(
    axes: Axes, outcomes: Sequence[Outcome], of: str, color: str, label: str, zero: float, *, joined: bool
) -> None:
    complete = sorted((o for o in outcomes if o.complete), key=lambda o: o.settings.lambda_bias)
    if joined:
        positive = [o for o in complete if o.settings.lambda_bias > 0]
        axes.plot([o.settings.lambda_bias for o in positive], [getattr(o, of) for o in positive], color=color, lw=1.2)
    for form, marker in _MARKERS.items():
        for whole in (True, False):
            some = [o for o in outcomes if o.settings.bias_form == form and o.complete is whole]
            axes.plot(
                [o.settings.lambda_bias or zero for o in some],
                [getattr(o, of) for o in some],
                marker,
                color=color,
                markerfacecolor=color if whole else "white",
                markersize=6,
                alpha=1.0 if whole else 0.6,
            )
    axes.plot([], [], "o-" if joined else "o", color=color, label=label)


def _draw_stage1(axes: Axes, stage1: Mapping[int, Scores]) -> None:
    for i, (width, scores) in enumerate(sorted(stage1.items())):
        label = "stage 1's only head, on the same targets" + (f" (width {width})" if len(stage1) > 1 else "")
        axes.axhline(scores.objective, color=_STAGE1, ls=(0, (1 + 2 * i, 2)), lw=1.3, label=label)


def _mark(axes: Axes, best: Outcome, zero: float) -> None:
    x, y = best.settings.lambda_bias or zero, best.generic_ap or 0.0
    axes.plot([x], [y], "o", markersize=15, markerfacecolor="none", markeredgecolor="black", markeredgewidth=1.6)
    axes.annotate(
        f"best: {best.settings.lambda_bias:.3g}, AP {y:.3f}",
        (x, y),
        xytext=(-10 if x == zero else 0, 17),
        textcoords="offset points",
        ha="left" if x == zero else "center",
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def _zero_position(values: Sequence[float]) -> float:
    """Where zero is drawn: most of a decade left of the least positive value."""
    positive = [value for value in values if value > 0]
    return min(positive, default=1.0) / 5


def _log_axis_with_zero(axes: Axes, outcomes: Sequence[Outcome], zero: float) -> None:
    positive = [o.settings.lambda_bias for o in outcomes if o.settings.lambda_bias > 0] or [1.0]
    axes.set_xscale("log")
    axes.set_xlim(zero / 1.6, max(positive) * 1.6)
    decades = range(math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 1)
    broken = math.sqrt(zero * min(positive))
    ticks = [10.0**k for k in decades if broken < 10.0**k]
    axes.xaxis.set_major_locator(FixedLocator([zero, *ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == zero else f"{value:g}"))
    minor = [n * 10.0**k for k in decades for n in range(2, 10) if broken < n * 10.0**k]
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("lambda_bias, the weight of the bias loss")
    # The axis is broken between zero, which has no logarithm, and the rest.
    axes.axvspan(broken / 1.12, broken * 1.12, color="white", zorder=2.5)
    for end in (broken / 1.12, broken * 1.12):
        axes.axvline(end, color="0.6", lw=0.8, ls=(0, (2, 2)), zorder=2.6)


def _legend(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    if any(not outcome.complete for outcome in outcomes):
        axes.plot([], [], "o", color="0.3", markerfacecolor="white", alpha=0.6, label="stopped early (AP when stopped)")
    forms = {outcome.settings.bias_form for outcome in outcomes}
    for form, marker in _MARKERS.items():
        if len(forms) > 1 and form in forms:
            axes.plot([], [], marker, color="0.3", label=f"{form} bias")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize="small", frameon=False)
