"""A small store: two sources and a target, of dark discs on noise."""

import numpy as np
import pytest

from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.splits import assign_splits


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Datasets ``a``, ``b``, ``target``; ``wide``, of boxes of 32 px; ``unlabelled``, with particles in train only."""
    folder = tmp_path_factory.mktemp("lab")
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :112]
    particles, nothing = {}, {}
    for number in range(6):
        xy = random.uniform([8, 8], [103, 87], (6, 2)).astype(np.float32)
        image = random.normal(size=(96, 112)).astype(np.float32)
        for x, y in xy:
            image -= 3 * ((columns - x) ** 2 + (rows - y) ** 2 < 8**2)
        write_mrc(folder / f"m{number}.mrc", image, 4.0)
        particles[f"m{number}.mrc"] = Particles(xy)
        nothing[f"m{number}.mrc"] = Particles(np.empty((0, 2), np.float32))
    write_combined_star(folder / "particles.star", particles, None)
    some = next(name for name, split in assign_splits(particles).items() if split == "train")
    write_combined_star(folder / "some.star", {**nothing, some: particles[some]}, None)
    root = str(folder / "store")
    for name, star, box_px, seed in (
        ("a", "particles", 21, 0),
        ("b", "particles", 21, 1),
        ("target", "particles", 21, 2),
        ("wide", "particles", 32, 0),
        ("unlabelled", "some", 21, 0),
    ):
        ingest(
            IngestConfig(
                name,
                (str(folder / "*.mrc"),),
                str(folder / f"{star}.star"),
                84.0,
                store=root,
                box_px=box_px,
                split_seed=seed,
                keep_empty=True,
                workers=1,
            )
        )
    return root
