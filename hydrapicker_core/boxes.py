"""Square boxes of one size on a grid: overlap in closed form, anchors, and the coding of a box as an offset.

A box is known by its centre alone, since all boxes of a micrograph have the same side.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from hydrapicker_core.network import CELL_PX

OFFSET_REACH_PX = 0.75 * CELL_PX
"""How far a decoded centre can lie from its anchor along each axis: beyond the cell's edge, at 8 pixels."""

_TANH_LIMIT = 0.999
"""Offsets are clamped to this share of the reach before their arctanh, which is infinite at 1."""


def square_iou(centres_a: Float[Tensor, "n 2"], centres_b: Float[Tensor, "m 2"], box_px: float) -> Float[Tensor, "n m"]:
    """Intersection over union of every box around `centres_a` with every box around `centres_b`.

    Two squares of side s whose centres are dx, dy apart share ``o = max(0, s - |dx|) * max(0, s - |dy|)``, so their
    IoU is ``o / (2 s^2 - o)``.
    """
    apart = (centres_a[:, None, :] - centres_b[None, :, :]).abs()
    overlap = (box_px - apart).clamp(min=0).prod(dim=2)
    return overlap / (2 * box_px**2 - overlap)


def anchor_centres(grid: tuple[int, int], device: torch.device | None = None) -> Float[Tensor, "gy gx 2"]:
    """Centre (x, y) of every cell of a (gy, gx) grid: cell (0, 0) covers pixels 0 … 15, so its centre is (7.5, 7.5)."""
    y, x = (torch.arange(n, dtype=torch.float32, device=device) * CELL_PX + (CELL_PX - 1) / 2 for n in grid)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)


def decode_offsets(offsets: Float[Tensor, "*cells 2"], anchors: Float[Tensor, "*cells 2"]) -> Float[Tensor, "*cells 2"]:
    """Box centres from a head's offsets: ``centre = anchor + tanh(offset) * 0.75 * cell`` (released code)."""
    return anchors + torch.tanh(offsets) * OFFSET_REACH_PX


def encode_centres(centres: Float[Tensor, "*cells 2"], anchors: Float[Tensor, "*cells 2"]) -> Float[Tensor, "*cells 2"]:
    """The offsets that decode to `centres`; centres out of an anchor's reach are moved to just within it."""
    share = (centres - anchors) / OFFSET_REACH_PX
    return torch.atanh(share.clamp(-_TANH_LIMIT, _TANH_LIMIT))
