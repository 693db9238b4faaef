"""A laboratory on a small scale for the tests of the whole product, and what its trainings leave."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

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
    """Run Python with some arguments, all it says in one stream; whatever is left of it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as started:  # fmt: skip
        try:
            yield started
        finally:
            kill_all(started)


@contextmanager
def ray_cluster(folder: Path, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run a Ray cluster of two CPUs on loopback; gives its address and the process above all of its processes."""
    port, client_port, agent_port = free_ports(3)
    start = f"-m ray.scripts.scripts start --head --block --node-ip-address 127.0.0.1 --port {port} --num-cpus 2"
    options = f"--ray-client-server-port {client_port} --dashboard-agent-listen-port {agent_port} --disable-usage-stats"
    command = [*start.split(), *options.split(), "--include-dashboard=false", "--temp-dir"]
    # A folder of its own: Ray notes in it which cluster is running, which would be a lie once it is killed.
    with (
        TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own,
        process([*command, own], folder, **environment) as cluster,
    ):
        assert cluster.stdout is not None
        until, said = "This command will now block forever", ""
        for line in cluster.stdout:
            said += line
            if until in line:
                break
        assert until in said, said
        yield f"127.0.0.1:{port}", cluster


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


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
