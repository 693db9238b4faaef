"""What is written of picks: every format that is asked for, each as its program wants it.

RELION's files lie where a RELION job's would: ``autopick.star`` lists ``micrographs/<stem>_autopick.star``, and
``picks.star`` holds all picks. Every other format has a folder of its own name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, Particles, write_picks, write_picks_of_one
from hydrapicker.files.formats import FormatName
from hydrapicker.files.star import write_autopick_list
from hydrapicker.picking.picker import Picks
from hydrapicker.picking.record import ALL_PICKS

__all__ = ["Outputs", "PickedMicrograph"]

_COMBINED = "picks"
_WITH_DOUBTFUL: tuple[FormatName, ...] = ("cbox",)
"""Formats whose program chooses the threshold itself, and so is given the doubtful picks too."""


@dataclass(frozen=True, eq=False)
class PickedMicrograph:
    """One micrograph's picks, as its files hold them.

    Attributes:
        name: The micrograph, as files shall name it.
        picks: Those at or above the threshold, in stored rows.
        all_picks: The doubtful ones too.
        files: What was written of this micrograph alone, by format.
    """

    name: str
    picks: Particles
    all_picks: Particles
    files: Mapping[FormatName, Path]


@dataclass(frozen=True)
class Outputs:
    """Where picks are written, and in which formats."""

    folder: Path
    formats: tuple[FormatName, ...]

    def __post_init__(self) -> None:
        if not self.formats:
            raise InvalidInputError(f"no formats given: give some of {', '.join(FORMATS)}")

    def write_micrograph(self, name: str, shape: tuple[int, int], picks: Picks, threshold: float) -> PickedMicrograph:
        """Write one micrograph's own files, each all or nothing.

        Args:
            name: The micrograph, as files shall name it.
            shape: Its (height, width) in pixels.
            picks: All that are kept, doubtful ones too.
            threshold: What picks need to be written to formats that hold no doubtful ones.

        Raises:
            InvalidInputError: When a format cannot hold them.
            OutputError: When a file cannot be written.
        """
        everything = _particles(picks, shape)
        chosen = _particles(picks.above(threshold), shape)
        files = {}
        for form in self.formats:
            part = everything if form in _WITH_DOUBTFUL else chosen
            path = write_picks_of_one(form, self._folder_of(form), name, part)
            if path is not None:
                files[form] = path
        return PickedMicrograph(name, chosen, everything, files)

    def write_combined(self, micrographs: Sequence[PickedMicrograph]) -> tuple[Path, ...]:
        """Write the files that hold, or list, the picks of all micrographs; returns what to show to users.

        Raises:
            OutputError: When a file cannot be written.
        """
        write_picks("star", self.folder / ALL_PICKS, {each.name: each.all_picks for each in micrographs})
        particles = {each.name: each.picks for each in micrographs}
        written = []
        for form in dict.fromkeys(self.formats):
            spec, folder = FORMATS[form], self._folder_of(form)
            if spec.list_all is not None:
                write_autopick_list(folder / "autopick.star", {each.name: each.files[form] for each in micrographs})
            if spec.write_all is None:
                written.append(folder)
            else:
                written += write_picks(form, folder / f"{_COMBINED}{spec.suffixes[0]}", particles)
        return tuple(written)

    def _folder_of(self, form: FormatName) -> Path:
        return self.folder if form == "star" else self.folder / form


def _particles(picks: Picks, shape: tuple[int, int]) -> Particles:
    particles = Particles(picks.xy, picks.score, picks.pixel_size_angstrom)
    return replace(particles, shape=shape, box_px=picks.diameter_px)
