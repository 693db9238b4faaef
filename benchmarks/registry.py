"""What a full registry costs: listing, loading a head cold and warm, and ranking heads, at the paper's width.

    python benchmarks/registry.py [--heads 1000] [--suggested 30] [--micrographs 5]

Every head is registered for real, on sqlite, so filling takes minutes. Times are what is left after imports: the first
in a process, which connects to MLflow, and the median of seven more; beside each, how much of it a core worked for this
process, which neighbours on the machine disturb less.

Ranking is what `hydrapicker heads suggest` does, from listing the heads to their APs, on micrographs of 800 x 800
working pixels: once with the generic head alone in a registry, once with all, on one core. Heads have random weights
and are in the cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hydrapicker.cli.console import print_table
from hydrapicker.evaluation.suggest import rank_heads
from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.layout import NORMALISATION
from hydrapicker.store.store import Dataset, Store
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

FULL = "full-width"
SIDE_PX, BOX_PX, PARTICLES = 800, 21, 300

TIMED = {
    "hydrapicker heads": """
import io, contextlib
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store, rich.table
from hydrapicker.cli.heads import listing
import hydrapicker_registry.registry
def action():
    with contextlib.redirect_stdout(io.StringIO()):
        listing.run([])
""",
    "load_head": """
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
import hydrapicker.picking.picker, safetensors.torch
from hydrapicker import load_head
def action():
    load_head("full-width")
""",
    "load_head, offline": """
import hydrapicker.picking.picker, safetensors.torch
from hydrapicker import load_head
def action():
    load_head("full-width", offline=True)
""",
}
TIMER = """
import json, statistics, time
def timed():
    start, worked = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - worked
first = timed()
again = [timed() for _ in range(7)]
print(json.dumps([*first, *map(statistics.median, zip(*again))]))
"""


def main() -> None:
    """Fill a registry, time what users wait for, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=1000, help="how many heads are registered")
    parser.add_argument("--suggested", type=int, default=30, help="how many heads are ranked")
    parser.add_argument("--micrographs", type=int, default=5, help="on how many micrographs")
    options = parser.parse_args()
    heads = options.heads
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYDRAPICKER_CACHE"] = f"{folder}/cache"
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        start, worked = time.perf_counter(), time.process_time()
        _fill(heads)
        filled = (time.perf_counter() - start) / heads, (time.process_time() - worked) / heads
        rows: list[tuple[object, ...]] = [("register a head (mean)", *filled, None, None)]
        rows.append(("load_head, nothing in the cache", *_timed("load_head")[:2], None, None))
        for name in TIMED:
            rows.append((name + (", in the cache" if name == "load_head" else ""), *_timed(name)))
        columns = ("seconds after imports", "first", "of a core", "again", "of a core")
        print_table(columns, rows, f"{heads} heads registered")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYDRAPICKER_CACHE"] = f"{folder}/cache"
        one, many = _ranked(
            f"sqlite:///{folder}/mlflow.db", _micrographs(folder, options.micrographs), options.suggested
        )
        rows = [("1 head", *one, 1.0), (f"{options.suggested} heads", *many, many[1] / one[1])]
        print_table(
            ("heads suggest", "seconds", "of a core", "ratio"),
            rows,
            f"{options.micrographs} micrographs of {SIDE_PX} px",
        )


def _timed(name: str) -> list[float]:
    program = TIMED[name] + TIMER
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    times: list[float] = json.loads(found.stdout)
    return times


def _micrographs(folder: str, count: int) -> Dataset:
    random = np.random.default_rng(0)
    particles = {f"m{number}.mrc": Particles(_places(random)) for number in range(count + 1)}
    for name in particles:
        write_mrc(Path(folder) / name, random.normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32), 1.0)
    write_combined_star(Path(folder) / "particles.star", particles, 1.0)
    given = ((f"{folder}/*.mrc",), f"{folder}/particles.star", float(BOX_PX))
    ingest(IngestConfig("noise", *given, val_size=0, test_size=1, store=f"{folder}/store"))
    return Store(f"{folder}/store").open("noise")


def _places(random: np.random.Generator) -> np.ndarray:
    return random.uniform(BOX_PX, SIDE_PX - BOX_PX, (PARTICLES, 2)).astype(np.float32)


def _ranked(uri: str, dataset: Dataset, count: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds, and seconds of cores, to rank the generic head alone and `count` heads."""
    from mlflow import MlflowClient

    torch.set_num_threads(1)  # threads that wait for each other would count as work
    registry, network = HeadRegistry(uri), NetworkConfig()
    run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "benchmark")).info.run_id
    trunk = _trunk(network)
    registry.register_trunk(trunk, run_id)
    rows = [int(row) for row in dataset.split("train")]
    times = []
    for names in (["generic"], [f"dataset-{number}" for number in range(1, count)]):
        for number, name in enumerate(names):
            registry.register_head(_head(network, trunk, name, Head(network).state_dict(), number), run_id, "champion")
        generic = registry.load("generic")
        for name in names:
            registry.load(name)  # into the cache
        rank_heads(registry, generic, dataset, rows[:0])  # libraries load what they need
        start, worked = time.perf_counter(), time.process_time()
        rank_heads(registry, generic, dataset, rows)
        times.append((time.perf_counter() - start, time.process_time() - worked))
    return times[0], times[1]


def _fill(count: int) -> None:
    from mlflow import MlflowClient

    uri = os.environ["MLFLOW_TRACKING_URI"]
    run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "benchmark")).info.run_id
    registry = HeadRegistry(uri)
    for width, total in ((2, count - 1), (64, 1)):
        network = NetworkConfig(width=width)
        trunk, weights = _trunk(network), Head(network).state_dict()
        registry.register_trunk(trunk, run_id)
        for number in range(total):
            name = FULL if width == 64 else f"dataset-{number // 2:04d}"  # two versions of each
            registry.register_head(_head(network, trunk, name, weights, number), run_id, "champion")


def _trunk(network: NetworkConfig) -> TrunkPackage:
    metadata = TrunkMetadata(**_shared(network, 0), input=TrunkInput(BOX_PX, NORMALISATION), datasets={})
    return TrunkPackage(metadata, Trunk(network).state_dict())


def _head(
    network: NetworkConfig, trunk: TrunkPackage, name: str, weights: Mapping[str, torch.Tensor], number: int
) -> HeadPackage:
    metadata = HeadMetadata(
        **_shared(network, number),
        dataset=name,
        dataset_version=None if name == "generic" else 1,
        dataset_fingerprint=None if name == "generic" else "b" * 64,
        trunk=trunk.reference(1),
        input=HeadInput(BOX_PX, NORMALISATION, "dark", None if name == "generic" else 120.0),
        threshold=0.5,
    )
    return HeadPackage(metadata, weights)


def _shared(network: NetworkConfig, number: int) -> dict[str, object]:
    return {
        "architecture": network.as_dict(),
        "training": Training({}, "run", None, 0.1),
        "metrics": {"ap": number / 10000, "auroc": 0.9},
        "authors": ("benchmark",),
        "licence": None,
        "citation": None,
        "created": "2026-01-31T12:00:00+00:00",
    }


if __name__ == "__main__":
    main()
