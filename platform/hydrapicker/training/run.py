"""A recipe on Ray Train: started, watched, continued."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrapicker import cluster
from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.training.recipe import Recipe


class TrainingError(HydraPickerError, RuntimeError):
    """Training ended before its last epoch."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The end of a run.

    Attributes:
        weights: Of the network, at the least validation loss of the last phase.
        history: One entry per finished epoch.
    """

    weights: dict[str, Any]
    history: list[dict[str, Any]]


def run_recipe(recipe: Recipe, runs: Path, on_record: Callable[[dict[str, Any]], None]) -> Trained:
    """Train a recipe to its end, from its last checkpoint where there is one.

    Args:
        recipe: What to train.
        runs: Folder of all runs; this run's checkpoints lie in ``<runs>/<run_name>``.
        on_record: Called with every finished epoch's record.

    Raises:
        TrainingError: When the workers failed more often than the recipe allows.
        InvalidInputError: When the run's folder holds a run on other data, or the cluster is too small.
    """
    _claim_folder(recipe, runs / recipe.run_name)
    cluster.connect()
    cluster.require(recipe.loop.workers, recipe.loop.threads, gpu=recipe.loop.gpu)
    import ray.train
    from ray.train.torch import TorchTrainer

    from hydrapicker.training.board import watched_board
    from hydrapicker.training.worker import train_worker

    resources = {"CPU": float(recipe.loop.threads), **({"GPU": 1.0} if recipe.loop.gpu else {})}
    with watched_board(on_record) as board:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"recipe": recipe, "board": board},
            scaling_config=ray.train.ScalingConfig(
                num_workers=recipe.loop.workers, use_gpu=recipe.loop.gpu, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(
                name=recipe.run_name,
                storage_path=str(runs.resolve()),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
                failure_config=ray.train.FailureConfig(max_failures=recipe.loop.max_failures),
            ),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise TrainingError(f"run {recipe.run_name!r} failed: {_cause(error)}") from error
    if result.checkpoint is None:
        raise TrainingError(f"run {recipe.run_name!r} has no epochs: give a stage at least one")
    return _read(result.checkpoint)


def _read(checkpoint: Any) -> Trained:
    from hydrapicker.training.checkpoint import load_progress, load_weights_of

    with checkpoint.as_directory() as folder:
        return Trained(load_weights_of(Path(folder), "best"), load_progress(Path(folder)).history)


def _claim_folder(recipe: Recipe, folder: Path) -> None:
    # A checkpoint says nothing of the data it came from: the folder does, before the first worker starts.
    record = folder / "datasets.json"
    if record.exists() and json.loads(record.read_text()) != dict(recipe.fingerprints):
        raise InvalidInputError(
            f"the run in {folder} was trained on other datasets or other versions of them: give another --run-name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(dict(recipe.fingerprints), indent=1, sort_keys=True))
    except OSError as error:
        raise InvalidInputError(f"cannot write to {folder}: {error.strerror}; give another --runs") from error


def _cause(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return f"{type(cause).__name__}: {cause}"
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
