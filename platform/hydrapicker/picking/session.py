"""A run of picking into one folder: what is done, what comes in, what is written at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import micrograph_stem
from hydrapicker.files.coordinates import OnDemand
from hydrapicker.files.remote import RemoteFile
from hydrapicker.picking.config import PickConfig, PickReport
from hydrapicker.picking.contrast import COMPARED, ContrastEvidence, contrast_doubt
from hydrapicker.picking.kept import KeptMicrograph, KeptPicks, Origin, PickingOptions, claimed
from hydrapicker.picking.one import Outcome, least_score
from hydrapicker.picking.outputs import Outputs
from hydrapicker.picking.picker import Picker
from hydrapicker.picking.record import PickingRecord
from hydrapicker.picking.summary import MicrographCount, summarise
from hydrapicker.storage.atomic import atomic_write
from hydrapicker_core.detection import MIN_DISTANCE_BOXES
from hydrapicker_registry.versions import SHIPPED, HeadVersion

__all__ = ["Session", "say_if_shipped"]


def say_if_shipped(head: HeadVersion, say: Callable[[str], None]) -> None:
    """Say so where the registry has no generic head and the shipped one picks: users must know which model it is."""
    if head.version == SHIPPED:
        say(f"picking with {head.called}")


class Session:
    """The one writer of a folder of picks. Its files are the same whoever picked, in whatever order."""

    def __init__(
        self,
        config: PickConfig,
        picker: Picker,
        head: HeadVersion,
        notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.options, self._head = _options(config, picker, head), head
        self.kept = KeptPicks(config.out, self.options, overwrite=config.overwrite)
        self.failed: dict[Path | RemoteFile, str] = {}
        self.skipped = 0
        self._config = config
        self._outputs = Outputs(config.out, config.formats)
        self._notice = notice
        self._compared: dict[str, ContrastEvidence] = {}

    @classmethod
    @contextmanager
    def opened(
        cls, config: PickConfig, picker: Picker, head: HeadVersion, notice: Callable[[str], None] = lambda line: None
    ) -> Iterator["Session"]:
        """A session that has the folder to itself; `notice` is told at once what looks wrong with all of it.

        Raises:
            InvalidInputError: The folder holds picks made with other options.
            HydraPickerError: Somebody else is picking into it, or it cannot be written.
        """
        with claimed(config.out):
            yield cls(config, picker, head, notice)

    @property
    def wants_comparison(self) -> bool:
        """Whether too few micrographs were compared with their inverse yet to say a word on their contrast."""
        return len(self._compared) < COMPARED

    def is_done(self, origin: Origin) -> bool:
        """Whether nothing is left to do for this very file, as far as one can tell before the end."""
        return self.kept.is_done(origin) and (not self._config.overlay or self._overlay(origin.stem).exists())

    def take(self, file: Path | RemoteFile, outcome: Outcome) -> str:
        """Keep what came of a file, and write its own files; returns a word on it.

        Raises:
            OutputError: When a file cannot be written.
        """
        if outcome.kept is None:
            return self._leave_out(file, outcome.failure or "no picks came back")
        # The overlay before the picks, its own files after them: what a kill leaves undone can be told from these.
        overlay = self._overlay(micrograph_stem(file.name))
        overlay.unlink(missing_ok=True)
        if outcome.overlay is not None:
            with atomic_write(overlay) as temporary:
                temporary.write_bytes(outcome.overlay)
        try:
            self.kept.keep(outcome.kept)
            self._outputs.write_micrograph(outcome.kept, self.options.threshold)
        except InvalidInputError as error:
            return self._leave_out(file, str(error))
        self.failed.pop(file, None)
        self._note_contrast(outcome.kept)
        return f"{file.name}: {len(outcome.kept.particles(self.options.threshold).xy)} picks"

    def _note_contrast(self, kept: KeptMicrograph) -> None:
        """Say what looks wrong when the last of those micrographs is there that are compared."""
        if kept.contrast is None or not self.wants_comparison:
            return
        self._compared[kept.origin.stem] = kept.contrast
        doubt = contrast_doubt(self._compared.values(), self.options.contrast)
        if doubt and not self.wants_comparison:
            self._notice(doubt)

    def finish(self) -> PickReport:
        """Write the files that hold all picks, of this run and of earlier ones.

        Raises:
            HydraPickerError: When there is no micrograph at all.
            OutputError: When a file cannot be written.
        """
        stems, options = self.kept.stems(), self.options
        if not stems:
            raise HydraPickerError(next(iter(self.failed.values()), "no micrograph has been picked"))
        counts, compared = zip(*map(self._counted, stems.values()), strict=True)
        everything = OnDemand(stems, lambda name: self.kept.read(stems[name]).particles())
        sure = OnDemand(stems, lambda name: self.kept.read(stems[name]).particles(options.threshold))
        written = self._outputs.write_all(everything, sure)
        PickingRecord(
            options.head,
            options.version,
            options.threshold,
            options.least_score,
            options.min_distance_angstrom,
            options.diameter_angstrom,
            tuple(stems),
        ).write(self._config.out)
        return PickReport(
            self._head.called,
            {each.name: each.picks for each in counts},
            written,
            summarise(counts),
            {str(file): reason for file, reason in self.failed.items()},
            self.skipped,
            contrast_doubt(compared, options.contrast),
        )

    def _counted(self, stem: str) -> tuple[MicrographCount, ContrastEvidence | None]:
        """How many picks a micrograph has, and of which contrast; its own files that are not there yet are written."""
        each, threshold = self.kept.read(stem), self.options.threshold
        self._outputs.write_micrograph(each, threshold, self.kept.written_at(stem))
        picks, shape = len(each.particles(threshold).xy), (each.height, each.width)
        return MicrographCount(each.origin.name, picks, shape, each.pixel_size_angstrom), each.contrast

    def _leave_out(self, file: Path | RemoteFile, reason: str) -> str:
        """Older picks of the file, made before it changed, go too."""
        self.failed[file] = reason
        stem = micrograph_stem(file.name)
        self.kept.forget(stem)
        self._outputs.remove_micrograph(stem)
        self._overlay(stem).unlink(missing_ok=True)
        return f"{file.name}: left out"

    def _overlay(self, stem: str) -> Path:
        return self._config.out / "overlays" / f"{stem}.png"


def _options(config: PickConfig, picker: Picker, head: HeadVersion) -> PickingOptions:
    diameter, threshold = picker.diameter_or_own(config.diameter_angstrom), picker.threshold_or_own(config.threshold)
    distance = MIN_DISTANCE_BOXES * diameter if config.min_distance_angstrom is None else config.min_distance_angstrom
    return PickingOptions(
        head=picker.name,
        version=picker.version,
        head_sha256=head.package_sha256,
        diameter_angstrom=diameter,
        pixel_size_angstrom=config.pixel_size_angstrom,
        threshold=threshold,
        least_score=least_score(threshold),
        min_distance_angstrom=distance,
        contrast=picker.contrast_or_own(config.contrast),
        exclude_edges_angstrom=config.exclude_edges_angstrom,
        mask_contamination=config.mask_contamination,
    )
