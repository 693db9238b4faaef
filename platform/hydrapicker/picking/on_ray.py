"""Micrographs picked by a Ray cluster: an actor per core, or per GPU, that holds the head and takes one at a time.

Actors and not Ray Data: a micrograph on which workers die again and again is to be told from the others and reported,
where Ray Data would end the whole run or try for ever; and each is to be kept the moment it is picked, where Ray Data
hands on blocks. One at a time, so that a worker that dies has one micrograph on its hands, which another one gets.
What actors return is kept by the one process that started them: nothing is written twice, and nodes need not see OUT.
"""

import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydrapicker import cluster
from hydrapicker.errors import InvalidInputError
from hydrapicker.files.remote import RemoteFile
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.one import Outcome, pick_file
from hydrapicker_registry.registry import LoadedHead

__all__ = ["pick_on_ray"]

_MOST_TRIES = 3
_MOST_DEATHS_PER_WORKER = 3
"""So many without a single micrograph picked in between, and nothing will come of it."""

File = Path | RemoteFile


@dataclass(frozen=True)
class _Task:
    file: File
    compare: bool
    tries: int = 1


def pick_on_ray(
    config: PickConfig, loaded: LoadedHead, files: Sequence[File], compared: Collection[File] = ()
) -> Iterator[tuple[File, Outcome]]:
    """Pick on the cluster of RAY_ADDRESS, or on all cores of this machine; some are compared with their inverse.

    Yields:
        Each file once, with what came of it, as they are done. A file on which three workers died is one that cannot
        be picked. No more than one file per worker is under way, and none is held when it has been yielded.

    Raises:
        InvalidInputError: GPUs are asked for and there is none.
        ClusterError: There is no cluster, or its workers die and die.
    """
    if not files:
        return
    cluster.connect()
    crew = _Crew(config, loaded, min(len(files), _workers(gpu=config.gpu)))
    waiting = [_Task(file, file in compared) for file in reversed(files)]
    try:
        while waiting or crew.busy:
            while waiting and crew.idle:
                crew.give(waiting.pop())
            done = crew.next_done()
            if done is None:
                continue
            task, outcome = done
            if outcome is not None:
                yield task.file, outcome
            elif task.tries < _MOST_TRIES:
                waiting.append(replace(task, tries=task.tries + 1))
            else:
                yield task.file, Outcome(failure=f"{task.file}: {task.tries} workers died over it; is it too large?")
    finally:
        crew.dismiss()


class _Crew:
    """Actors, idle or each busy with one micrograph; one that dies is replaced."""

    def __init__(self, config: PickConfig, loaded: LoadedHead, size: int) -> None:
        import ray

        needs: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if config.gpu else 0, "max_restarts": 0}
        self._actor = ray.remote(**needs)(_Worker)
        self._arguments = (config, ray.put(loaded))
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, _Task]] = {}
        self._starting: dict[Any, Any] = {}
        self._deaths, self._most_deaths = 0, _MOST_DEATHS_PER_WORKER * size
        for _ in range(size):
            self._hire()

    def give(self, task: _Task) -> None:
        """Let an idle actor pick."""
        worker = self.idle.pop()
        file = task.file.absolute()  # a worker has another working folder
        self.busy[worker.pick.remote(file, str(task.file), task.compare)] = (worker, task)

    def next_done(self) -> tuple[_Task, Outcome | None] | None:
        """Wait until something happens: a micrograph done, its actor dead (no outcome), or an actor ready (None)."""
        import ray

        (reference,), _ = ray.wait([*self.busy, *self._starting], num_returns=1)
        worker, task = self.busy.pop(reference, (self._starting.pop(reference, None), None))
        try:
            outcome: Outcome | None = ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            self._replace(worker, error)
            return None if task is None else (task, None)
        self.idle.append(worker)
        if task is None:
            return None
        self._deaths = 0
        return task, outcome

    def dismiss(self) -> None:
        """End all actors, whatever they do."""
        import ray

        for worker in (*self.idle, *self._starting.values(), *(worker for worker, _ in self.busy.values())):
            ray.kill(worker)

    def _hire(self) -> None:
        """Start an actor, which may have to wait for room; it gets nothing to do before it is there."""
        worker: Any = self._actor.remote(*self._arguments)
        self._starting[worker.ready.remote()] = worker

    def _replace(self, worker: Any, error: BaseException) -> None:
        import ray

        self._deaths += 1
        if self._deaths > self._most_deaths:
            raise cluster.ClusterError(
                f"Ray's workers die over and over ({_first_line(error)}): give them more memory, and run the same "
                "command again, it continues"
            ) from error
        ray.kill(worker)
        self._hire()


class _Worker:
    """What an actor is."""

    def __init__(self, config: PickConfig, loaded: LoadedHead) -> None:
        import torch

        from hydrapicker.picking.picker import Picker

        torch.set_num_threads(1)  # there is an actor per core
        self._config = config
        self._picker = Picker.of(loaded).to_gpu() if config.gpu else Picker.of(loaded)

    def ready(self) -> None:
        """Return when the actor is there."""

    def pick(self, file: File, name: str, compare: bool) -> Outcome:
        if isinstance(file, Path) and not file.exists():
            where = f"a node of the cluster, {socket.gethostname()}"
            return Outcome(
                failure=f"{name}: not there on {where}: put micrographs on a shared folder, or give s3:// URLs"
            )
        return pick_file(self._picker, file, name, self._config, compare)


def _workers(*, gpu: bool) -> int:
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if gpu and has.get("GPU", 0) < 1:
        raise InvalidInputError("Ray has no GPU: leave --gpu out to pick on CPUs")
    return max(1, int(has.get("GPU" if gpu else "CPU", 1)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
