"""Many heads tried on a small part of each micrograph, for what a single pass of one of them costs.

The trunk's pass is shared, but at the paper's width each head adds a seventh of it. On a window of the features a head
costs a twentieth of that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hydrapicker.evaluation.features import KeptFeatures
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.whole import stream_micrographs
from hydrapicker_core.bootstrap import MicrographPart
from hydrapicker_core.detection import decode, inside, suppress_duplicates
from hydrapicker_core.inference import MARGIN_PX, InferenceConfig, pad, trunk_features
from hydrapicker_core.metrics import DEFAULT_IOU_THRESHOLD, match_picks
from hydrapicker_core.network import CELL_PX, Head, Trunk
from hydrapicker_core.preprocess import Background

_SHARE_OF_SIDE = 5
_MIN_BOXES = 8


@dataclass(frozen=True, eq=False)
class Window:
    """Features of the part of a micrograph with the most particles.

    Attributes:
        features: Of the trunk, cut out.
        particles: float32 (n, 2), x then y, in pixels of the window.
    """

    features: Float[Tensor, "1 c h w"]
    particles: NDArray[np.float32]


@torch.no_grad()
def windows(trunk: Trunk, dataset: Dataset, rows: Iterable[int], kept: KeptFeatures) -> Iterator[Window]:
    """A window of each micrograph, with one pass through the trunk each, in evaluation mode; features are kept."""
    inference, device = InferenceConfig(), next(trunk.parameters()).device
    rows = tuple(rows)
    micrographs = stream_micrographs({dataset.name: dataset}, ((dataset.name, row) for row in rows))
    for row, micrograph in zip(rows, micrographs, strict=True):
        background = Background(micrograph.background_mean, micrograph.background_std)
        image = pad(torch.from_numpy(micrograph.image).float(), background).image.to(device)
        features = kept.of((dataset.name, row), partial(trunk_features, trunk, image, inference.memory_bound_gib))
        particles = micrograph.particles + np.float32(MARGIN_PX)
        x, y, width, height = crowded(particles, image.shape[1], image.shape[0], dataset.box_px)
        part = features[:, :, y : y + height, x : x + width].contiguous(memory_format=torch.channels_last)
        moved = particles - np.array([x, y], np.float32)
        yield Window(part, moved[inside(torch.from_numpy(moved), (height, width)).numpy()])


@torch.no_grad()
def judge_window(head: Head, window: Window, box_px: float) -> MicrographPart:
    """Scores and hits of what a head, in evaluation mode, picks in a window, and the number of particles there."""
    inference = InferenceConfig()
    found = decode(head(window.features)[0].cpu(), inference.score_floor)
    found = suppress_duplicates(found, inference.min_distance_boxes * box_px)
    scores = found.score.numpy()
    hits = match_picks(found.xy.numpy(), scores, window.particles, box_px, DEFAULT_IOU_THRESHOLD)
    return scores, hits, len(window.particles)


def crowded(particles: NDArray[np.float32], width: int, height: int, box_px: float) -> tuple[int, int, int, int]:
    """The window of an image with the most particles, the first of several, on the grid of the heads' cells.

    Args:
        particles: float32 (n, 2), x then y.
        width: Of the image, a multiple of the cell's side, as the height.
        height: Of the image.
        box_px: Side of a particle's box: a window has a fifth of the image's sides, and at least eight boxes.

    Returns:
        x and y of its first pixel, width and height.
    """
    sides = np.array([width, height]) // CELL_PX
    least = -(-_MIN_BOXES * box_px // CELL_PX)
    cells = np.minimum(sides, np.maximum(sides // _SHARE_OF_SIDE, least)).astype(int)
    where = np.clip(particles // CELL_PX, 0, sides - 1).astype(int)
    counts = np.zeros(sides, int)
    np.add.at(counts, (where[:, 0], where[:, 1]), 1)
    sums = np.lib.stride_tricks.sliding_window_view(counts, tuple(cells)).sum(axis=(2, 3))
    x, y = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(x) * CELL_PX, int(y) * CELL_PX, int(cells[0]) * CELL_PX, int(cells[1]) * CELL_PX
