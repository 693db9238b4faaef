"""What is compared with what, and how."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker_core.bootstrap import BootstrapConfig
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class EvaluateConfig:
    """Compare picks of one picker or several with particles: AP, AUROC, best F1, precision and recall.

    Attributes:
        picks: Per picker a file, a folder with one file per micrograph, or a quoted pattern; NAME=FILE names the
            picker.
        particles: File or folder with the true particles.
        diameter_angstrom: The particle's diameter, which is the side of the box around picks and particles.
        pixel_size_angstrom: Of the micrographs; by default what the files, or the micrographs they name, say.
        iou_threshold: Overlap above which a pick is a hit.
        threshold: Score at which precision, recall and F1 are read; by default that of the best F1.
        all_micrographs: Also count particles of micrographs that no picks mention, as missed.
        unscored: Judge picks without scores too, by precision, recall and F1 of all of them.
        bootstrap_draws: How many times the micrographs are drawn anew for the intervals.
        bootstrap_seed: Of these draws.
        per_micrograph: Also print a row per micrograph.
        out: Folder for curves.png, evaluation.json and, of micrographs that are found, overlays.
        micrographs: Files, folders or quoted patterns of the micrographs to draw on; by default where the files name
            them.
        json: Print JSON instead of tables.
    """

    picks: tuple[str, ...]
    particles: Path
    diameter_angstrom: float
    pixel_size_angstrom: float | None = None
    iou_threshold: float = DEFAULT_IOU_THRESHOLD
    threshold: float | None = None
    all_micrographs: bool = False
    unscored: bool = False
    bootstrap_draws: int = BootstrapConfig.draws
    bootstrap_seed: int = BootstrapConfig.seed
    per_micrograph: bool = False
    out: Path | None = None
    micrographs: tuple[str, ...] = ()
    json: bool = False

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        if not 0 <= self.iou_threshold < 1:
            raise InvalidInputError(f"iou_threshold {self.iou_threshold} is not in [0, 1): give 0.6, as the paper")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InvalidInputError(f"threshold {self.threshold} is not a score: give a number")
        if self.micrographs and self.out is None:
            raise InvalidInputError("micrographs are given but no folder for pictures: give --out too")
        self.bootstrap()
        self.pickers()

    def bootstrap(self) -> BootstrapConfig:
        """How intervals are drawn."""
        return BootstrapConfig(self.bootstrap_draws, self.bootstrap_seed)

    def pickers(self) -> dict[str, Path]:
        """The pickers' names, fit for a folder, and their files.

        Raises:
            InvalidInputError: When no file is given, or two have one name.
        """
        named: dict[str, Path] = {}
        for given in self.picks:
            name, path = _named(given)
            if name in named:
                raise InvalidInputError(f"two pickers are called {name}: name them, as in one={named[name]} two={path}")
            named[name] = path
        if not named:
            raise InvalidInputError("no picks given: give a file or a folder")
        return named


def _named(given: str) -> tuple[str, Path]:
    name, separator, file = given.partition("=")
    if separator and file and _NAME.fullmatch(name) and not Path(given).exists():
        return name, Path(file)
    safe = _NO_NAME.sub("_", Path(given).name).lstrip("._-")[:64]
    return safe or "picks", Path(given)
