"""A run goes on with another number of workers: the same minibatches, the same weights up to floating point."""

import json
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hydrapicker.streaming.plan import Minibatch
from hydrapicker.training.recipe import Recipe
from hydrapicker.training.run import Trained, read_trained
from hydrapicker.training.session import LocalSession, Record, Save
from hydrapicker.training.worker import Worker


class RankSession(LocalSession):
    """One of several ranks on this machine; rank 0 writes, and after some epochs all leave."""

    def __init__(self, folder: Path, rank: int, world: int, epochs: int) -> None:
        super().__init__(folder)
        self.rank, self.world, self._epochs_left = rank, world, epochs

    def report(self, record: Record, save: Save) -> None:
        if self.rank == 0:
            super().report(record, save)
        dist.barrier()
        self._epochs_left -= 1
        if self._epochs_left == 0:
            raise SystemExit


class LoggingWorker(Worker):
    """Writes down the minibatches it takes, in order."""

    taken: list[tuple[str, tuple[int, ...], int]]

    def _dropout_seed(self, minibatch: Minibatch) -> int:
        self.taken = [*getattr(self, "taken", []), (minibatch.dataset, minibatch.rows, minibatch.sweep)]
        return super()._dropout_seed(minibatch)


def rank_main(rank: int, world: int, recipe: Recipe, folder: Path, epochs: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    worker = LoggingWorker(recipe, RankSession(folder / "run", rank, world, epochs))
    try:
        worker.run()
    except SystemExit:
        (folder / f"taken-{rank}.json").write_text(json.dumps(worker.taken))
    dist.destroy_process_group()


def alone(recipe: Recipe, folder: Path) -> tuple[Trained, list[object]]:
    session = LocalSession(folder)
    worker = LoggingWorker(recipe, session)
    worker.run()
    return read_trained(session.checkpoints[-1]), json.loads(json.dumps(worker.taken))


def test_begun_by_two_and_finished_by_one(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    mp.start_processes(rank_main, (2, recipe, tmp_path, 3), nprocs=2, start_method="forkserver")
    by_two = [json.loads((tmp_path / f"taken-{rank}.json").read_text()) for rank in range(2)]
    got, by_one = alone(recipe, tmp_path / "run")
    expected, all_by_one = alone(recipe, tmp_path / "whole")
    in_turn = [minibatch for step in zip(*by_two, strict=True) for minibatch in step]
    assert in_turn + by_one == all_by_one
    assert len(in_turn) == 6
    assert len(by_one) == 2
    assert got.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        assert torch.allclose(got.weights[name], value, rtol=1e-4, atol=1e-6), name
    assert [(r["phase"], r["epoch"]) for r in got.history] == [(r["phase"], r["epoch"]) for r in expected.history]
