"""Shards written by a Ray cluster: a task per shard, each streaming its micrographs into the store by itself."""

import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hydrapicker import cluster
from hydrapicker.errors import HydraPickerError, MicrographError
from hydrapicker.storage.location import Location, from_any_folder
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.prepare import one_torch_thread
from hydrapicker.store.shards import ShardPlan, WrittenShard, prepare_task, write_shard

__all__ = ["write_on_ray"]

_PATIENCE_SECONDS = 60


def write_on_ray(
    location: Location,
    path_of: Callable[[int], str],
    plans: Sequence[ShardPlan],
    config: IngestConfig,
    advance: Callable[[int], None],
) -> Generator[tuple[int, WrittenShard]]:
    """Write shards on the cluster of RAY_ADDRESS, or on this machine, a core per shard.

    As :func:`~hydrapicker.store.on_threads.write_on_threads`, but shards come as they are finished, and ``advance``
    is called once for each with its number of micrographs. No more than two tasks per core are under way.

    Raises
    ------
    MicrographError
        When a node does not see a micrograph.
    StoreError
        When the store cannot be written.
    ClusterError
        When there is no cluster, or it loses a task for good.
    """
    import ray

    cluster.connect()
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    task = ray.remote(num_cpus=1)(_write)
    root, waiting = from_any_folder(location.root), iter(plans)
    under_way: dict[Any, ShardPlan] = {}
    try:
        while True:
            for plan in islice(waiting, at_once - len(under_way)):
                under_way[task.remote(root, path_of(plan.number), _from_any_folder(plan), config)] = plan
            if not under_way:
                return
            (finished,), _ = ray.wait(list(under_way), num_returns=1)
            written, plan = _result(finished), under_way.pop(finished)
            yield plan.number, written
            advance(len(plan.tasks))
    finally:
        _stop(list(under_way))


def _from_any_folder(plan: ShardPlan) -> ShardPlan:
    """Name files so that a process in another working folder finds them."""
    return replace(plan, tasks=tuple(replace(task, file=task.file.absolute()) for task in plan.tasks))


def _write(root: str, path: str, plan: ShardPlan, config: IngestConfig) -> WrittenShard:
    for task in plan.tasks:
        if isinstance(task.file, Path) and not task.file.exists():
            raise MicrographError(
                f"{task.file}: not there on {socket.gethostname()}, a node of the cluster; every node must see the "
                "micrographs: put them on a shared folder, or give s3:// URLs"
            )
    with one_torch_thread():
        return write_shard(Location(root), path, plan.name, (prepare_task(task, config) for task in plan.tasks))


def _result(reference: Any) -> WrittenShard:
    """What a task returned; what it raised comes out as it was, without Ray's report around it."""
    import ray

    try:
        written: WrittenShard = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HydraPickerError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise cluster.ClusterError(
            f"Ray lost a task of the ingest ({reason}): run the same command again, it continues"
        ) from error
    return written


def _stop(references: Sequence[Any]) -> None:
    """End tasks and wait until they have: what comes next may remove what they write."""
    import ray

    for reference in references:
        ray.cancel(reference)
    if references:
        ray.wait(list(references), num_returns=len(references), timeout=_PATIENCE_SECONDS)
