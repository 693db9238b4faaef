"""Pictures of what heads pick on stored micrographs."""

import torch

from hydrapicker.picking.overlay import overlay_png
from hydrapicker.store.store import Dataset
from hydrapicker_core.inference import InferenceConfig, detect
from hydrapicker_core.network import Head, Trunk
from hydrapicker_core.preprocess import Background


def stored_overlay(trunk: Trunk, head: Head, dataset: Dataset, row: int, threshold: float | None) -> bytes:
    """A PNG of one micrograph of a dataset: a circle around every pick, a cross on every particle.

    Args:
        trunk: In evaluation mode, as the head.
        head: What picks.
        dataset: Where the micrograph lies.
        row: Of the micrograph.
        threshold: Least probability of a pick; None: 0.5.
    """
    micrograph = dataset.read(row)
    background = Background(micrograph.background_mean, micrograph.background_std)
    inference = InferenceConfig(score_floor=0.5 if threshold is None else threshold)
    image = torch.from_numpy(micrograph.image).float().to(next(trunk.parameters()).device)
    picks = detect(trunk, {"": head}, image, background, dataset.box_px, inference)[""]
    return overlay_png(
        image.cpu().numpy(),
        picks.xy.cpu().numpy(),
        float(dataset.box_px),
        micrograph.pixel_size_angstrom / micrograph.scale_x,
        micrograph.particles,
    )
