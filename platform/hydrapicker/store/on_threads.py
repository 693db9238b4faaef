"""Shards written by this process: micrographs prepared on threads, streamed in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from hydrapicker.storage.location import Location
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.prepare import one_torch_thread
from hydrapicker.store.shards import Prepared, ShardPlan, WrittenShard, prepare_task, write_shard
from hydrapicker.store.survey import Task

__all__ = ["write_on_threads"]


def write_on_threads(
    location: Location,
    path_of: Callable[[int], str],
    plans: Sequence[ShardPlan],
    config: IngestConfig,
    advance: Callable[[int], None],
) -> Generator[tuple[int, WrittenShard]]:
    """Write shards one after the other, with ``config.workers`` micrographs in preparation at a time.

    No more than two micrographs per worker wait to be written, and none of a shard that are: memory does not grow
    with the shard.

    Parameters
    ----------
    location : Location
        The store.
    path_of : callable
        Says where the shard of a number lies.
    plans : sequence of ShardPlan
        The shards to write.
    config : IngestConfig
    advance : callable
        Called with 1 for every micrograph written or found unusable.

    Yields
    ------
    int, WrittenShard
        A shard's number, and what it holds.
    """
    with closing(_prepared([task for plan in plans for task in plan.tasks], config)) as prepared:
        for plan in plans:
            own = _counted(islice(prepared, len(plan.tasks)), advance)
            yield plan.number, write_shard(location, path_of(plan.number), plan.name, own)


def _prepared(tasks: Sequence[Task], config: IngestConfig) -> Generator[Prepared]:
    """Prepare micrographs and yield them in order."""
    under_way: deque[Future[Prepared]] = deque()
    with one_torch_thread(), ThreadPoolExecutor(config.workers, "ingest") as pool:
        try:
            waiting = iter(tasks)
            for task in islice(waiting, 2 * config.workers):
                under_way.append(pool.submit(prepare_task, task, config))
            while under_way:
                yield under_way.popleft().result()
                for task in islice(waiting, 1):
                    under_way.append(pool.submit(prepare_task, task, config))
        finally:
            for future in under_way:
                future.cancel()


def _counted(prepared: Iterable[Prepared], advance: Callable[[int], None]) -> Iterator[Prepared]:
    for each in prepared:
        yield each
        advance(1)
