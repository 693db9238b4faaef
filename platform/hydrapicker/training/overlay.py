"""What a dataset's own head picks, to be looked at beside a run's figures."""

import tempfile
from pathlib import Path

from hydrapicker.evaluation.heads import judge
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.store.store import Dataset
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import MultiHeadNetwork


def draw_test_overlay(network: MultiHeadNetwork, name: str, dataset: Dataset, threshold: float) -> bytes:
    """A PNG of a dataset's first ``test`` micrograph: its own head's picks as circles, the particles as crosses.

    Args:
        network: In evaluation mode.
        name: Of the head.
        dataset: The head's own.
        threshold: Least score of the picks shown.
    """
    micrograph = dataset.read(int(dataset.split("test")[0]))
    judged = judge(network.trunk, {name: network.head(name)}, micrograph, dataset.box_px, LossConfig())
    result = judged[name].result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overlay.png"
        draw_overlay(
            path,
            micrograph.image,
            result.picks[result.scores >= threshold],
            dataset.box_px,
            micrograph.pixel_size_angstrom / micrograph.scale_x,
            micrograph.particles,
        )
        return path.read_bytes()
