"""``hydrapicker simulate``."""

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.simulation.config import SimulateConfig


def run(arguments: list[str]) -> int:
    """Simulate a dataset and say what to do with it."""
    config = parse(SimulateConfig, "simulate", arguments)
    from hydrapicker.simulation.dataset import simulate

    with progress_bar("simulate") as progress:
        result = simulate(config, progress)
    say(f"{sum(result.counts.values())} particles on {len(result.counts)} micrographs in {result.folder}")
    say(
        f"next: hydrapicker ingest {config.name} --micrographs '{result.folder}/micrographs/*.mrc' "
        f"--particles {result.particles_file} --diameter-angstrom {result.diameter_angstrom:.0f}"
    )
    return 0
