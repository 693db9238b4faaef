"""A small store to train on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with datasets ``a`` (boxes of 21 px) and ``b`` (boxes of 32 px)."""
    generator = np.random.default_rng(0)
    micrographs = [tmp_path / f"m{i}.mrc" for i in range(4)]
    for path in micrographs:
        write_mrc(path, generator.normal(size=(128, 160)).astype(np.float32), 4.0)
    xy = np.array([[30, 40], [100, 90]], dtype=np.float32)
    write_combined_star(tmp_path / "p.star", {path.name: Particles(xy) for path in micrographs}, None)
    root = str(tmp_path / "store")
    for name, box_px in (("a", 21), ("b", 32)):
        config = IngestConfig(name, (str(tmp_path / "*.mrc"),), str(tmp_path / "p.star"), 120.0, store=root)
        ingest(replace(config, box_px=box_px))
    return root
