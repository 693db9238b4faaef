"""Picking files: micrographs in, particle files out, each written whole or not at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tyro.conf import Positional

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import Micrograph, find_micrographs, micrograph_stem, read_micrograph
from hydrapicker.files.formats import FormatName
from hydrapicker.picking.outputs import Outputs, PickedMicrograph
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.picking.picker import Picker, Picks, check_options
from hydrapicker.picking.record import PickingRecord
from hydrapicker_core.detection import MIN_DISTANCE_BOXES, SCORE_FLOOR
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.registry import HeadRegistry


@dataclass(frozen=True)
class PickConfig:
    """Pick particles on micrographs with a head of the registry.

    Attributes:
        files: Micrograph files, folders or quoted patterns.
        out: Folder for the picks, for overlays/, and for all_picks.star and picking.json, from which
            `hydrapicker inspect` lets another threshold be chosen.
        head: Name of the head, with @ALIAS for another than the champion.
        version: Version of the head; by default its champion.
        diameter_angstrom: The particle's diameter; by default that of the head's own dataset.
        pixel_size_angstrom: Of the micrographs; by default what their headers say.
        threshold: Least probability of a pick; by default what the head's record recommends.
        min_distance_angstrom: Least distance between two picks; by default 0.6 of the diameter.
        contrast: Whether particles are darker or lighter than the ice; by default as in the head's own dataset.
        formats: What to write: RELION's star (picks.star, autopick.star and micrographs/), or in a folder of its name
            EMAN's box, crYOLO's cbox (with all doubtful picks), cryoSPARC's cs, Topaz' tables, csv, parquet.
        overlay: Also write a PNG of every micrograph with its picks.
        memory_bound_gib: Above this estimate of memory a micrograph goes through the network in bands.
    """

    files: Positional[tuple[str, ...]]
    out: Path
    head: str = "generic"
    version: int | None = None
    diameter_angstrom: float | None = None
    pixel_size_angstrom: float | None = None
    threshold: float | None = None
    min_distance_angstrom: float | None = None
    contrast: Contrast | None = None
    formats: tuple[FormatName, ...] = ("star",)
    overlay: bool = False
    memory_bound_gib: float = 2.0

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        check_options(self.threshold, self.min_distance_angstrom, self.memory_bound_gib, self.contrast)
        Outputs(self.out, self.formats)


@dataclass(frozen=True)
class PickReport:
    """What was picked.

    Attributes:
        head: Name and version of the head.
        counts: Picks per micrograph.
        failed: Per micrograph that could not be picked, why.
        written: Per format the file with all picks, or the folder with a file per micrograph.
    """

    head: str
    counts: dict[Path, int]
    written: tuple[Path, ...]
    failed: dict[Path, str] = field(default_factory=dict)


def pick(config: PickConfig, progress: Callable[[int, int, str], None] = lambda done, total, label: None) -> PickReport:
    """Pick every micrograph; one that cannot be used is left out and reported.

    Raises:
        HydraPickerError: When no micrograph could be picked, or the output cannot be written.
    """
    paths = find_micrographs(config.files)
    stems = [micrograph_stem(path.name) for path in paths]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InvalidInputError(f"two micrographs are called {twice}: pick their folders one by one")
    loaded = HeadRegistry().load(config.head, config.version)
    picker = Picker(loaded.head, loaded.trunk, loaded.version.version)
    record, outputs = _record(picker, loaded.version.version, config), Outputs(config.out, config.formats)
    picked: list[PickedMicrograph] = []
    failed: dict[Path, str] = {}
    for done, path in enumerate(paths):
        progress(done, len(paths), path.name)
        try:
            micrograph = read_micrograph(path)
            picks = _pick_one(picker, micrograph, config, record.least_score)
        except InvalidInputError as error:
            failed[path] = str(error)
            continue
        picked.append(outputs.write_micrograph(str(path), micrograph.image.shape, picks, record.threshold))
        if config.overlay:
            _draw(config, micrograph, picks.above(record.threshold))
    if not picked:
        raise HydraPickerError(next(iter(failed.values())))
    written = outputs.write_combined(picked)
    replace(record, micrographs=tuple(each.name for each in picked)).write(config.out)
    progress(len(paths), len(paths), "done")
    counts = {Path(each.name): len(each.picks.xy) for each in picked}
    return PickReport(f"{picker.name} version {picker.version}", counts, written, failed)


def _record(picker: Picker, version: int, config: PickConfig) -> PickingRecord:
    diameter, threshold = picker.diameter_or_own(config.diameter_angstrom), picker.threshold_or_own(config.threshold)
    distance = MIN_DISTANCE_BOXES * diameter if config.min_distance_angstrom is None else config.min_distance_angstrom
    return PickingRecord(
        picker.name, version, threshold, min(threshold, SCORE_FLOOR), distance, diameter, micrographs=()
    )


def _pick_one(picker: Picker, micrograph: Micrograph, config: PickConfig, threshold: float) -> Picks:
    return picker.pick(
        micrograph,
        pixel_size_angstrom=config.pixel_size_angstrom,
        diameter_angstrom=config.diameter_angstrom,
        threshold=threshold,
        min_distance_angstrom=config.min_distance_angstrom,
        contrast=config.contrast,
        memory_bound_gib=config.memory_bound_gib,
    )


def _draw(config: PickConfig, micrograph: Micrograph, picks: Picks) -> None:
    path = config.out / "overlays" / f"{micrograph_stem(micrograph.path.name)}.png"
    draw_overlay(path, micrograph.image, picks.xy, picks.diameter_px, picks.pixel_size_angstrom)
