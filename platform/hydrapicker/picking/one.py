"""One micrograph's file picked: what comes of it, good or bad. The same here and in a Ray worker.

In two steps, so that one file can be read while the network is at another: :func:`read_file` and :func:`pick_read`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hydrapicker.errors import HydraPickerError, MicrographError
from hydrapicker.files import Micrograph, read_micrograph
from hydrapicker.files.remote import RemoteFile, at_hand
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.contrast import compare_with_inverse
from hydrapicker.picking.kept import KeptMicrograph, Origin
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.picking.picker import AtScale, Picker, Picks
from hydrapicker_core.detection import SCORE_FLOOR

__all__ = ["Outcome", "ReadFile", "least_score", "pick_file", "pick_read", "read_file"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a micrograph.

    Attributes:
        kept: Its picks, or None.
        failure: Why there are none.
        overlay: A PNG of the micrograph with its picks, where that was asked for.
    """

    kept: KeptMicrograph | None = None
    failure: str | None = None
    overlay: bytes | None = None


@dataclass(frozen=True, eq=False)
class ReadFile:
    """A micrograph that has been read.

    Attributes:
        origin: Its file, under the name that files of picks call it.
        at_scale: What the network sees.
        whole: All of it, where an overlay is wanted.
    """

    origin: Origin
    at_scale: AtScale
    whole: Micrograph | None


def least_score(threshold: float) -> float:
    """The lowest score of what is kept."""
    return min(threshold, SCORE_FLOOR)


def pick_file(picker: Picker, file: Path | RemoteFile, name: str, config: PickConfig, compare: bool = False) -> Outcome:
    """Pick a file; what is wrong with it is its outcome, in one line, and never an error.

    Args:
        picker: The head.
        file: The micrograph.
        name: What to call it in files of picks.
        config: All options of the run.
        compare: Also pick the inverse of its middle, for a word on its contrast.
    """
    read = read_file(picker, file, name, config)
    return read if isinstance(read, Outcome) else pick_read(picker, read, config, compare)


def read_file(picker: Picker, file: Path | RemoteFile, name: str, config: PickConfig) -> ReadFile | Outcome:
    """Read a file and bring it to scale; where that fails, the failure is its outcome. Arguments as above."""
    try:
        origin = Origin.of(file)
        with at_hand(file) as path:
            micrograph = read_micrograph(path)
            at_scale = picker.prepare(
                micrograph,
                config.pixel_size_angstrom,
                config.diameter_angstrom,
                config.contrast,
                config.exclude_edges_angstrom,
                config.mask_contamination,
            )
        if Origin.of(file) != origin:
            raise MicrographError(f"{file}: was written to while it was read; pick it again when it is complete")
    except (HydraPickerError, OSError) as error:
        return Outcome(failure=str(error).replace(str(file), name))  # a worker has absolute paths
    except (MemoryError, torch.OutOfMemoryError):
        return Outcome(failure=f"{name}: not enough memory to read it")
    origin = Origin(name, origin.place, origin.bytes, origin.modified)
    return ReadFile(origin, at_scale, micrograph if config.overlay else None)


def pick_read(picker: Picker, read: ReadFile, config: PickConfig, compare: bool = False) -> Outcome:
    """Pick a file that has been read; `compare` as above."""
    at_scale, threshold = read.at_scale, picker.threshold_or_own(config.threshold)
    try:
        how = config.min_distance_angstrom, config.memory_bound_gib
        picks = picker.pick_prepared(at_scale, least_score(threshold), *how)
        contrast = compare_with_inverse(picker, at_scale, picks, *how) if compare else None
    except (MemoryError, torch.OutOfMemoryError):
        return Outcome(failure=f"{read.origin.name}: not enough memory for it; give a smaller --memory-bound-gib")
    kept = KeptMicrograph(
        read.origin,
        *at_scale.shape,
        picks.pixel_size_angstrom,
        picks.diameter_angstrom,
        np.ascontiguousarray(picks.xy),
        np.ascontiguousarray(picks.score),
        contrast,
    )
    return Outcome(kept, overlay=None if read.whole is None else _overlay(read.whole, picks.above(threshold)))


def _overlay(micrograph: Micrograph, picks: Picks) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as folder:
        path = Path(folder) / "overlay.png"
        draw_overlay(
            path, micrograph.image, picks.xy, picks.diameter_px, picks.pixel_size_angstrom, excluded=picks.excluded
        )
        return path.read_bytes()
