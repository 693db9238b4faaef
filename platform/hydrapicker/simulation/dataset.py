"""A folder of simulated micrographs, as a laboratory would hand it over."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hydrapicker.files.coordinates import Particles
from hydrapicker.files.micrographs import write_mrc
from hydrapicker.files.star import write_combined_star
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.folder import claim_folder
from hydrapicker.simulation.micrograph import particle_count, plan_micrograph, render_micrograph
from hydrapicker.simulation.projection import Projector, projection_box_px
from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import Structure, diameter_angstrom

Progress = Callable[[int, int, str], None]
_MOST_WORKERS = 8


@dataclass(frozen=True)
class SimulationResult:
    """What was simulated.

    Attributes
    ----------
    folder : Path
        Holds ``micrographs/*.mrc``, ``particles.star`` and ``simulation.json``.
    particles_file : Path
        The STAR file of all labelled particles; micrograph names in it are relative to the folder.
    counts : dict of str to int
        Labelled particles of every micrograph, by its name in the STAR file (one without any is not in there).
    diameter_angstrom : float
        Greatest extent of the particle: what to give as diameter for ingesting and picking.
    kept : int
        Micrographs that an earlier run had finished.
    """

    folder: Path
    particles_file: Path
    counts: dict[str, int]
    diameter_angstrom: float
    kept: int

    @property
    def micrographs(self) -> int:
        """Number of micrographs."""
        return len(self.counts)

    @property
    def particles(self) -> int:
        """Number of labelled particles on all micrographs."""
        return sum(self.counts.values())


def simulate(config: SimulateConfig, progress: Progress = lambda done, total, label: None) -> SimulationResult:
    """Simulate the dataset, or continue where an earlier run with the same settings stopped.

    Parameters
    ----------
    config : SimulateConfig
        What to simulate.
    progress : callable
        Called with (done, total, label) after every micrograph.

    Raises
    ------
    StructureError
        When the structure cannot be used or does not fit into a micrograph.
    InvalidInputError
        When the folder holds something else.
    OutputError
        When the disk is full or not writable; the same command continues.
    """
    structure = load_structure(config.structure, config.chains)
    diameter = diameter_angstrom(structure)
    particle_count(config, diameter)  # refuses what does not fit before anything is written
    claim_folder(config, structure, diameter)
    names = [f"micrographs/{config.name}_{index + 1:05d}.mrc" for index in range(config.micrographs)]
    missing = [index for index, name in enumerate(names) if not (config.folder / name).is_file()]
    labelled: dict[int, NDArray[np.float32]] = {}
    with _single_threaded_pool(config) as pool:
        # In the pool as well: how many threads a Fourier transform uses may change its last bit.
        projector = pool.submit(Projector, structure, config.pixel_size_angstrom).result() if missing else None
        job = _Job(config, structure, diameter, projector)
        tasks = {pool.submit(job, index, config.folder / name): index for index, name in enumerate(names)}
        for done, task in enumerate(as_completed(tasks), start=1):
            labelled[tasks[task]] = task.result()
            progress(done, len(names), "micrographs")
    particles = {name: Particles(labelled[index]) for index, name in enumerate(names)}
    particles_file = config.folder / "particles.star"
    write_combined_star(particles_file, particles, config.pixel_size_angstrom)
    return SimulationResult(
        folder=config.folder,
        particles_file=particles_file,
        counts={name: len(each.xy) for name, each in particles.items()},
        diameter_angstrom=diameter,
        kept=len(names) - len(missing),
    )


@dataclass(frozen=True)
class _Job:
    """Makes one micrograph: a function of the settings and its index only."""

    config: SimulateConfig
    structure: Structure
    diameter: float
    projector: Projector | None

    def __call__(self, index: int, path: Path) -> NDArray[np.float32]:
        box_px = projection_box_px(self.structure, self.config.pixel_size_angstrom)
        plan = plan_micrograph(self.config, self.diameter, box_px, index)
        if self.projector is not None and not path.is_file():
            image = render_micrograph(self.config, self.projector, plan, index).numpy()
            if self.config.contrast == "light":
                image = 2 * self.config.dose_e_per_angstrom2 * self.config.pixel_size_angstrom**2 - image
            write_mrc(path, image.astype(self.config.precision), self.config.pixel_size_angstrom)
        return plan.labelled(self.config)


@contextmanager
def _single_threaded_pool(config: SimulateConfig) -> Iterator[ThreadPoolExecutor]:
    """Threads, each of which computes alone, so that their number changes nothing in what they compute."""
    before = torch.get_num_threads()
    workers = config.workers or min(_MOST_WORKERS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not begun
        torch.set_num_threads(before)
