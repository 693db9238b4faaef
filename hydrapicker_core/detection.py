"""From a head's output to detections: decoding, and suppression of duplicates by a minimum distance."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hydrapicker_core.boxes import anchor_centres, decode_offsets

SCORE_FLOOR = 0.01
"""Least probability at which a cell counts as a detection at all, so that a curve has a left and a right end."""

MIN_DISTANCE_BOXES = 0.6
"""Default least distance between two detections of one micrograph, in boxes: two neighbouring cells often answer for
one particle, while touching particles lie about one box apart."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one micrograph, most confident first.

    Attributes:
        xy: Centres, float32 ``(n, 2)``, x then y, in pixels of the image at hand.
        score: Probability of a particle, float32 ``(n,)``, descending.
    """

    xy: Float[Tensor, "n 2"]
    score: Float[Tensor, " n"]


def decode(output: Float[Tensor, "3 gy gx"], score_floor: float = SCORE_FLOOR) -> Detections:
    """All cells whose probability of a particle is at least `score_floor`, as detections."""
    score = torch.sigmoid(output[2].float()).flatten()
    anchors = anchor_centres((output.shape[1], output.shape[2]), output.device)
    xy = decode_offsets(output[:2].float().permute(1, 2, 0), anchors).reshape(-1, 2)
    order = torch.argsort(score, descending=True, stable=True)
    order = order[score[order] >= score_floor]
    return Detections(xy[order], score[order])


def suppress_duplicates(detections: Detections, min_distance: float) -> Detections:
    """Keep, most confident first, every detection no nearer than `min_distance` to one already kept."""
    if min_distance <= 0 or len(detections.score) == 0:
        return detections
    undecided = torch.ones(len(detections.score), dtype=torch.bool, device=detections.xy.device)
    kept: list[int] = []
    while bool(undecided.any()):
        best = int(torch.argmax(undecided.int()))
        kept.append(best)
        undecided &= torch.linalg.vector_norm(detections.xy - detections.xy[best], dim=1) >= min_distance
        undecided[best] = False
    return Detections(detections.xy[kept], detections.score[kept])


def inside(xy: Float[Tensor, "n 2"], shape: tuple[int, int]) -> Bool[Tensor, " n"]:
    """Which centres lie in an image of (height, width): from half a pixel before its first to half after its last."""
    height, width = shape
    limit = torch.tensor([width, height], dtype=xy.dtype, device=xy.device) - 0.5
    return ((xy >= -0.5) & (xy < limit)).all(dim=1)
