"""What a training process is told about its place, and where it leaves its epochs; a worker knows nothing else."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import torch

Record = dict[str, Any]
"""An epoch as plain values, see :class:`~hydrapicker.training.record.EpochRecord`."""
Save = Callable[[Path], None]
"""Writes a checkpoint into an empty folder."""

_CHECKPOINT = "checkpoint_"
_UNFINISHED = ".tmp-"


class Session(Protocol):
    """One rank's view of a run.

    Attributes:
        rank: This rank.
        world: Number of ranks.
        device: Where this rank computes.
    """

    rank: int
    world: int
    device: torch.device

    def resumed(self) -> AbstractContextManager[Path | None]:
        """The folder of the checkpoint to go on from, while the context lasts; None to begin."""

    def report(self, record: Record, save: Save) -> None:
        """Commit an epoch, then announce it; called by every rank after every epoch, `save` on rank 0 only.

        When this returns on rank 0 the checkpoint is what a later session resumes from, whoever dies.
        """


class LocalSession:
    """One process without Ray; its checkpoints lie in a folder.

    Args:
        folder: Of the checkpoints; the last one in it is gone on from.
        on_record: Called with every epoch's record once its checkpoint is written; what it raises ends the training.
        device: Where to compute.
        keep: How many checkpoints stay.
    """

    def __init__(
        self,
        folder: Path,
        on_record: Callable[[Record], None] = lambda record: None,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (it is a value)
        keep: int = 2,
    ) -> None:
        self.rank, self.world, self.device = 0, 1, device
        self._folder, self._on_record, self._keep = folder, on_record, keep
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover)

    @property
    def checkpoints(self) -> list[Path]:
        """Folders of the checkpoints, the last one last."""
        return sorted(self._folder.glob(f"{_CHECKPOINT}*"))

    @contextmanager
    def resumed(self) -> Iterator[Path | None]:
        """The last checkpoint's folder."""
        yield next(reversed(self.checkpoints), None)

    def report(self, record: Record, save: Save) -> None:
        """Write a checkpoint beside the others and let it appear whole."""
        unfinished = self._folder / f"{_UNFINISHED}{uuid4().hex}"
        unfinished.mkdir()
        save(unfinished)
        there = self.checkpoints
        number = int(there[-1].name.removeprefix(_CHECKPOINT)) + 1 if there else 1
        unfinished.rename(self._folder / f"{_CHECKPOINT}{number:06d}")
        for old in self.checkpoints[: -self._keep]:
            shutil.rmtree(old)
        self._on_record(record)
