"""Seconds per micrograph and peak memory of picking: this program, Topaz, and what arithmetic allows.

    python benchmarks/picking.py [--topaz FOLDER]

Micrographs are noise, 4096 x 4096 pixels in MRC (mode 2), as those of EMPIAR-10017. This program brings them to
800 x 800 by itself: whole processes of `hydrapicker pick` are measured, from the first import to the last file, with
heads of the paper's and of the demo's width whose weights are random, and with the fast trunk and without (as if there
were no Numba). Topaz gets the same micrographs at 1024 x 1024, at which its detectors are made to work, and normalised;
what it takes to make these is not counted. Topaz is installed in FOLDER, which nothing else sees, and uses the torch
that is there.

The limit is the operations of the paper's network on 800 x 800 pixels, as torch counts them, over the speed of one
large convolution (256 to 256 channels on 256 x 256 pixels, channels last). Every program is run with one micrograph and
with several: *first* is what the one takes, imports included, *further* what each of the others adds. Programs take
turns, so that a machine that slows down slows them all; medians are printed. *of cores* is how long cores worked for a
further micrograph, which neighbours on the machine disturb less. Memory is the operating system's account of the
finished process with several.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PIXEL_ANGSTROM, SIDE_PX, WORKING_PX, TOPAZ_PX = 1.77, 4096, 800, 1024
DIAMETER_ANGSTROM = 21 * PIXEL_ANGSTROM * SIDE_PX / WORKING_PX
WIDTHS = {"paper": 64, "demo": 12}
TOPAZ_INSTALLED = "topaz-em==0.3.20 future h5py psutil"
"""Without what they depend on: all else is there, and torchvision, which picking does without, is for CUDA."""

WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None; from hydrapicker.cli import main; sys.exit(main())"
WITH_NUMBA = "import sys; from hydrapicker.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Run:
    """What a process took."""

    seconds: float
    of_cores: float
    megabytes: float
    printed: str


def run(command: list[str], folder: Path) -> Run:
    """Run a process; this one is small, and so no floor under the memory that the system says that one had."""
    with (folder / "printed").open("w+") as printed:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{text[-3000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


# --- what is done in processes of their own ---


def write_micrographs(count: int) -> None:
    """Write noise, once as it comes and once as Topaz wants it."""
    import mrcfile
    import numpy as np
    import torch

    from hydrapicker_core.preprocess import prepare

    for number in range(count):
        image = np.random.default_rng(number).normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32)
        for folder, pixels in (("ours", SIDE_PX), ("topaz", TOPAZ_PX)):
            path = Path(folder) / f"{number:03d}.mrc"
            path.parent.mkdir(exist_ok=True)
            if pixels != SIDE_PX:
                image = prepare(torch.from_numpy(image), pixels / SIDE_PX).image.numpy()
            with mrcfile.new(path, image) as file:
                file.voxel_size = PIXEL_ANGSTROM * SIDE_PX / pixels


def register_heads() -> None:
    """Register a head of each width, with random weights."""
    from mlflow import MlflowClient

    from hydrapicker.store.layout import NORMALISATION
    from hydrapicker_core.network import Head, NetworkConfig, Trunk
    from hydrapicker_registry import (
        HeadInput,
        HeadMetadata,
        HeadPackage,
        HeadRegistry,
        Training,
        TrunkInput,
        TrunkMetadata,
        TrunkPackage,
        ensure_experiment,
    )

    uri = os.environ["MLFLOW_TRACKING_URI"]
    run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "benchmark")).info.run_id
    registry = HeadRegistry(uri)
    for name, width in WIDTHS.items():
        network = NetworkConfig(width=width)
        shared = {
            "architecture": network.as_dict(), "training": Training({}, "run", None, None), "metrics": {},
            "authors": (), "licence": None, "citation": None, "created": "2026-01-31T12:00:00+00:00",
        }  # fmt: skip
        trunk = TrunkPackage(
            TrunkMetadata(**shared, input=TrunkInput(21, NORMALISATION), datasets={}), Trunk(network).state_dict()
        )
        registry.register_trunk(trunk, run_id)
        head = HeadMetadata(
            **shared, dataset=name, dataset_version=1, dataset_fingerprint="b" * 64, trunk=trunk.reference(1),
            input=HeadInput(21, NORMALISATION, "dark", DIAMETER_ANGSTROM), threshold=0.5,
        )  # fmt: skip
        registry.register_head(HeadPackage(head, Head(network).state_dict()), run_id, "champion")


def arithmetic_limit() -> None:
    """Print the operations of the paper's network on an image, and those that a large convolution does per second."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig, channels_last

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MultiHeadNetwork(NetworkConfig())(torch.empty(1, 1, WORKING_PX, WORKING_PX), GENERIC)
    convolution = channels_last(torch.nn.Conv2d(256, 256, 3, padding=1))
    image = torch.randn(1, 256, 256, 256).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(6):
            start = time.perf_counter()
            convolution(image)
            seconds.append(time.perf_counter() - start)
    print(counter.get_total_flops(), 2 * 9 * 256**2 * 256**2 / min(seconds[1:]))


WORK: dict[str, Callable[..., None]] = {
    "heads": register_heads,
    "limit": arithmetic_limit,
    "micrographs": write_micrographs,
}


# --- the table ---


def main(options: argparse.Namespace) -> None:
    """Write micrographs and heads, measure all programs in turns, with one micrograph and with all, print a table."""
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as temporary:
        folder = Path(temporary)
        os.environ |= {
            "HYDRAPICKER_CACHE": str(folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }
        os.environ.pop("RAY_ADDRESS", None)
        run([*this("heads")], folder)
        run([*this("micrographs"), str(options.micrographs)], folder)
        programs = dict(ours())
        if options.topaz:
            install_topaz(options.topaz)
            programs |= topaz()
        for command in programs.values():  # one of each for what is done once: compiling, and copies of heads
            if "pick" in command:
                run([*command, *files("ours", 1)], folder)
        found: dict[str, list[tuple[Run, Run]]] = {name: [] for name in programs}
        limits = []
        for _ in range(options.rounds):
            operations, per_second = map(float, run(this("limit"), folder).printed.split())
            limits.append(operations / per_second)
            for name, command in programs.items():
                given = "topaz" if name.startswith("topaz") else "ours"
                with environment_of(name, options):
                    one, several = (run([*command, *files(given, n)], folder) for n in (1, options.micrographs))
                    found[name].append((one, several))
    print(f"{options.micrographs} micrographs, {os.cpu_count()} cores, median of {options.rounds}")
    limit = statistics.median(limits)
    print(f"limit: {operations / 1e9:.0f} GFLOP at {operations / limit / 1e9:.0f} GFLOP/s = {limit:.2f} s")
    print(f"{'':42}{'first s':>9}{'further s':>11}{'of cores':>10}{'limit / s':>11}{'peak MiB':>10}")
    for name, runs in found.items():
        first = statistics.median(one.seconds for one, _ in runs)
        each, of_cores = (
            statistics.median(getattr(several, what) - getattr(one, what) for one, several in runs)
            / (options.micrographs - 1)
            for what in ("seconds", "of_cores")
        )
        megabytes = statistics.median(several.megabytes for _, several in runs)
        print(f"{name:42}{first:9.2f}{each:11.2f}{of_cores:10.2f}{limit / each:11.2f}{megabytes:10.0f}")


def files(folder: str, count: int) -> list[str]:
    """The first micrographs."""
    return [str(Path(folder) / f"{number:03d}.mrc") for number in range(count)]


def this(work: str) -> list[str]:
    """The command that does something of this file."""
    return [sys.executable, str(Path(__file__).resolve()), "--work", work]


def ours() -> Iterator[tuple[str, list[str]]]:
    """Whole processes of `hydrapicker pick`; the micrographs come last."""
    for name, program in (("", WITH_NUMBA), (", without Numba", WITHOUT_NUMBA)):
        for head, width in WIDTHS.items():
            if not (name and head == "demo"):  # too narrow for the fast trunk anyway
                arguments = f"pick --head {head} --out out-{head} --overwrite --parallel here".split()
                yield f"hydrapicker pick, width {width}{name}", [sys.executable, "-c", program, *arguments]


def topaz() -> dict[str, list[str]]:
    """Topaz with its two shipped detectors on all cores; the micrographs come last."""
    arguments = "-r 14 -d -1 -j -1 -o topaz.txt".split()
    extract = [sys.executable, "-m", "topaz.commands.extract"]
    return {f"topaz extract, {model}": [*extract, "-m", model, *arguments] for model in ("resnet16", "resnet8")}


@contextmanager
def environment_of(name: str, options: argparse.Namespace) -> Iterator[None]:
    """Let only Topaz see where Topaz is."""
    if name.startswith("topaz"):
        os.environ["PYTHONPATH"] = str(Path(options.topaz).resolve())
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)


def install_topaz(folder: str) -> None:
    """Install Topaz in a folder, unless it is there."""
    if not (Path(folder) / "topaz").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, *TOPAZ_INSTALLED.split()], check=True)


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=4, help="at least 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--topaz", metavar="FOLDER", help="measure Topaz too, installed there and kept for the next time"
    )
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = parsed()
    if given.work:
        WORK[given.work](*given.arguments)
    else:
        main(given)
