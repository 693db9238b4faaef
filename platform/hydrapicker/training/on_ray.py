"""A training process as a worker of Ray Train."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch

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
        """Hand the checkpoint to Ray Train, then post the record."""
        metrics = {"phase": record["phase"], "epoch": record["epoch"]}
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
        ray.get(self._board.post.remote(record))
