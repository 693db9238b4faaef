"""Picking on a real Ray, with workers killed in the middle and damaged files among the micrographs."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_particles
from hydrapicker.picking import on_ray, one
from hydrapicker.picking.pick import PickConfig, pick
from hydrapicker.store.prepare import one_torch_thread

PIXEL = 1.9
MANY = int(os.environ.get("HYDRAPICKER_PICKED_ON_RAY", "40"))
"""Give 2000 to see it at scale, and pytest -s for figures."""
DAMAGED = max(3, MANY // 100)


@pytest.fixture(scope="module", autouse=True)
def ray_ends() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
    import ray

    ray.shutdown()


@pytest.fixture
def mics(here: Path, image: np.ndarray) -> Path:
    """Many micrographs, all different, of which some are damaged."""
    folder = here / "mics"
    folder.mkdir()
    for number in range(MANY):
        with mrcfile.new(folder / f"m{number:04d}.mrc", np.roll(image, number, axis=1)) as file:
            file.voxel_size = PIXEL
    for number in np.random.default_rng(1).choice(MANY, DAMAGED, replace=False):
        path = folder / f"m{number:04d}.mrc"
        path.write_bytes(path.read_bytes()[:-99])
    return folder


def workers() -> list[int]:
    """The processes of this test's own actors, by what the system says of all processes."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}

    def is_ours(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    return [int(pid) for pid, _, *words in rows if words and words[0].startswith("ray::_Worker") and is_ours(int(pid))]


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_killed_workers_and_damaged_files_cost_no_other_micrograph(mics: Path, here: Path) -> None:
    """Every micrograph once, with the picks it has without Ray; what is bad is reported; then nothing is left to do."""
    killed: list[int] = []
    told: list[str] = []
    memory: list[float] = []
    random = np.random.default_rng(0)

    def progress(done: int, total: int, label: str) -> None:
        told.append(label)
        if done and done % (MANY // 4) == 0 and done < MANY:
            ours = workers()
            memory.append(sum(map(resident_mib, [*ours, os.getpid()])))
            for worker in ours[: random.integers(1, 3)]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    report = pick(PickConfig(("mics",), Path("out"), head="any", parallel="ray"), progress)
    assert len(killed) >= 2
    assert len(report.failed) == DAMAGED
    assert all("truncated" in reason for reason in report.failed.values())
    assert len(report.counts) == MANY - DAMAGED
    names = [label.partition(":")[0] for label in told[1:]]  # the first says that nothing is done yet
    assert sorted(names) == sorted(path.name for path in mics.iterdir())
    print(f"workers killed: {len(killed)}; MiB of workers and driver at quarters of the run: {memory}")
    with one_torch_thread():  # as workers do: then all sums are the same
        here_alone = pick(PickConfig(("mics",), Path("alone"), head="any", parallel="here"))
    assert here_alone.counts == report.counts
    assert here_alone.failed == report.failed
    ours, theirs = read_particles("out/all_picks.star"), read_particles("alone/all_picks.star")
    for name, each in theirs.items():
        np.testing.assert_array_equal(ours[name].xy, each.xy)
    again = pick(PickConfig(("mics",), Path("out"), head="any", parallel="ray"))
    assert (again.skipped, again.counts) == (MANY - DAMAGED, report.counts)
    for _ in range(200):  # Ray ends them in its own time
        if not workers():
            break
        time.sleep(0.1)
    assert not workers()


def test_a_file_that_kills_its_workers_is_reported_and_stops_nothing(
    mics: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = "m0001.mrc"

    worker_pick = on_ray._Worker.pick

    def pick_deadly(self: on_ray._Worker, file: Path, name: str, compare: bool) -> one.Outcome:
        if file.name == poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return worker_pick(self, file, name, compare)

    deadly_worker = type("DeadlyWorker", (on_ray._Worker,), {"pick": pick_deadly, "__module__": "__main__"})
    monkeypatch.setattr(on_ray, "_Worker", deadly_worker)
    files = tuple(f"mics/m000{number}.mrc" for number in range(4))
    report = pick(PickConfig(files, Path("out"), head="any", parallel="ray"))
    assert "3 workers died over it" in report.failed["mics/m0001.mrc"]
    assert report.counts.keys() | report.failed.keys() == set(files)


def test_gpus_that_are_not_there_are_refused(mics: Path, here: Path) -> None:
    with pytest.raises(InvalidInputError, match="Ray has no GPU: leave --gpu out"):
        pick(PickConfig(("mics",), Path("out"), head="any", parallel="ray", gpu=True))
    with pytest.raises(InvalidInputError, match="no GPU is there that torch can use"):
        pick(PickConfig(("mics",), Path("out"), head="any", parallel="here", gpu=True))
    assert not (here / "out").exists()
