"""The tables of :mod:`hydrapicker.evaluation.tables` as Markdown and curves, in a folder and in MLflow."""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from hydrapicker.evaluation.figures import detection_curves
from hydrapicker.evaluation.tables import OWN, EvaluatedDataset, HeadTables
from hydrapicker.storage.atomic import atomic_write
from hydrapicker.tracking import TrackedRun
from hydrapicker_core.bootstrap import Interval
from hydrapicker_core.metrics import ScoredPicks, average_precision, pool
from hydrapicker_core.network import GENERIC

_JOB = "evaluate heads"
_SOURCE_NAMES = {GENERIC: "generic head", OWN: "own head"}
_TARGET_NAMES = {GENERIC: "zero-shot", OWN: "few-shot"}


def write_tables(out: Path, tables: HeadTables) -> dict[str, Path]:
    """Write ``tables.md`` and curves: of all sources, of all targets, and of each dataset.

    Returns:
        What was written, by its name in the folder.

    Raises:
        OutputError: When it cannot be written.
    """
    contents = {"tables.md": markdown(tables).encode()}
    for kind, datasets, names in _kinds(tables):
        if datasets:
            contents[f"{kind}.png"] = _curves(datasets, names, f"{kind}: test micrographs pooled, IoU 0.6")
        for each in datasets:
            contents[f"curves/{each.name}.png"] = _curves([each], names, f"{each.name}: test micrographs, IoU 0.6")
    for name, content in contents.items():
        with atomic_write(out / name) as temporary:
            temporary.write_bytes(content)
    return {name: out / name for name in contents}


def log_tables(tables: HeadTables, files: Mapping[str, Path]) -> TrackedRun:
    """Put figures and files into an MLflow run; the same heads and datasets find their run again."""
    everything = [(each.name, each.version, dict(each.heads)) for each in (*tables.sources, *tables.targets)]
    identity = sha256(repr((tables.generic, everything)).encode()).hexdigest()
    run = TrackedRun(f"heads-{identity[:8]}", identity, _JOB)
    run.log_config({"trunk": tables.trunk, "generic": tables.generic} | {name: heads for name, _, heads in everything})
    run.log_metrics(tables.metrics())
    for name, path in files.items():
        run.log_file(name, path.read_bytes())
    run.end()
    return run


def markdown(tables: HeadTables) -> str:
    """The tables, with what their figures are."""
    text = [
        f"# Heads on trunk version {tables.trunk}, generic head version {tables.generic}",
        "",
        "AP / AUROC on test micrographs, IoU 0.6. In brackets 95 % intervals over micrographs (bootstrap); differences",
        "are of AP, both models on the same drawn micrographs. The mean is over datasets.",
        "",
    ]
    titles = {
        "sources": "Source datasets: generic and own heads",
        "targets": "Target datasets: zero-shot, few-shot, and models compared with",
    }
    for kind, datasets, names in _kinds(tables):
        if datasets:
            text += [f"## {titles[kind]}", "", *_table(datasets, names), "", f"![curves]({kind}.png)", ""]
    if tables.left_out:
        text += ["## Left out", "", *(f"- {name}: {reason}" for name, reason in tables.left_out.items()), ""]
    return "\n".join(text)


def _kinds(tables: HeadTables) -> list[tuple[str, Sequence[EvaluatedDataset], Callable[[str], str]]]:
    return [
        ("sources", tables.sources, lambda model: _SOURCE_NAMES.get(model, model)),
        ("targets", tables.targets, lambda model: _TARGET_NAMES.get(model, model)),
    ]


def _table(datasets: Sequence[EvaluatedDataset], named: Callable[[str], str]) -> list[str]:
    models = _models(datasets)
    pairs = [(OWN, other) for other in models if other != OWN]
    columns = [
        "dataset",
        "micrographs",
        "particles",
        *map(named, models),
        *(f"{named(new)} minus {named(old)}" for new, old in pairs),
    ]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for each in datasets:
        figures = [_pair(each.ap(m), each.figures(m)["auroc"]) if m in each.parts else "-" for m in models]
        differences = [_signed(each.ap_difference(*pair)) if pair[1] in each.parts else "-" for pair in pairs]
        lines.append(_row([each.name, str(each.micrographs), str(each.particles), *figures, *differences]))
    if len(datasets) > 1:
        lines.append(_row(["mean", "", "", *_means(datasets, models, pairs)]))
    return lines


def _means(datasets: Sequence[EvaluatedDataset], models: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Means over the datasets that have a model; of a difference over those that have both."""
    figures = [{model: each.figures(model) for model in each.parts} for each in datasets]

    def mean(model: str, figure: str, also: str) -> float:
        values = [each[model][figure] for each in figures if model in each and also in each]
        return sum(values) / len(values) if values else math.nan

    of_models = [f"{mean(m, 'ap', m):.3f} / {mean(m, 'auroc', m):.3f}" for m in models]
    differences = [f"{mean(new, 'ap', old) - mean(old, 'ap', new):+.3f}" for new, old in pairs]
    return [*of_models, *differences]


def _models(datasets: Sequence[EvaluatedDataset]) -> list[str]:
    return list(dict.fromkeys(model for each in datasets for model in each.parts))


def _curves(datasets: Sequence[EvaluatedDataset], named: Callable[[str], str], title: str) -> bytes:
    picks: dict[str, ScoredPicks] = {}
    for model in _models(datasets):
        have = [each for each in datasets if model in each.parts]
        label = named(model) + ("" if len(have) == len(datasets) else f" ({len(have)} datasets)")
        scored = pool(part for each in have for part in each.parts[model])
        if not math.isnan(average_precision(scored)):
            picks[label] = scored
    return detection_curves(picks, title)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _pair(ap: Interval, auroc: float) -> str:
    return f"{ap.estimate:.3f} / {auroc:.3f}{_ends(ap, '.3f')}"


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3f}{_ends(interval, '+.3f')}"


def _ends(interval: Interval, form: str) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:{form}}, {interval.high:{form}}]"
