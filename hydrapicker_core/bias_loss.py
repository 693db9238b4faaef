"""The loss that ties every dataset's head to the generic head (paper, equation 4), and its gradient in closed form.

``l_bias = (1/N) sum_k ||W_k - W_G||_2``: one norm, not squared, over all of a head's weights. It is all that ever
trains the generic head. Its gradient, ``(W_k - W_G) / (N ||W_k - W_G||)`` for head k and minus the sum of those for
the generic head, needs no backward pass and is the same on every rank, so it never travels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Weights = Sequence[Tensor]
"""The parameters of one head, in the order of ``head.parameters()``."""


def bias_loss(heads: Sequence[Weights], generic: Weights) -> Tensor:
    """``l_bias`` of N heads, 0 for none; differentiable except where a head equals the generic head."""
    if not heads:
        return torch.zeros((), device=generic[0].device)
    return torch.stack([_distance(head, generic)[1] for head in heads]).mean()


@torch.no_grad()
def head_distances(heads: Sequence[Weights], generic: Weights) -> list[float]:
    """``||W_k - W_G||_2`` of every head."""
    return [float(_distance(head, generic)[1]) for head in heads]


@torch.no_grad()
def add_bias_gradient(heads: Sequence[Weights], generic: Weights, lambda_bias: float) -> None:
    """Add the gradient of ``lambda_bias * l_bias`` to the ``.grad`` of every head's parameters and the generic head's.

    Where a head equals the generic head the norm has no gradient; 0, the smallest of its subgradients, is taken.
    Parameters without a gradient get one.
    """
    if not heads or lambda_bias == 0:
        return
    generic_gradients = _gradients(generic)
    for head in heads:
        difference, distance = _distance(head, generic)
        # 1/0 becomes 0 on the device itself: asking for the value would make a GPU wait.
        scale = torch.where(distance > 0, lambda_bias / (len(heads) * distance), 0.0)
        torch._foreach_mul_(difference, scale)
        torch._foreach_add_(_gradients(head), difference)
        torch._foreach_sub_(generic_gradients, difference)


def _distance(head: Weights, generic: Weights) -> tuple[list[Tensor], Tensor]:
    difference = list(torch._foreach_sub(list(head), list(generic)))
    norms = torch._foreach_norm(difference)
    return difference, torch.linalg.vector_norm(torch.stack(list(norms)))


def _gradients(weights: Weights) -> list[Tensor]:
    for parameter in weights:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in weights if parameter.grad is not None]
