"""What is written of picks: every format that is asked for, each as its program wants it.

RELION's files lie where a RELION job's would: ``autopick.star`` lists ``micrographs/<stem>_autopick.star``, and
``picks.star`` holds all picks. Every other format has a folder of its own name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, Particles, write_picks, write_picks_of_one
from hydrapicker.files.formats import FormatName, file_of_one
from hydrapicker.files.star import write_autopick_list
from hydrapicker.picking.kept import KeptMicrograph
from hydrapicker.picking.record import ALL_PICKS

__all__ = ["Outputs"]

_COMBINED = "picks"
_WITH_DOUBTFUL: tuple[FormatName, ...] = ("cbox",)
"""Formats whose program chooses the threshold itself, and so is given the doubtful picks too."""


@dataclass(frozen=True)
class Outputs:
    """Where picks are written, and in which formats."""

    folder: Path
    formats: tuple[FormatName, ...]

    def __post_init__(self) -> None:
        if not self.formats:
            raise InvalidInputError(f"no formats given: give some of {', '.join(FORMATS)}")

    def write_micrograph(self, kept: KeptMicrograph, threshold: float, older_than: int | None = None) -> None:
        """Write one micrograph's own files, each all or nothing.

        Args:
            kept: All its picks, doubtful ones too.
            threshold: What picks need to be written to formats that hold no doubtful ones.
            older_than: Leave files alone that were written at this time, in nanoseconds, or after it.

        Raises:
            InvalidInputError: When a format cannot hold them.
            OutputError: When a file cannot be written.
        """
        for form in self.formats:
            path = file_of_one(form, self._folder_of(form), kept.origin.name)
            if path is None or (older_than is not None and _written_at(path) >= older_than):
                continue
            part = kept.particles(0 if form in _WITH_DOUBTFUL else threshold)
            write_picks_of_one(form, self._folder_of(form), kept.origin.name, part)

    def remove_micrograph(self, stem: str) -> None:
        """Remove one micrograph's own files, where there are any."""
        for form in self.formats:
            path = file_of_one(form, self._folder_of(form), stem)
            if path is not None:
                path.unlink(missing_ok=True)

    def write_all(self, everything: Mapping[str, Particles], sure: Mapping[str, Particles]) -> tuple[Path, ...]:
        """Write the files that hold or list all micrographs.

        Args:
            everything: All picks by micrograph, doubtful ones too.
            sure: Those of at least the threshold. Both are gone through one micrograph after the other.

        Returns:
            What to show to users.

        Raises:
            InvalidInputError: When a format cannot hold them.
            OutputError: When a file cannot be written.
        """
        write_picks("star", self.folder / ALL_PICKS, everything)
        written = []
        for form in dict.fromkeys(self.formats):
            spec, folder = FORMATS[form], self._folder_of(form)
            if spec.list_all is not None:
                files = {name: file_of_one(form, folder, name) for name in sure}
                write_autopick_list(
                    folder / "autopick.star", {name: path for name, path in files.items() if path is not None}
                )
            if spec.write_all is None:
                written.append(folder)
            else:
                written += write_picks(form, folder / f"{_COMBINED}{spec.suffixes[0]}", sure)
        return tuple(written)

    def _folder_of(self, form: FormatName) -> Path:
        return self.folder if form == "star" else self.folder / form


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
