"""A laboratory on a small scale for the tests of the whole product, and what its trainings leave."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from hydrapicker.cli import main

TRAIN = (
    "train --datasets a b --network.width 4 --augmentation.crop-px 64 --loop.workers 2 --loop.minibatches-per-step 2 "
    "--loop.batch-size 2 --loop.validate-every 1 --stage1.epochs 2 --stage2.epochs 2"
).split()


def make_datasets(datasets: Sequence[tuple[str, str, int]]) -> None:
    """Simulate and ingest datasets by name, built-in structure and seed in the present folder."""
    for name, structure, seed in datasets:
        simulated = f"hydrapicker-data/simulated/{name}"
        size = "--micrographs 5 --height 192 --width 256 --pixel-size-angstrom 8"
        assert main(f"simulate {name} --structure builtin:{structure} --seed {seed} {size}".split()) == 0
        files = f"--micrographs {simulated}/micrographs --particles {simulated}/particles.star"
        assert main(f"ingest {name} {files} --diameter-angstrom 180".split()) == 0


def best_weights(lab: Path, run: str) -> dict[str, np.ndarray]:
    """The best weights in a run's last checkpoint."""
    files = sorted((lab / "hydrapicker-data/runs" / run).glob("checkpoint_*/best.safetensors"))
    return load_file(files[-1])


def assert_same_weights(lab: Path, run: str, other: str) -> None:
    """Two runs ended bit for bit alike."""
    expected, got = best_weights(lab, run), best_weights(lab, other)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert np.array_equal(got[name], value), name


@contextmanager
def process(command: Sequence[object], folder: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run Python with some arguments, its output as text; whatever is left of it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as started:  # fmt: skip
        try:
            yield started
        finally:
            kill_all(started)


@contextmanager
def ray_cluster(folder: Path, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run a Ray cluster of two CPUs on loopback; gives its address and the process above all of its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = f"-m ray.scripts.scripts start --head --block --node-ip-address 127.0.0.1 --port {port} --num-cpus 2"
    options = "--include-dashboard false --disable-usage-stats --ray-client-server-port 0"
    with process([*start.split(), *options.split()], folder, **environment) as cluster:
        assert cluster.stdout is not None
        for line in cluster.stdout:
            if "--block" in line:
                break
        yield f"127.0.0.1:{port}", cluster


def kill_all(parent: "subprocess.Popen[str]") -> None:
    """SIGKILL a process that a test has started and everything below it, whatever sessions they made."""
    for pid in [parent.pid, *descendants(parent.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    parent.wait()


def descendants(pid: int) -> list[int]:
    """The processes below one that is still there."""
    parents = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, seen = [], [pid]
    while seen:
        above = seen.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found += below
        seen += below
    return found


def wait_until_gone(pids: Sequence[int], seconds: float) -> bool:
    """Whether processes end within some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.2)
    return False
