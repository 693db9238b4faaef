"""How picks were made, beside all of them: so that another threshold can be chosen afterwards."""

from dataclasses import dataclass
from pathlib import Path

from hydrapicker.files.strict_json import read_strict_json, write_strict_json

ALL_PICKS = "all_picks.star"
"""Name of the file that holds the picks of all micrographs from a low score up, whatever threshold was chosen."""

RECORD = "picking.json"
"""Name of the file that tells how they were made."""


@dataclass(frozen=True)
class PickingRecord:
    """How the picks of a folder were made.

    Attributes:
        head: Name of the head.
        head_version: Its version; None for the generic head shipped with HydraPicker.
        threshold: Least score of what is in ``picks.star``.
        least_score: Least score of what is in ``all_picks.star``.
        min_distance_angstrom: Least distance between two picks of a micrograph.
        diameter_angstrom: The particle's diameter.
        micrographs: Every micrograph that was picked, also those without picks, as the STAR files name them.
    """

    head: str
    head_version: int | None
    threshold: float
    least_score: float
    min_distance_angstrom: float
    diameter_angstrom: float
    micrographs: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write ``picking.json`` into a folder, all or nothing."""
        write_strict_json(folder / RECORD, self)

    @classmethod
    def read(cls, folder: Path) -> "PickingRecord":
        """Read a folder's record; :class:`InvalidInputError` where it is none."""
        return read_strict_json(folder / RECORD, cls, "pick again")
