"""One micrograph's file picked: what comes of it, good or bad. The same here and in a Ray worker."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hydrapicker.errors import HydraPickerError, MicrographError
from hydrapicker.files import Micrograph, read_micrograph
from hydrapicker.files.remote import RemoteFile, at_hand
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.kept import KeptMicrograph, Origin
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.picking.picker import Picker, Picks
from hydrapicker_core.detection import SCORE_FLOOR

__all__ = ["Outcome", "least_score", "pick_file"]


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


def least_score(threshold: float) -> float:
    """The lowest score of what is kept."""
    return min(threshold, SCORE_FLOOR)


def pick_file(picker: Picker, file: Path | RemoteFile, name: str, config: PickConfig) -> Outcome:
    """Pick a file; what is wrong with it is its outcome, in one line, and never an error.

    Args:
        picker: The head.
        file: The micrograph.
        name: What to call it in files of picks.
        config: All options of the run.
    """
    try:
        origin = Origin.of(file)
        with at_hand(file) as path:
            micrograph = read_micrograph(path)
            picks = _pick(picker, micrograph, config)
        if Origin.of(file) != origin:
            raise MicrographError(f"{file}: was written to while it was read; pick it again when it is complete")
    except (HydraPickerError, OSError) as error:
        return Outcome(failure=str(error).replace(str(file), name))  # a worker has absolute paths
    except (MemoryError, torch.OutOfMemoryError):
        return Outcome(failure=f"{name}: not enough memory for it; give a smaller --memory-bound-gib")
    height, width = micrograph.image.shape
    kept = KeptMicrograph(
        Origin(name, origin.place, origin.bytes, origin.modified),
        height,
        width,
        picks.pixel_size_angstrom,
        picks.diameter_angstrom,
        np.ascontiguousarray(picks.xy),
        np.ascontiguousarray(picks.score),
    )
    threshold = picker.threshold_or_own(config.threshold)
    return Outcome(kept, overlay=_overlay(micrograph, picks.above(threshold)) if config.overlay else None)


def _pick(picker: Picker, micrograph: Micrograph, config: PickConfig) -> Picks:
    return picker.pick(
        micrograph,
        pixel_size_angstrom=config.pixel_size_angstrom,
        diameter_angstrom=config.diameter_angstrom,
        threshold=least_score(picker.threshold_or_own(config.threshold)),
        min_distance_angstrom=config.min_distance_angstrom,
        contrast=config.contrast,
        exclude_edges_angstrom=config.exclude_edges_angstrom,
        mask_contamination=config.mask_contamination,
        memory_bound_gib=config.memory_bound_gib,
    )


def _overlay(micrograph: Micrograph, picks: Picks) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as folder:
        path = Path(folder) / "overlay.png"
        draw_overlay(
            path, micrograph.image, picks.xy, picks.diameter_px, picks.pixel_size_angstrom, excluded=picks.excluded
        )
        return path.read_bytes()
