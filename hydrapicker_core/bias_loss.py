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


class BiasGradient:
    """The gradient of ``lambda_bias * l_bias`` in closed form, for every head and the generic head.

    Where a norm is 0 it has no gradient; 0, the smallest of its subgradients, is taken. The memory it is worked out in
    is kept from step to step: with many heads, asking for that much anew would take longer than the arithmetic.

    Args:
        heads: The datasets' heads.
        generic: The generic head.
        lambda_bias: Weight of the bias loss.
        form: Of the bias loss.
    """

    def __init__(
        self, heads: Sequence[Weights], generic: Weights, lambda_bias: float, form: BiasForm = "per-head"
    ) -> None:
        self._parameters, self._generic = list(chain.from_iterable(heads)), list(generic)
        self._heads = len(heads)
        self._weight, self._form = lambda_bias / max(1, len(heads)), form
        self._gradients: list[Tensor] = []

    @torch.no_grad()
    def add(self) -> None:
        """Add it to the ``.grad`` of all parameters, of the heads and the generic one; never waits for a GPU.

        Without weight the gradient is zero, as autograd's would be: heads that no minibatch came by still move by their
        momentum, as they do with any weight above zero.

        A parameter without a gradient gets one that lies in memory as it does, and that the next call overwrites: set
        the gradients to None in between.
        """
        if not self._heads:
            return
        if not self._gradients:
            self._gradients = [torch.empty_like(parameter) for parameter in (*self._parameters, *self._generic)]
        tensors = len(self._generic)
        differences, towards_generic = self._gradients[:-tensors], self._gradients[-tensors:]
        # All heads in one go. The differences turn into gradients in place: most heads have no other, as no minibatch
        # came by.
        torch._foreach_copy_(differences, self._parameters)
        torch._foreach_sub_(differences, self._generic * self._heads)
        torch._foreach_zero_(towards_generic)
        of_heads = [differences[i : i + tensors] for i in range(0, len(differences), tensors)]
        for gradient, factor in zip(of_heads, _factors(of_heads, self._weight, self._form), strict=True):
            torch._foreach_mul_(gradient, factor)  # type: ignore[call-overload]  # each of the three fits an overload
            torch._foreach_sub_(towards_generic, gradient)
        _add([*self._parameters, *self._generic], self._gradients)


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
        assert parameter.grad is not gradient, "set the gradients to None before every step"
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
