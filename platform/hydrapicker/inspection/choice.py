"""What was chosen in a report (threshold, minimum distance, micrographs to leave out), and picks by that choice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import Particles, micrograph_stem
from hydrapicker.files.strict_json import read_strict_json

__all__ = ["Choice", "apply_choice", "far_apart", "read_choice"]


@dataclass(frozen=True)
class Choice:
    """A choice among picks.

    Attributes:
        threshold: Picks with a lower score are dropped; compared as float32, which scores are. None keeps all.
        min_distance_angstrom: Least distance between two picks of a micrograph; 0 for none.
        excluded_micrographs: Micrographs to leave out with all their picks, as the picks name them.
    """

    threshold: float | None
    min_distance_angstrom: float
    excluded_micrographs: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InvalidInputError(f"threshold {self.threshold} is not a score: give a number, or null to keep all")
        if not (math.isfinite(self.min_distance_angstrom) and self.min_distance_angstrom >= 0):
            raise InvalidInputError(
                f"min_distance_angstrom {self.min_distance_angstrom} is not a distance: give it in Angstrom, 0 for none"
            )


def read_choice(path: str | Path) -> Choice:
    """Read ``choice.json`` as a report exports it.

    Raises:
        InvalidInputError: Not such a file: other or missing keys, other types, another format version.
    """
    return read_strict_json(Path(path), Choice, "export it from the report again")


def apply_choice(choice: Choice, picks: Mapping[str, Particles]) -> dict[str, Particles]:
    """The picks that a choice leaves, by micrograph, most confident first.

    Excluded micrographs are left out by name, or by stem where no name is the same: a choice made on a STAR file fits
    the files per micrograph too. Names that the picks do not mention (micrographs without picks) change nothing.

    Args:
        choice: The choice.
        picks: By micrograph, as :func:`hydrapicker.files.read_particles` gives them, with pixel sizes where there is
            a distance to keep.

    Raises:
        InvalidInputError: A threshold for picks without scores, or a distance where no pixel size is known.
    """
    by_stem = {micrograph_stem(name) for name in choice.excluded_micrographs if name not in picks}
    excluded = set(choice.excluded_micrographs)
    return {
        name: _chosen(choice, name, each)
        for name, each in picks.items()
        if name not in excluded and micrograph_stem(name) not in by_stem
    }


def _chosen(choice: Choice, name: str, picks: Particles) -> Particles:
    kept = np.arange(len(picks.xy)) if picks.score is None else np.argsort(-picks.score, kind="stable")
    if choice.threshold is not None and len(kept):
        if picks.score is None:
            raise InvalidInputError(f"the picks of {name} have no scores: a threshold cannot choose among them")
        kept = kept[picks.score[kept] >= np.float32(choice.threshold)]
    if choice.min_distance_angstrom > 0 and len(kept):
        if picks.pixel_size_angstrom is None:
            raise InvalidInputError(
                f"the pixel size of {name} is not known, so that {choice.min_distance_angstrom:g} Angstrom are no "
                "distance there: give --pixel-size-angstrom"
            )
        kept = kept[far_apart(picks.xy[kept], choice.min_distance_angstrom / picks.pixel_size_angstrom)]
    return replace(picks, xy=picks.xy[kept], score=None if picks.score is None else picks.score[kept])


def far_apart(xy: NDArray[np.float32], distance_px: float) -> NDArray[np.bool_]:
    """Which of ``xy`` (n, 2), the best first, are no nearer than a distance to one kept before: (n,) bool.

    A higher threshold drops the last of them alone, so that threshold and distance may be applied in either order.
    """
    places = xy.astype(np.float64)  # the report counts in doubles
    kept = np.zeros(len(xy), np.bool_)
    free = np.ones(len(xy), np.bool_)
    for pick in range(len(xy)):
        if free[pick]:
            kept[pick] = True
            apart = places[pick + 1 :] - places[pick]
            free[pick + 1 :] &= apart[:, 0] * apart[:, 0] + apart[:, 1] * apart[:, 1] >= distance_px * distance_px
    return kept
