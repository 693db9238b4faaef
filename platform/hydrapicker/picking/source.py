"""Picks by micrograph as anybody gives them, and how they were made as far as that is on record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hydrapicker.files import Particles, find_micrographs, micrograph_stem, read_particles
from hydrapicker.picking.record import ALL_PICKS, RECORD, PickingRecord

NOTHING = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class PickSource:
    """Picks by micrograph, as their file names them, also of micrographs without any.

    Attributes:
        file: What was read: a file, a folder or a pattern.
        picks: By micrograph.
        record: How they were made; None for picks of another program.
    """

    file: Path
    picks: dict[str, Particles]
    record: PickingRecord | None

    @classmethod
    def read(cls, path: Path) -> "PickSource":
        """Read a particle file, or a folder; of one that ``hydrapicker pick`` wrote, the file with all picks.

        Raises:
            InvalidInputError: Nothing there, or files that cannot be used.
        """
        file = path / ALL_PICKS if (path / ALL_PICKS).is_file() else path
        picks = read_particles(file)
        beside = file.parent / RECORD
        record = PickingRecord.read(file.parent) if file.name == ALL_PICKS and beside.is_file() else None
        if record is not None:
            picks = {name: picks.get(name, NOTHING) for name in record.micrographs} | picks
        return cls(file, picks, record)

    def hint(self) -> str | None:
        """A word for somebody who gave the picks above a threshold where all of them are at hand."""
        beside = self.file.parent / ALL_PICKS
        if self.file.is_file() and self.file.name != ALL_PICKS and beside.is_file():
            return f"{self.file.name} holds only picks above its threshold; give {self.file.parent} for all of them"
        return None

    def with_micrographs(self, patterns: Sequence[str]) -> "PickSource":
        """With the micrographs given that the picks do not mention, as micrographs without picks."""
        stems = {micrograph_stem(name) for name in self.picks}
        more = [str(path) for path in (find_micrographs(patterns) if patterns else ())]
        empty = {name: NOTHING for name in more if micrograph_stem(name) not in stems}
        return replace(self, picks=self.picks | empty)
