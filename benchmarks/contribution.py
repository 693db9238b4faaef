"""What a contribution saves by keeping the features of its validation micrographs, at the paper's width.

    python benchmarks/contribution.py [--epochs 4]

One of three labelled micrographs of 800 x 800 working pixels trains a head for so many epochs of ten steps, another
validates it before the first and after each, as `hydrapicker contribute` does for 20 epochs; without Ray, which takes
the same time for both. Times are those that a core worked.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hydrapicker.cli.console import print_table
from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.training.config import LoopConfig
from hydrapicker.training.contribute import ContributeConfig
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.session import LocalSession
from hydrapicker.training.worker import Worker
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig

SIDE_PX, BOX_PX, PARTICLES = 800, 21, 300
NAME = "noise"


def main() -> None:
    """Train twice, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4, help="of ten steps each")
    epochs = parser.parse_args().epochs
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(Path(folder), epochs)
        for said, loop in (("kept", recipe.loop), ("computed anew", replace(recipe.loop, features_gib=0))):
            whole, validations = _times(replace(recipe, loop=loop), Path(folder) / said)
            rows.append((said, whole, validations, whole / rows[0][1] if rows else 1.0))  # type: ignore[operator]
    columns = ("features of validation", "seconds of a core", "of these validation", "ratio")
    print_table(columns, rows, f"{epochs} epochs of 10 steps, {epochs + 1} validations")


class _Timed(Worker):
    validating = 0.0

    def _validation(self, phase: Phase):  # type: ignore[no-untyped-def]  # as the method it times
        start = time.process_time()
        found = super()._validation(phase)
        self.validating += time.process_time() - start
        return found


def _times(recipe: Recipe, folder: Path) -> tuple[float, float]:
    start = time.process_time()
    worker = _Timed(recipe, LocalSession(folder))
    worker.run()
    return time.process_time() - start, worker.validating


def _recipe(folder: Path, epochs: int) -> Recipe:
    random = np.random.default_rng(0)
    places = [random.uniform(BOX_PX, SIDE_PX - BOX_PX, (PARTICLES, 2)).astype(np.float32) for _ in range(3)]
    particles = {f"m{number}.mrc": Particles(xy) for number, xy in enumerate(places)}
    for name in particles:
        write_mrc(folder / name, random.normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32), 1.0)
    write_combined_star(folder / "particles.star", particles, 1.0)
    given = ((f"{folder}/*.mrc",), f"{folder}/particles.star", float(BOX_PX))
    report = ingest(IngestConfig(NAME, *given, store=f"{folder}/store"))
    torch.manual_seed(0)
    network, config = NetworkConfig(), ContributeConfig(NAME)
    loop: LoopConfig = replace(config.loop, batch_size=1)
    return Recipe(
        run_name="benchmark",
        identity="",
        phases=(Phase("contribution", replace(config.stage, epochs=epochs), heads=(NAME,), frozen=True),),
        datasets={NAME: report.version},
        fingerprints={NAME: report.fingerprint},
        network=network,
        loss=config.loss,
        augmentation=config.augmentation,
        loop=loop,
        streaming=config.streaming,
        store=f"{folder}/store",
        box_px=BOX_PX,
        initial=dict(MultiHeadNetwork(network, [NAME]).state_dict()),
        initial_heads=(NAME,),
    )


if __name__ == "__main__":
    main()
