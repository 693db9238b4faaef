"""Many processes at one registry at once, and processes that are killed at any moment."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from registry_worker import contribute

from hydrapicker_registry import HeadNotFoundError, HeadRegistry, TrunkPackage
from hydrapicker_registry.leftovers import find_leftovers, remove_leftovers
from hydrapicker_registry.verify import verify

PROCESSES = 16
KILLS = int(os.environ.get("HYDRAPICKER_KILLS", "8"))


@pytest.fixture
def arguments(registry: HeadRegistry, run_id: str, trunk: TrunkPackage, tmp_path: Path) -> tuple[str, str, str]:
    """What :func:`contribute` takes first; the trunk is registered."""
    registry.register_trunk(trunk, run_id)
    return registry.tracking_uri, str(tmp_path / "cache"), run_id


def assert_complete(registry: HeadRegistry, name: str, numbers: set[int]) -> None:
    """Versions count from 1 without a gap, each is one of those contributed, and all of it passes verification."""
    versions = registry.versions(name)
    assert [head.version for head in versions] == list(range(len(versions), 0, -1))
    found = [round(1000 * (head.ap or 0)) for head in versions]
    assert len(set(found)) == len(found)
    assert set(found) <= numbers
    assert [finding.problem for finding in verify(registry, name)] == [None] * len(versions)


def test_sixteen_processes_contribute_to_one_name_at_once(
    registry: HeadRegistry, arguments: tuple[str, str, str], processes: ForkServerContext
) -> None:
    barrier = processes.Barrier(PROCESSES)
    crowd = [
        processes.Process(target=contribute, args=(*arguments, "crowd", number, barrier.wait))
        for number in range(PROCESSES)
    ]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0] * PROCESSES
    assert len(registry.versions("crowd")) == PROCESSES
    assert_complete(registry, "crowd", set(range(PROCESSES)))
    assert registry.load("crowd").version.aliases == ("champion",)
    periods = [period for record in registry.history("crowd") for period in record.periods]
    assert sum(period.until is None for period in periods) == 1


def test_nobody_sees_half_of_what_a_killed_process_was_at(
    registry: HeadRegistry,
    arguments: tuple[str, str, str],
    processes: ForkServerContext,
) -> None:
    """Somebody loads the head all the time; HYDRAPICKER_KILLS=100 kills as often as that."""
    moments = random.Random(7)
    seconds = _seconds_of_one(processes, arguments, lambda: _load_if_there(registry))
    for number in range(KILLS):
        started = processes.Event()
        process = processes.Process(target=contribute, args=(*arguments, "killed", number, started.set))
        process.start()
        started.wait()
        end = time.monotonic() + moments.uniform(0, 1.1) * seconds
        while time.monotonic() < end:
            _load_if_there(registry)
        process.kill()
        process.join()
        _load_if_there(registry)
    registered = len(registry.versions("killed")) if _load_if_there(registry) else 0
    print(f"{KILLS} kills within {seconds:.2f} s each; {registered} versions had been registered")
    last = processes.Process(target=contribute, args=(*arguments, "killed", KILLS, int))
    last.start()
    last.join()
    assert last.exitcode == 0, "whoever comes after the killed ones is not stopped by what they left"
    left = find_leftovers(registry, timedelta(0))
    print(f"{len(left)} logged models were left, {sum(not each.finished for each in left)} of them unfinished")
    remove_leftovers(registry, left)
    assert find_leftovers(registry, timedelta(0)) == ()
    assert_complete(registry, "killed", set(range(KILLS + 1)))
    assert registry.load("killed").head.metadata.metrics["ap"] == KILLS / 1000


def _seconds_of_one(
    processes: ForkServerContext, arguments: tuple[str, str, str], meanwhile: Callable[[], object]
) -> float:
    started = processes.Event()
    process = processes.Process(target=contribute, args=(*arguments, "undisturbed", 0, started.set))
    process.start()
    started.wait()
    begin = time.monotonic()
    while process.is_alive():
        meanwhile()
    assert process.exitcode == 0
    return time.monotonic() - begin


def _load_if_there(registry: HeadRegistry) -> bool:
    """Load the newest version there is, whatever its aliases, and then the champion; False when there is no version."""
    try:
        newest = registry.versions("killed")[0].version
    except HeadNotFoundError:
        return False
    loaded = registry.load("killed", newest)
    assert loaded.version.ap == loaded.head.metadata.metrics["ap"]
    with suppress(HeadNotFoundError):  # there is no champion where one was killed between the version and the alias
        registry.load("killed")
    return True
