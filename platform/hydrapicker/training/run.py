"""A recipe on Ray Train: started, watched, continued."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import atomic_write
from hydrapicker.training.recipe import Recipe

_RECORD = "run.json"


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
    """Train a recipe to its end on the connected cluster, from its last checkpoint where there is one.

    Args:
        recipe: What to train.
        runs: Folder of all runs; this run's checkpoints lie in ``<runs>/<run_name>``.
        on_record: Called with every finished epoch's record.

    Raises:
        TrainingError: When the workers failed more often than the recipe allows.
    """
    import ray.exceptions
    import ray.train
    from ray.train.torch import TorchTrainer

    from hydrapicker.training.board import watched_board
    from hydrapicker.training.on_ray import train_worker

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
            with _interruptible():
                result = trainer.fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise TrainingError(f"run {recipe.run_name!r} failed: {_cause(error)}") from error
    if result.checkpoint is None:
        raise TrainingError(f"run {recipe.run_name!r} has no epochs: give a stage at least one")
    with result.checkpoint.as_directory() as folder:
        return read_trained(Path(folder))


def read_trained(folder: Path) -> Trained:
    """The end of a run, from the folder of its last checkpoint."""
    from hydrapicker.training.checkpoint import load_progress, load_weights_of

    return Trained(load_weights_of(folder, "best"), load_progress(folder).history)


def check_folder(recipe: Recipe, runs: Path) -> None:
    """Refuse, with :class:`InvalidInputError`, a run whose folder holds another one."""
    # A checkpoint says nothing of config and data: the folder does, before the first worker starts.
    record = runs / recipe.run_name / _RECORD
    if record.exists() and _identity_in(record) != recipe.identity:
        raise InvalidInputError(
            f"the run in {record.parent} has another config or other datasets: give another --run-name, or the same "
            "options"
        )


def claim_folder(recipe: Recipe, runs: Path) -> None:
    """Make the run's folder and write down whose it is."""
    entry = {"identity": recipe.identity, "fingerprints": dict(recipe.fingerprints)}
    with atomic_write(runs / recipe.run_name / _RECORD) as temporary:
        temporary.write_text(json.dumps(entry, indent=1, sort_keys=True))


def _identity_in(record: Path) -> str:
    try:
        return str(json.loads(record.read_text())["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{record} cannot be read: give another --run-name, or remove its folder") from error


@contextmanager
def _interruptible() -> Iterator[None]:
    # Ray Train's own handler of Ctrl-C leaves with SystemExit, and stays in place when training is over.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _cause(error: Exception) -> str:
    # What a user can mend says so itself; of several workers that failed, the others only lost their peer.
    causes = list((getattr(error, "worker_failures", None) or {}).values()) or [error]
    cause = next((cause for cause in causes if isinstance(cause, HydraPickerError)), causes[0])
    first_line = (str(cause).strip().splitlines() or [""])[0]
    if isinstance(cause, HydraPickerError):
        return first_line
    return f"{type(cause).__name__}: {first_line}; run the same command to continue from the last checkpoint"
