"""The tables of :mod:`hydrapicker.evaluation.tables` as Markdown and curves, in a folder and in MLflow."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from hydrapicker.evaluation.model_table import model_curves, model_table
from hydrapicker.evaluation.tables import OWN, EvaluatedDataset, HeadTables
from hydrapicker.storage.atomic import atomic_write
from hydrapicker.tracking import TrackedRun
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
            contents[f"{kind}.png"] = model_curves(datasets, names, f"{kind}: test micrographs pooled, IoU 0.6")
        for each in datasets:
            contents[f"curves/{each.name}.png"] = model_curves(
                [each], _named([each], names), f"{each.name}: test micrographs, IoU 0.6"
            )
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
        "are of AP, both models on the same drawn micrographs. The mean is over datasets, each drawn by itself.",
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


def _kinds(tables: HeadTables) -> list[tuple[str, Sequence[EvaluatedDataset], Mapping[str, str]]]:
    """The datasets of each kind, and what their models are called there."""
    kinds = (("sources", tables.sources, _SOURCE_NAMES), ("targets", tables.targets, _TARGET_NAMES))
    return [(kind, datasets, _named(datasets, names)) for kind, datasets, names in kinds]


def _named(datasets: Sequence[EvaluatedDataset], names: Mapping[str, str]) -> dict[str, str]:
    return {model: names.get(model, model) for each in datasets for model in each.results}


def _table(datasets: Sequence[EvaluatedDataset], names: Mapping[str, str]) -> list[str]:
    return model_table(datasets, names, [(OWN, other) for other in names if other != OWN])
