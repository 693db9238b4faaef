"""What a full registry costs: listing, and loading a head cold and warm, at the paper's width.

    python benchmarks/registry.py [--heads 1000]

Every head is registered for real, on sqlite, so filling takes minutes. Times are what is left after imports: the first
in a process, which connects to MLflow, and the median of seven more; beside each, how much of it a core worked for this
process, which neighbours on the machine disturb less.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import torch

from hydrapicker.cli.console import print_table
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

FULL = "full-width"

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
    heads = parser.parse_args().heads
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


def _timed(name: str) -> list[float]:
    program = TIMED[name] + TIMER
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    times: list[float] = json.loads(found.stdout)
    return times


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
    metadata = TrunkMetadata(**_shared(network, 0), input=TrunkInput(21, NORMALISATION), datasets={})
    return TrunkPackage(metadata, Trunk(network).state_dict())


def _head(
    network: NetworkConfig, trunk: TrunkPackage, name: str, weights: Mapping[str, torch.Tensor], number: int
) -> HeadPackage:
    metadata = HeadMetadata(
        **_shared(network, number),
        dataset=name,
        dataset_version=1,
        dataset_fingerprint="b" * 64,
        trunk=trunk.reference(1),
        input=HeadInput(21, NORMALISATION, "dark", 120.0),
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
