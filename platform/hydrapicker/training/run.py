"""A recipe on Ray Train: started, watched, continued."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrapicker import cluster
from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import atomic_write
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
        InvalidInputError: When the cluster is too small.
    """
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


def claim_folder(recipe: Recipe, runs: Path) -> None:
    """Make the run's folder, or check that the run in it is the same.

    Raises:
        InvalidInputError: When the folder holds another run, or cannot be written.
    """
    # A checkpoint says nothing of config and data: the folder does, before the first worker starts.
    folder = runs / recipe.run_name
    record = folder / "run.json"
    if record.exists() and json.loads(record.read_text())["identity"] != recipe.identity:
        raise InvalidInputError(
            f"the run in {folder} has another config or other datasets: give another --run-name, or the same options"
        )
    entry = {"identity": recipe.identity, "fingerprints": dict(recipe.fingerprints)}
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(entry, indent=1, sort_keys=True))


def _cause(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return f"{type(cause).__name__}: {cause}"
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
