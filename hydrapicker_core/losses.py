"""The losses of a minibatch: localisation and classification (paper, equations 1-3).

The paper sums over anchors and leaves the scale open. Here both sums are divided by the number of matched pairs of
the minibatch (at least 1), and the localisation's L1 distance is counted in cells of 16 pixels: so neither depends on
the crop's size or on how crowded it is. The default ``lambda_cls`` makes both about equal in size, which is the balance
of the authors' code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from hydrapicker_core.bias_loss import BiasForm
from hydrapicker_core.boxes import anchor_centres, decode_offsets
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.matching import match_anchors
from hydrapicker_core.network import CELL_PX


@dataclass(frozen=True)
class LossConfig:
    """The loss ``l_loc + lambda_cls * l_cls + lambda_bias * l_bias``.

    Attributes:
        lambda_cls: Weight of the classification loss.
        lambda_bias: Weight of the distance between every head and the generic head.
        bias_form: How that distance is measured: per-head, one norm over all of a head's weights (the paper);
            per-tensor, a norm for every weight tensor (the authors' code); squared, the square of the paper's norm.
        alpha: Focal loss: weight of the particle class; the background class has 1 - alpha.
        gamma: Focal loss: how much less the easy cells count.
        iou_threshold: Overlap above which an anchor answers for a particle.
    """

    lambda_cls: float = 4.0
    lambda_bias: float = 0.1
    bias_form: BiasForm = "per-head"
    alpha: float = 0.25
    gamma: float = 2.0
    iou_threshold: float = 0.6

    def __post_init__(self) -> None:
        if self.bias_form not in get_args(BiasForm):
            raise InvalidInputError(f"bias_form {self.bias_form!r} is none of {', '.join(get_args(BiasForm))}")
        for name in ("lambda_cls", "lambda_bias", "gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} {getattr(self, name)} is not a number of at least 0")
        for name in ("alpha", "iou_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidInputError(f"{name} {getattr(self, name)} is not between 0 and 1")


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """The losses of one minibatch.

    Attributes:
        localisation: ``l_loc`` (equation 2), in cells, per matched pair.
        classification: ``l_cls`` (equation 3), per matched pair.
        particles: How many particles the minibatch held.
        lost: How many of them no anchor could answer for.
    """

    localisation: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    particles: int
    lost: int

    def total(self, config: LossConfig) -> Float[Tensor, ""]:
        """``l_loc + lambda_cls * l_cls``: what a minibatch contributes to equation 1."""
        return self.localisation + config.lambda_cls * self.classification


def focal_loss(
    log_odds: Float[Tensor, "*cells"], is_particle: Float[Tensor, "*cells"], alpha: float, gamma: float
) -> Float[Tensor, ""]:
    """``sum_i -(1/2) alpha_c (1 - p_i)^gamma log p_i``, p_i the probability given to the right class (equation 3)."""
    right = torch.where(is_particle > 0, log_odds, -log_odds)
    weight = torch.where(is_particle > 0, alpha, 1 - alpha)
    # 1 - p is the sigmoid of the negated log-odds: exact also where p is nearly 1.
    return -0.5 * (weight * torch.sigmoid(-right) ** gamma * logsigmoid(right)).sum()


def detection_loss(
    outputs: Float[Tensor, "b 3 gy gx"],
    particles: Sequence[Float[Tensor, "_ 2"]],
    box_px: float,
    config: LossConfig,
) -> DetectionLoss:
    """Localisation and classification loss of a head's output.

    Args:
        outputs: A head's output on a minibatch.
        particles: Per image, the particles' centres in its pixels, x then y.
        box_px: Side of a particle's box in working pixels.
        config: Weights of the losses.
    """
    grid = (outputs.shape[2], outputs.shape[3])
    anchors = anchor_centres(grid, outputs.device).reshape(-1, 2)
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # in full precision under autocast
    cells = outputs.flatten(2).transpose(1, 2)  # (b, gy * gx, 3)
    is_particle = torch.zeros(cells.shape[:2], device=outputs.device)
    distance = outputs.new_zeros(())
    pairs, lost = 0, 0
    for image, centres in enumerate(particles):
        matches = match_anchors(centres, grid, box_px, config.iou_threshold)
        is_particle[image, matches.anchors] = 1
        predicted = decode_offsets(cells[image, matches.anchors, :2], anchors[matches.anchors])
        distance = distance + (predicted - centres[matches.particles]).abs().sum()
        pairs += len(matches.anchors)
        lost += matches.lost
    classification = focal_loss(cells[:, :, 2], is_particle, config.alpha, config.gamma)
    return DetectionLoss(
        localisation=distance / CELL_PX / max(1, pairs),
        classification=classification / max(1, pairs),
        particles=sum(map(len, particles)),
        lost=lost,
    )
