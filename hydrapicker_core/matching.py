"""Which anchors answer for which particles (the set M of the paper's equation 2)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hydrapicker_core.boxes import anchor_centres, square_iou
from hydrapicker_core.network import CELL_PX


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of anchor and particle; an anchor is in one pair at most, a particle may be in several.

    Attributes:
        anchors: Flat indices into the (gy, gx) grid, int64 ``(k,)``, ascending.
        particles: Index of the particle of each pair, int64 ``(k,)``.
        lost: Particles in no pair, because a nearer particle took every anchor that could answer for them.
    """

    anchors: Int[Tensor, " k"]
    particles: Int[Tensor, " k"]
    lost: int


def match_anchors(
    particles: Float[Tensor, "n 2"], grid: tuple[int, int], box_px: float, iou_threshold: float = 0.6
) -> Matches:
    """Pair anchors with particles.

    An anchor may answer for a particle whose box overlaps the anchor's (both of side `box_px`) by more than
    `iou_threshold`, and for every particle of which it is the best anchor, whatever the overlap (released code). An
    anchor wanted by several particles goes to the nearest.

    Args:
        particles: Centres in pixels of the crop, x then y.
        grid: Cells of the head's output, (gy, gx).
        box_px: Side of the boxes.
        iou_threshold: Overlap above which an anchor answers without being the best.
    """
    if len(particles) == 0:
        none = torch.empty(0, dtype=torch.int64, device=particles.device)
        return Matches(none, none, lost=0)
    anchors = anchor_centres(grid, particles.device).reshape(-1, 2)
    wanted = square_iou(anchors, particles, box_px) > iou_threshold
    wanted[_best_anchor(particles, grid), torch.arange(len(particles), device=particles.device)] = True
    distance = torch.cdist(anchors, particles).masked_fill(~wanted, float("inf"))
    nearest, particle = distance.min(dim=1)
    anchor = torch.nonzero(nearest.isfinite()).squeeze(1)
    particle = particle[anchor]
    return Matches(anchor, particle, lost=len(particles) - len(torch.unique(particle)))


def _best_anchor(particles: Float[Tensor, "n 2"], grid: tuple[int, int]) -> Int[Tensor, " n"]:
    # The cell that holds a particle has the least |dx| and the least |dy| at once, hence the largest overlap.
    cell = torch.floor((particles + 0.5) / CELL_PX).long()
    x = cell[:, 0].clamp(0, grid[1] - 1)
    y = cell[:, 1].clamp(0, grid[0] - 1)
    return y * grid[1] + x
