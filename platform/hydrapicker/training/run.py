"""A recipe on Ray Train: started, watched, continued."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.training.config import LoopConfig
from hydrapicker.training.folder import RunFolder
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


def run_recipe(recipe: Recipe, runs: str, on_record: Callable[[dict[str, Any]], None]) -> Trained:
    """Train a recipe to its end on the connected cluster, from its last checkpoint where there is one.

    Args:
        recipe: What to train.
        runs: Folder or ``s3://`` URL of all runs; this run's checkpoints lie in ``<runs>/<run_name>``.
        on_record: Called with every finished epoch's record, once its checkpoint is committed.

    Raises:
        TrainingError: When the workers failed more often than the recipe allows.
        HydraPickerError: What a worker refuses, such as a loss that is no number any more.
    """
    import ray.exceptions
    import ray.train
    from ray.train.torch import TorchTrainer

    from hydrapicker.training.board import watched_board
    from hydrapicker.training.on_ray import StopForGood, train_worker

    loop, place = recipe.loop, RunFolder(runs, recipe)
    with watched_board(on_record) as board:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"recipe": recipe, "board": board},
            scaling_config=scaling(loop),
            run_config=ray.train.RunConfig(
                name=recipe.run_name,
                **place.storage(),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=loop.keep_checkpoints),
                failure_config=ray.train.FailureConfig(max_failures=loop.max_failures),
                callbacks=[StopForGood()],  # type: ignore[list-item]  # ray declares the callbacks of its former version
            ),
        )
        try:
            with interruptible():
                result = trainer.fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise _cause(error, recipe.run_name) from error
    if result.checkpoint is None:
        raise TrainingError(f"run {recipe.run_name!r} has no epochs: give a stage at least one")
    place.remove_leftovers()
    with result.checkpoint.as_directory() as folder:
        return read_trained(Path(folder))


def read_trained(folder: Path) -> Trained:
    """The end of a run, from the folder of its last checkpoint."""
    from hydrapicker.training.checkpoint import load_progress, load_weights_of

    return Trained(load_weights_of(folder, "best"), load_progress(folder).history)


def scaling(loop: LoopConfig) -> Any:
    """How many workers Ray Train starts, and what each of them gets.

    Raises:
        InvalidInputError: When workers are to come and go and this version of Ray cannot have that.
    """
    import ray
    import ray.train

    fewest, most = loop.worker_range
    if fewest < most and not hasattr(ray.train.ScalingConfig, "elasticity_enabled"):
        raise InvalidInputError(
            f"workers {loop.workers}: Ray {ray.__version__} cannot change their number; give one number, or install "
            "ray 2.60 or newer"
        )
    return ray.train.ScalingConfig(
        num_workers=(fewest, most) if fewest < most else most,  # type: ignore[arg-type]  # ray declares its former type
        use_gpu=loop.gpu,
        resources_per_worker={"CPU": float(loop.threads), **({"GPU": 1.0} if loop.gpu else {})},
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, which is how a Ray job is stopped, end the block with KeyboardInterrupt."""
    # Ray Train's own handler of Ctrl-C leaves with SystemExit, and stays in place when training is over.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _cause(error: Exception, run_name: str) -> HydraPickerError:
    """What to tell of a failed training."""
    # What a user can mend says so itself; of several workers that failed, the others only lost their peer.
    causes = list((getattr(error, "worker_failures", None) or {}).values())
    causes += [getattr(error, "controller_failure", None) or error]
    for cause in causes:
        if isinstance(cause, HydraPickerError):
            return cause
    first_line = (str(causes[0]).strip().splitlines() or [""])[0]
    return TrainingError(
        f"run {run_name!r} failed: {type(causes[0]).__name__}: {first_line}; run the same command to continue from "
        "the last checkpoint"
    )
