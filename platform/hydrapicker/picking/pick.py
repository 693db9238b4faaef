"""Picking files: every micrograph gets a STAR file, all together one more, each written whole or not at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import (
    Convention,
    Micrograph,
    Particles,
    find_micrographs,
    micrograph_stem,
    read_micrograph,
    to_program_convention,
    write_autopick_star,
    write_combined_star,
)
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.picking.picker import Picker, Picks, check_options
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.registry import HeadRegistry

COMBINED = "picks.star"
"""Name of the file that holds the picks of all micrographs."""


@dataclass(frozen=True)
class PickConfig:
    """Pick particles on micrographs with a head of the registry.

    Attributes:
        files: Micrograph files, folders or quoted patterns.
        out: Folder for picks.star, for one STAR file per micrograph in micrographs/, and for overlays/.
        head: Name of the head, with @ALIAS for another than the champion.
        version: Version of the head; by default its champion.
        diameter_angstrom: The particle's diameter; by default that of the head's own dataset.
        pixel_size_angstrom: Of the micrographs; by default what their headers say.
        threshold: Least probability of a pick; by default what the head's record recommends.
        min_distance_angstrom: Least distance between two picks; by default 0.6 of the diameter.
        contrast: Whether particles are darker or lighter than the ice; by default as in the head's own dataset.
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
    overlay: bool = False
    memory_bound_gib: float = 2.0

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        check_options(self.threshold, self.min_distance_angstrom, self.memory_bound_gib, self.contrast)


@dataclass(frozen=True)
class PickReport:
    """What was picked.

    Attributes:
        head: Name and version of the head.
        counts: Picks per micrograph.
        failed: Per micrograph that could not be picked, why.
        combined: The STAR file with the picks of all micrographs.
    """

    head: str
    counts: dict[Path, int]
    combined: Path
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
    picker.diameter_or_own(config.diameter_angstrom)  # or every micrograph would be read only to be refused
    combined: dict[str, Particles] = {}
    report = PickReport(f"{picker.name} version {picker.version}", {}, config.out / COMBINED)
    for done, path in enumerate(paths):
        progress(done, len(paths), path.name)
        try:
            micrograph = read_micrograph(path)
            picks = _pick_one(picker, micrograph, config)
        except InvalidInputError as error:
            report.failed[path] = str(error)
            continue
        combined[str(path)] = _write_one(config, micrograph, picks)
        report.counts[path] = len(picks)
    if not combined:
        raise HydraPickerError(next(iter(report.failed.values())))
    write_combined_star(report.combined, combined, None)
    progress(len(paths), len(paths), "done")
    return report


def _pick_one(picker: Picker, micrograph: Micrograph, config: PickConfig) -> Picks:
    return picker.pick(
        micrograph,
        pixel_size_angstrom=config.pixel_size_angstrom,
        diameter_angstrom=config.diameter_angstrom,
        threshold=config.threshold,
        min_distance_angstrom=config.min_distance_angstrom,
        contrast=config.contrast,
        memory_bound_gib=config.memory_bound_gib,
    )


def _write_one(config: PickConfig, micrograph: Micrograph, picks: Picks) -> Particles:
    stem = micrograph_stem(micrograph.path.name)
    xy = to_program_convention(picks.xy, micrograph.path, micrograph.image.shape[0])
    write_autopick_star(config.out / "micrographs" / f"{stem}_autopick.star", xy, picks.score)
    if config.overlay:
        path = config.out / "overlays" / f"{stem}.png"
        draw_overlay(path, micrograph.image, picks.xy, picks.diameter_px, picks.pixel_size_angstrom)
    stored = Particles(np.asarray(xy), picks.score, picks.pixel_size_angstrom)
    return replace(stored, convention=Convention.PROGRAM)
