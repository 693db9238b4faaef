"""A training process as a worker of Ray Train."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch

from hydrapicker.errors import HydraPickerError, StoreAccessError, StoreError
from hydrapicker.training.session import Record, Save
from hydrapicker.training.worker import Worker


def train_worker(config: dict[str, Any]) -> None:
    """Entry point of a Ray Train worker; `config` holds the recipe and the board that progress is posted to."""
    Worker(config["recipe"], RaySession(config["board"])).run()


class RaySession:
    """A rank of Ray Train, whose checkpoints Ray keeps in the run's storage; see :class:`Session`.

    Args:
        board: The actor to which finished epochs are posted.
    """

    def __init__(self, board: Any) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._board = board

    @contextmanager
    def resumed(self) -> Iterator[Path | None]:
        """The last committed checkpoint, fetched from the run's storage."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)

    def report(self, record: Record, save: Save) -> None:
        """Hand the checkpoint to Ray Train, and post the record once it is committed."""
        metrics = {"phase": record["phase"], "epoch": record["epoch"]}
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
        # Files are in place when report returns, but it is the controller that makes them the checkpoint to resume
        # from, when it looks next; and where a rank has died meanwhile, it never does.
        committed = ray.train.get_all_reported_checkpoints(ray.train.CheckpointConsistencyMode.COMMITTED)
        if any(checkpoint.metrics == metrics for checkpoint in committed):
            ray.get(self._board.post.remote(record))


class StopForGood(ray.train.UserCallback):
    """Ends a training at an error that starting again does not mend: Ray itself would try as often as for a crash."""

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Raise such an error in Ray's controller, which then gives up."""
        for error in worker_exceptions.values():
            if isinstance(error, HydraPickerError) and not may_pass(error):
                raise error


def may_pass(error: HydraPickerError) -> bool:
    """Whether an error may have gone by itself at the next start: a store that did not answer may answer again."""
    return isinstance(error, StoreError) and not isinstance(error, StoreAccessError)
