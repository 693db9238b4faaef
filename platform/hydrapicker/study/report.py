"""What a study leaves: tables, curves, all figures, how to make it again; in a folder and in an MLflow run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from hydrapicker.evaluation.model_table import model_curves
from hydrapicker.storage.atomic import atomic_write
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.figures import as_tree, headline
from hydrapicker.study.models import ALONE, ZERO_SHOT, few_shot
from hydrapicker.study.plan import Generics
from hydrapicker.study.recipe import made_from, study_commands
from hydrapicker.study.results import Results
from hydrapicker.study.steps import Step
from hydrapicker.study.tables import SOURCE_MODELS, few_shot_models, markdown, zero_shot_models
from hydrapicker.study.topaz import IOU_THRESHOLDS
from hydrapicker.tracking import TrackedRun

__all__ = ["Report", "write_report"]

_JOB = "study"


@dataclass(frozen=True)
class Report:
    """Where a study's report is: the file of tables, and the MLflow run with all of it."""

    tables: Path
    run_id: str


def write_report(config: StudyConfig, generics: Generics, steps: Sequence[Step], results: Results) -> Report:
    """Write tables.md, curves, study.json and config.yaml, and log them; nothing else in the folder is touched.

    Raises:
        OutputError: When something cannot be written.
        RegistryError: When MLflow cannot be reached.
    """
    models = made_from(config, generics)
    tree = {"models": models, **as_tree(results, config.labels)}
    recipe = {
        "models": models,
        "study": _plain(asdict(config.without_logins())),
        "commands": study_commands(config, steps),
    }
    identity = sha256(
        repr([[step.identity for step in steps], models, [each.heads for each in results.targets]]).encode()
    ).hexdigest()
    name = f"study-{identity[:8]}"
    run = TrackedRun(name, identity, _JOB, config.general_uri)
    tree["mlflow_run"] = {"id": run.run_id, "name": name}
    contents = {
        "tables.md": markdown(results, config.labels).encode(),
        "study.json": (json.dumps(tree, indent=1) + "\n").encode(),
        "config.yaml": yaml.safe_dump(recipe, sort_keys=False, width=10_000, allow_unicode=True).encode(),
        **_curves(results, config.labels),
    }
    for name, content in contents.items():
        with atomic_write(config.out / name) as temporary:
            temporary.write_bytes(content)
    run.log_metrics(headline(results))
    for name, content in contents.items():
        run.log_file(name, content)
    run.end()
    return Report(config.out / "tables.md", run.run_id)


def _curves(results: Results, labels: Sequence[int]) -> dict[str, bytes]:
    iou = IOU_THRESHOLDS[0]
    sources, targets = results.sources.sources, results.targets
    zero, few = zero_shot_models(results, iou), few_shot_models(labels)
    most = few_shot(max(labels))
    pooled = f"test micrographs pooled, IoU {iou:g}"
    pictures = {
        "sources.png": model_curves(sources, SOURCE_MODELS, f"molecules it was trained on: {pooled}", iou),
        "targets-zero-shot.png": model_curves(targets, zero, f"molecules it never saw: {pooled}", iou),
        "targets-few-shot.png": model_curves(
            targets, {most: few[most], ALONE: few[ALONE]}, f"molecules it never saw: {pooled}", iou
        ),
    }
    everything = {ZERO_SHOT: few[ZERO_SHOT], **few, **zero}
    for each in targets:
        title = f"{each.name}: test micrographs, IoU {iou:g}"
        pictures[f"targets/{each.name}.png"] = model_curves([each], _named(each.results, everything), title, iou)
    return pictures


def _named(there: Any, names: dict[str, str]) -> dict[str, str]:
    return {model: name for model, name in names.items() if model in there}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
