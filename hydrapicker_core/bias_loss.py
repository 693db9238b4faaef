"""The loss that ties every dataset's head to the generic head (paper, equation 4), and its gradient in closed form.

It is all that ever trains the generic head. Three forms, each a mean over the N heads:

- ``per-head``, the paper's: ``l_bias = (1/N) sum_k ||W_k - W_G||_2``, one norm, not squared, over all of a head's
  weights.
- ``per-tensor``, the authors' code's: ``(1/N) sum_k sum_t ||W_kt - W_Gt||_2``, a norm for every weight tensor t. (They
  sum over heads instead of averaging: their lambda_bias is N times smaller.)
- ``squared``: ``(1/N) sum_k ||W_k - W_G||_2^2``, which pulls the harder the further a head has gone.

The gradient, ``(W_k - W_G) / (N ||W_k - W_G||)`` for head k in the paper's form and minus the sum of those for the
generic head, needs no backward pass and is the same on every rank, so it never travels.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Literal

import torch
from torch import Tensor

Weights = Sequence[Tensor]
"""The parameters of one head, in the order of ``head.parameters()``."""

BiasForm = Literal["per-head", "per-tensor", "squared"]


def bias_loss(heads: Sequence[Weights], generic: Weights, form: BiasForm = "per-head") -> Tensor:
    """``l_bias`` of N heads, 0 for none; differentiable, though where a norm is 0 its gradient is taken to be 0."""
    if not heads:
        return torch.zeros((), device=generic[0].device)
    if form == "per-tensor":
        return torch.stack([_tensor_norms(head, generic).sum() for head in heads]).mean()
    distances = _distances(heads, generic)
    return distances.square().mean() if form == "squared" else distances.mean()


@torch.no_grad()
def head_distances(heads: Sequence[Weights], generic: Weights) -> list[float]:
    """``||W_k - W_G||_2`` of every head."""
    distances: list[float] = _distances(heads, generic).tolist() if heads else []
    return distances


@torch.no_grad()
def add_bias_gradient(
    heads: Sequence[Weights], generic: Weights, lambda_bias: float, form: BiasForm = "per-head"
) -> None:
    """Add the gradient of ``lambda_bias * l_bias`` to the ``.grad`` of every head's parameters and the generic head's.

    Where a norm is 0 it has no gradient; 0, the smallest of its subgradients, is taken. Parameters without a gradient
    get one, which lies in memory as they do. Never waits for a GPU.
    """
    if not heads or lambda_bias == 0:
        return
    parameters = list(chain.from_iterable(heads))
    # All heads in one go. They turn into the gradients in place: most heads have no other, as no minibatch came by.
    gradients = list(torch._foreach_sub(parameters, [*generic] * len(heads)))
    of_heads = [gradients[i : i + len(generic)] for i in range(0, len(gradients), len(generic))]
    towards_generic = [torch.zeros_like(parameter) for parameter in generic]
    for gradient, factor in zip(of_heads, _factors(of_heads, lambda_bias / len(heads), form), strict=True):
        torch._foreach_mul_(gradient, factor)  # type: ignore[call-overload]  # each of the three fits an overload
        torch._foreach_sub_(towards_generic, gradient)
    _add([*parameters, *generic], [*gradients, *towards_generic])


def _factors(
    differences: Sequence[Weights], weight: float, form: BiasForm
) -> Sequence[float] | Sequence[Tensor] | Sequence[Sequence[Tensor]]:
    """What turns the differences of each head into its gradient: a number for all its tensors, or one for each."""
    if form == "squared":
        return [2 * weight] * len(differences)
    norms = torch.stack(torch._foreach_norm(list(chain.from_iterable(differences)))).view(len(differences), -1)
    if form == "per-head":
        norms = torch.linalg.vector_norm(norms, dim=1)
    # 1/0 becomes 0 on the device itself: asking for the value would make a GPU wait.
    factors = torch.where(norms > 0, weight / norms, 0.0).unbind()
    return factors if form == "per-head" else [factor.unbind() for factor in factors]


def _add(parameters: Weights, gradients: Weights) -> None:
    there, added = [], []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            there.append(parameter.grad)
            added.append(gradient)
    if there:
        torch._foreach_add_(there, added)


def _tensor_norms(head: Weights, generic: Weights) -> Tensor:
    return torch.stack(torch._foreach_norm(torch._foreach_sub(list(head), list(generic))))


def _distances(heads: Sequence[Weights], generic: Weights) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(_tensor_norms(head, generic)) for head in heads])
