"""How much a diameter that is somewhat wrong costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hydrapicker.picking.picker import Picker
from hydrapicker.study.files import TargetFiles
from hydrapicker_core.bootstrap import Interval, bootstrap_interval, drawn_average_precision
from hydrapicker_core.inference import InferenceConfig
from hydrapicker_core.metrics import MicrographResult

__all__ = ["FACTORS", "RobustTarget", "pick_with_wrong_diameters"]

FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2)
"""Of the true diameter."""


@dataclass(frozen=True)
class RobustTarget:
    """A target picked from its files with several diameters.

    Attributes:
        dataset: Its name.
        diameter_angstrom: The true one.
        ap: At IoU 0.6 with boxes of the true diameter, by factor of the diameter given.
    """

    dataset: str
    diameter_angstrom: float
    ap: Mapping[float, Interval]


def pick_with_wrong_diameters(
    picker: Picker, files: TargetFiles, progress: Callable[[int, int, str], None]
) -> RobustTarget:
    """Pick a target's test micrographs, as files, with each of the diameters.

    Raises:
        MicrographError: For a file that cannot be used.
    """
    dataset = files.dataset
    diameter, rows = dataset.diameter_angstrom, [int(row) for row in dataset.split("test")]
    found = {}
    for number, factor in enumerate(FACTORS):
        parts = [_picked(picker, files, row, factor * diameter).part() for row in rows]
        found[factor] = bootstrap_interval(parts, drawn_average_precision)
        progress(number + 1, len(FACTORS), f"{dataset.name}, {factor:g} of the diameter")
    return RobustTarget(dataset.name, diameter, found)


def _picked(picker: Picker, files: TargetFiles, row: int, diameter_angstrom: float) -> MicrographResult:
    dataset, pixel_size = files.dataset, files.dataset.rows[row].pixel_size_angstrom
    picks = picker.pick(
        files.by_row[row],
        pixel_size_angstrom=pixel_size,
        diameter_angstrom=diameter_angstrom,
        contrast=dataset.contrast,
        threshold=InferenceConfig.score_floor,
    )
    return MicrographResult(picks.xy, picks.score, files.true_particles(row), files.box_px(row))
