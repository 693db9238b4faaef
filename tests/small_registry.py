"""Small datasets and registries of random networks, made in a second and without any training."""

from collections.abc import Mapping
from pathlib import Path

import mrcfile
import numpy as np
import torch
from mlflow import MlflowClient
from torch import Tensor

from hydrapicker.files import Particles, write_combined_star
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
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

NETWORK = NetworkConfig(width=4)
SHARED = {
    "architecture": NETWORK.as_dict(),
    "training": Training({}, "run", None, None),
    "metrics": {},
    "authors": (),
    "licence": None,
    "citation": None,
    "created": "2026-01-31T12:00:00+00:00",
}


@torch.no_grad()
def weights(seed: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk, head = Trunk(NETWORK), Head(NETWORK)
        head.out.weight.normal_(std=0.1)
        head.out.bias.zero_()
    return trunk.state_dict(), head.state_dict()


def fill(uri: str, seed: int, sources: dict[str, str], heads: list[tuple[str, str | None, str | None]]) -> None:
    """A trunk of some sources, and heads: name, the dataset's fingerprint, alias."""
    registry = HeadRegistry(uri)
    run_id = str(MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id)
    trunk = TrunkPackage(
        TrunkMetadata(**SHARED, input=TrunkInput(21, NORMALISATION), datasets=sources), weights(seed)[0]
    )
    registry.register_trunk(trunk, run_id)
    for number, (name, fingerprint, alias) in enumerate(heads):
        metadata = HeadMetadata(
            **SHARED,
            dataset=name,
            dataset_version=1 if fingerprint else None,
            dataset_fingerprint=fingerprint,
            trunk=trunk.reference(1),
            input=HeadInput(21, NORMALISATION, "dark", 34.0 if fingerprint else None),
            threshold=None,
        )
        registry.register_head(HeadPackage(metadata, weights(seed + number)[1]), run_id, alias)


def dataset(folder: Path, name: str, seed: int) -> str:
    """Dark discs on noise, ingested; returns the fingerprint."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:100, :150]
    particles = {}
    for number in range(6):
        xy = random.uniform([0, 0], [149, 99], (5 + number, 2)).astype(np.float32)
        image = random.normal(size=(100, 150)).astype(np.float32)
        for x, y in xy:
            image -= 3 * ((columns - x) ** 2 + (rows - y) ** 2 < 8**2)
        (folder / name / "micrographs").mkdir(parents=True, exist_ok=True)
        with mrcfile.new(folder / name / "micrographs" / f"{name}{number}.mrc", image) as file:
            file.voxel_size = 2.0
        particles[f"{name}{number}.mrc"] = Particles(xy)
    star = folder / name / "particles.star"
    write_combined_star(star, particles, 2.0)
    given = ((f"{folder}/{name}/micrographs/*.mrc",), str(star), 34.0)
    return ingest(IngestConfig(name, *given, test_size=2, store=str(folder / "store"), workers=1)).fingerprint
