"""Simulated datasets in the store: what the demo and the collection are made of."""

from collections.abc import Callable

from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.dataset import simulate
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest

__all__ = ["make_dataset"]


def make_dataset(
    config: SimulateConfig,
    *,
    val_size: int,
    test_size: int,
    keep_empty: bool = False,
    store: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> str:
    """Simulate a dataset and ingest it, or what is left of that to do; returns its size in words.

    Raises:
        StructureError, InvalidInputError, OutputError: As :func:`~hydrapicker.simulation.dataset.simulate`.
        StoreError: As :func:`~hydrapicker.store.ingest.ingest`.
    """
    simulated = simulate(config, progress)
    report = ingest(
        IngestConfig(
            config.name,
            (f"{simulated.folder}/micrographs/*.mrc",),
            str(simulated.particles_file),
            diameter_angstrom=round(simulated.diameter_angstrom),
            contrast=config.contrast,
            keep_empty=keep_empty,
            val_size=val_size,
            test_size=test_size,
            store=store,
        )
    )
    by_split = ", ".join(f"{number} {split}" for split, number in report.micrographs.items())
    return f"{by_split} micrographs, {simulated.particles} particles"
