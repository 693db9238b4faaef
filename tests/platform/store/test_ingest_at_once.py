"""Ingests in real processes at once, one killed, on Ray or on threads: the versions are those of one left in peace."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import ray

from hydrapicker.errors import MicrographError
from hydrapicker.storage.backend import Writer
from hydrapicker.storage.location import Location
from hydrapicker.store import on_ray, on_threads
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.shards import plan_shards
from hydrapicker.store.store import Store
from hydrapicker.store.survey import survey

DIAMETER = 84.0

PROCESS = """
import sys, time
from pathlib import Path
from hydrapicker.errors import StoreError
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
micrographs, particles, store, seed, go, pause = sys.argv[1:]
config = IngestConfig("toy", (micrographs,), particles, 84.0, store=store, split_seed=int(seed), workers=1,
                      shard_megabytes=0.005)
Path(go).with_suffix(f".{time.monotonic_ns()}").touch()
while not Path(go).exists():
    time.sleep(0.005)
try:
    print(ingest(config, lambda done, total, label: time.sleep(float(pause))).version)
except StoreError as error:
    sys.exit(str(error))
"""


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The kinds of root that processes can share."""
    return str(tmp_path / "store") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}"


@pytest.fixture
def config(lab, root) -> IngestConfig:
    """An ingest of 8 micrographs, a shard each."""
    micrographs, particles = lab(count=8)
    return IngestConfig("toy", (micrographs,), particles, DIAMETER, store=root, workers=2, shard_megabytes=0.005)


@pytest.fixture
def start(config, root, tmp_path):
    """Start such ingests in processes that wait for one another, so that they begin in the same moment."""
    started: list[subprocess.Popen[str]] = []

    def start(seeds: list[int], pause: float) -> list[subprocess.Popen[str]]:
        go = tmp_path / f"go{len(started)}"
        for seed in seeds:
            given = [config.micrographs[0], config.particles, root, str(seed), str(go), str(pause)]
            command = [sys.executable, "-c", PROCESS, *given]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        wait_until(lambda: len(list(tmp_path.glob(f"{go.name}.*"))) == len(seeds))
        go.touch()
        return started[-len(seeds) :]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def undisturbed(config: IngestConfig, tmp_path: Path, seed: int) -> str:
    return ingest(replace(config, store=str(tmp_path / f"undisturbed{seed}"), split_seed=seed)).fingerprint


def test_two_inputs_and_one_of_them_twice_at_once(start, config, root, tmp_path):
    expected = [undisturbed(config, tmp_path, seed) for seed in (0, 1)]
    processes = start([1, 0, 0], pause=0.05)
    ended = [process.communicate(timeout=100) for process in processes]
    codes = [process.returncode for process in processes]
    assert codes[0] == 0, ended
    assert 0 in codes[1:], ended
    for code, (_, said) in zip(codes, ended, strict=True):
        assert code == 0 or ("has taken over" in said and said.count("\n") == 1), said
    manifest = Store(root).manifest("toy")
    made = [manifest.versions[version].fingerprint for version in sorted(manifest.versions)]
    assert set(made) == set(expected)
    # Where the other input was committed between the two of the same, as on a busy machine, theirs is current again.
    assert all(earlier != later for earlier, later in pairwise(made)), "one version, made twice"
    for version in manifest.versions:
        dataset = Store(root).open("toy", version)
        assert all(dataset.read(number).image.size for number in range(8)), "every byte is checked"
        files = {entry.path for entry in Location(root).files(f"toy/{version}")}
        assert files == {f"toy/{version}/{name}" for name in ("index.parquet", *(f"{n:05d}.shard" for n in range(8)))}


def test_a_killed_ingest_continues_and_ends_the_same(start, config, root, tmp_path):
    (process,) = start([0], pause=0.05)
    wait_until(lambda: sum(name.endswith(".note") for name in Location(root).names("toy/v0001/journal")) >= 3)
    process.kill()
    process.wait()
    assert Store(root).names() == ()
    report = ingest(config)
    assert 3 <= report.continued_from < 8
    assert report.version == "v0001"
    assert report.fingerprint == undisturbed(config, tmp_path, 0)
    assert Location(root).unfinished_uploads() == ()
    assert Location(root).names("toy/v0001") == (*(f"{n:05d}.shard" for n in range(8)), "index.parquet")


class Counting(Location):
    """A real location that counts the pieces written and looks at how many are under way."""

    written = 0
    largest = 0

    @contextmanager
    def writer(self, path: str) -> Iterator[Writer]:
        with super().writer(path) as target:
            yield _CountingWriter(self, target)


class _CountingWriter:
    def __init__(self, location: Counting, target: Writer) -> None:
        self.location, self.target = location, target

    def write(self, content) -> None:
        if self.location.written == 0:
            time.sleep(0.3)  # a slow store: whoever may run ahead, does
        self.target.write(content)
        self.location.written += 1
        self.location.largest = max(self.location.largest, len(content))


def test_a_shard_is_never_held_as_a_whole(lab, root, monkeypatch):
    micrographs, particles = lab(count=24)
    config = IngestConfig("toy", (micrographs,), particles, DIAMETER, store=root, workers=2)
    (plan,) = plan_shards(survey(config).tasks, config.shard_megabytes)
    location = Counting(root)
    ahead: list[int] = []
    begun = 0

    def counted(*arguments):
        nonlocal begun
        begun += 1
        ahead.append(begun - location.written)
        return prepare_task(*arguments)

    prepare_task = on_threads.prepare_task
    monkeypatch.setattr(on_threads, "prepare_task", counted)
    ((number, shard),) = on_threads.write_on_threads(
        location, lambda number: f"toy/{number}.shard", [plan], config, lambda count: None
    )
    rows = shard.rows
    assert (number, len(rows), location.written) == (0, 24, 24)
    assert max(ahead) <= 2 * config.workers + 1, "micrographs in memory"
    assert location.largest == rows[0].length
    assert location.size("toy/0.shard") == sum(row.length for row in rows)


def test_ray_and_threads_give_the_same_bytes_and_the_same_errors(lab, tmp_path, monkeypatch):
    lab(count=7)
    monkeypatch.chdir(tmp_path)
    config = IngestConfig(
        "toy", ("lab/mics",), "lab/particles.star", DIAMETER, store="on-ray", parallel="ray", shard_megabytes=0.01
    )
    calls = []
    report = ingest(config, lambda *call: calls.append(call[:2]))
    assert (calls[0], calls[-1]) == ((0, 7), (7, 7))
    threads = ingest(replace(config, store="on-threads", parallel="threads"))
    assert report == threads
    stores = Location("on-ray"), Location("on-threads")
    ours, theirs = ({entry.path: store.read(entry.path) for entry in store.files("toy/v0001")} for store in stores)
    assert ours == theirs
    assert len(ours) == 5, "four shards and the index"

    path = Path("lab/mics/mic05.mrc")
    path.write_bytes(path.read_bytes()[:1024] + np.full((90, 120), 7, np.float32).tobytes())
    refused = []
    for kind, store in (("ray", "on-ray"), ("threads", "on-threads")):
        with pytest.raises(MicrographError, match=rf"^1 of 7 .* \({path}: every pixel is 7\)") as c:
            ingest(replace(config, store=store, parallel=kind))
        refused.append(str(c.value))
    assert refused[0] == refused[1]
    report = ingest(replace(config, skip_unusable=True))
    assert (report.version, report.continued_from) == ("v0002", 5), "all but the shard with the unusable one"
    assert report.skipped == {str(path): "every pixel is 7"}
    assert report == ingest(replace(config, store="on-threads", parallel="threads", skip_unusable=True))
    ours, theirs = ({entry.path: store.read(entry.path) for entry in store.files("toy/v0002")} for store in stores)
    assert ours == theirs
    ray.shutdown()  # it knows this test's folder and variables


def test_a_node_that_does_not_see_a_micrograph_says_so(lab, tmp_path):
    micrographs, particles = lab()
    config = IngestConfig("toy", (micrographs,), particles, DIAMETER, store=str(tmp_path / "store"))
    (plan,) = plan_shards(survey(config).tasks, config.shard_megabytes)
    plan.tasks[3].file.unlink()
    with pytest.raises(
        MicrographError, match=r"mic03.mrc: not there on .*; every node must see the micrographs"
    ) as caught:
        on_ray._write(config.store, "toy/0.shard", plan, config)
    assert "\n" not in str(caught.value)
    assert Location(config.store).files() == ()
