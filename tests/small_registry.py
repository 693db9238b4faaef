"""Small datasets and registries of random networks, made in a second and without any training."""

from pathlib import Path

import mrcfile
import numpy as np
from mlflow import MlflowClient
from network_packages import arbitrary_weights, head_package, trunk_package

from hydrapicker.files import Particles, write_combined_star
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker_core.network import NetworkConfig
from hydrapicker_registry import HeadRegistry, ensure_experiment

NETWORK = NetworkConfig(width=4)


def fill(uri: str, seed: int, sources: dict[str, str], heads: list[tuple[str, str | None, str | None]]) -> None:
    """A trunk of some sources, and heads: name, the dataset's fingerprint, alias."""
    registry = HeadRegistry(uri)
    run_id = str(MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id)
    trunk = trunk_package(NETWORK, arbitrary_weights(NETWORK, seed)[0], datasets=sources)
    registry.register_trunk(trunk, run_id)
    for number, (name, fingerprint, alias) in enumerate(heads):
        weights = arbitrary_weights(NETWORK, seed + number)[1]
        diameter = 34.0 if fingerprint else None
        package = head_package(trunk, name, weights, diameter, dataset_fingerprint=fingerprint)
        registry.register_head(package, run_id, alias)


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
