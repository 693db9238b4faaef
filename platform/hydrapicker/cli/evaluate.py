"""``hydrapicker evaluate``."""

import json
import sys
from typing import TYPE_CHECKING

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse

if TYPE_CHECKING:
    from hydrapicker.evaluation.config import EvaluateConfig
    from hydrapicker.evaluation.judged import Evaluation
    from hydrapicker.evaluation.picks import Comparison


def run(arguments: list[str]) -> int:
    """Compare picks with particles and print the figures."""
    from hydrapicker.evaluation.config import EvaluateConfig
    from hydrapicker.evaluation.picks import evaluate_picks

    config = parse(EvaluateConfig, "evaluate", arguments)
    comparison = evaluate_picks(config)
    _warn(comparison, config)
    if config.json:
        (first, *others) = comparison.pickers.values()
        say(json.dumps(comparison.as_dict() if others else first.as_dict(), indent=2))
    else:
        _print(comparison, config)
    if config.out is not None:
        _write(comparison, config)
    return 0


def _write(comparison: "Comparison", config: "EvaluateConfig") -> None:
    from hydrapicker.evaluation.report import write_report

    assert config.out is not None
    with progress_bar("draw") as progress:
        title = f"picks on {len(_first(comparison).compared)} micrographs, IoU {config.iou_threshold:g}"
        drawn, failed = write_report(config.out, comparison, config.micrographs, title, progress)
    total = len(_first(comparison).compared)
    print(f"{config.out}: curves.png, evaluation.json, {drawn} of {total} micrographs in overlays/", file=sys.stderr)
    for stem, reason in failed.items():
        print(f"hydrapicker evaluate: {stem} is not drawn: {reason}", file=sys.stderr)
    if drawn + len(failed) < total and not config.micrographs:
        print("hydrapicker evaluate: give --micrographs to draw those that are elsewhere", file=sys.stderr)


def _first(comparison: "Comparison") -> "Evaluation":
    return next(iter(comparison.pickers.values()))


def _warn(comparison: "Comparison", config: "EvaluateConfig") -> None:
    compared = set(_first(comparison).compared)
    left_out = set.intersection(*(set(each.unpicked) for each in comparison.pickers.values())) - compared
    lines = []
    if left_out:
        lines.append(
            f"{len(left_out)} micrographs with particles have no picks and are left out; --all-micrographs counts "
            "their particles as missed"
        )
    for name, each in comparison.pickers.items():
        silent = compared & set(each.unpicked)
        if silent and not config.all_micrographs:
            lines.append(f"{name} has no picks on {len(silent)} micrographs that others picked: all missed there")
        if not each.scored:
            lines.append(f"{name} has no scores: all its picks are judged together, AP and AUROC are undefined")
    for line in lines:
        print(f"hydrapicker evaluate: {line}", file=sys.stderr)


def _print(comparison: "Comparison", config: "EvaluateConfig") -> None:
    from hydrapicker.evaluation.judged import defined

    pickers = comparison.pickers
    shown = [
        each.metrics.as_dict() | {"median centre error (Angstrom)": defined(each.median_centre_error_angstrom)}
        for each in pickers.values()
    ]
    names = list(pickers) if len(pickers) > 1 else [""]
    rows = [(name.replace("_", " "), *(figures[name] for figures in shown)) for name in shown[0]]
    print_table((f"at IoU {config.iou_threshold:g}", *names), rows)
    _print_intervals(comparison)
    for name, each in pickers.items():
        columns = ("ap", "auroc", "precision", "recall", "f1")
        overlaps = [(f"{at:g}", *(figures.as_dict()[key] for key in columns)) for at, figures in each.by_iou.items()]
        say("")
        print_table(("IoU", *columns), overlaps, f"{name}: hits at other overlaps")
        if config.per_micrograph:
            figures = each.per_micrograph()
            say("")
            keys = list(next(iter(figures.values())))
            titles = ("micrograph", *(key.replace("_", " ") for key in keys))
            print_table(titles, [(stem, *row.values()) for stem, row in figures.items()], name)


def _print_intervals(comparison: "Comparison") -> None:
    from hydrapicker.evaluation.judged import defined, ends

    rows = [
        (name, figure.replace("_", " "), defined(interval.estimate), *(ends(interval) or (None, None)))
        for name, each in comparison.pickers.items()
        for figure, interval in each.intervals.items()
    ]
    rows += [
        (f"{each.new} - {each.old}", "ap", each.ap.estimate, *(ends(each.ap) or (None, None)))
        for each in comparison.differences
    ]
    say("")
    print_table(("", "figure", "value", "from", "to"), rows, "95 % intervals over micrographs")
