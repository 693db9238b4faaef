"""One optimiser step: forward and backward of this rank's minibatches, gradients averaged, the bias gradient added.

The trunk's gradients are averaged by DDP. Of the heads, only those touched in this step by any rank are averaged: every
rank knows which, since the plan is a pure function. The bias gradient is known in closed form on every rank and never
travels. So a step's network traffic does not grow with the number of heads.

What is clipped is the averaged gradient of the data, before the bias gradient joins it: one wild minibatch must not
weaken the tie between the heads, and the tie, which is never wild, must not use up the minibatches' share.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.loader import Batch
from hydrapicker.training.compilation import compiled
from hydrapicker_core.bias_loss import BiasGradient
from hydrapicker_core.losses import DetectionLoss, LossConfig, detection_loss
from hydrapicker_core.network import CELL_PX, Head, MultiHeadNetwork


@dataclass(frozen=True, eq=False)
class StepResult:
    """What a step tells of itself; reading the numbers waits for the device.

    Attributes:
        losses: Of this rank's minibatches.
        gradient_norm: Of the data's gradient, averaged over the step's minibatches, before it was clipped; over the
            trunk and the heads touched, and the same on every rank.
        bytes_averaged: Of gradients that this rank handed over to be averaged with the other ranks'.
    """

    losses: list[DetectionLoss]
    gradient_norm: Tensor
    bytes_averaged: int


@dataclass(frozen=True, eq=False)
class Step:
    """How steps of one phase are taken.

    Attributes:
        network: Trunk and heads.
        trunk: The network's trunk, compiled where `compile` is set, wrapped in DDP where several ranks train it.
        optimiser: Over the parameters that learn.
        loss: Weights of the losses.
        box_px: Side of a particle's box.
        world: Number of ranks.
        autocast: Whether forward passes run in bfloat16.
        clip_norm: Norm that the data's gradient is scaled down to where it is larger; 0 leaves it as it is.
        compile: Whether the heads are compiled too: once for all of them.
    """

    network: MultiHeadNetwork
    trunk: nn.Module
    optimiser: torch.optim.Optimizer
    loss: LossConfig
    box_px: int
    world: int
    autocast: bool
    clip_norm: float = 0.0
    compile: bool = False

    def take(
        self,
        batches: Sequence[Batch],
        heads: Sequence[str],
        touched: Sequence[str],
        minibatches: int,
        seeds: Sequence[int],
    ) -> StepResult:
        """Take one step.

        Args:
            batches: This rank's minibatches; may be none in an epoch's last step.
            heads: For each, the head it goes through.
            touched: Heads that any rank's minibatches of this step go through, in an order all ranks share.
            minibatches: Minibatches of this step over all ranks, by which the gradient is averaged.
            seeds: Of dropout, one for each of this rank's minibatches.
        """
        self.network.zero_grad(set_to_none=True)
        losses = []
        for batch, head, seed in zip(batches, heads, seeds, strict=True):
            torch.manual_seed(seed)
            with self._synchronised(last=batch is batches[-1]):
                loss = self._forward(batch, head)
                # DDP divides by the number of ranks; the step's mean is over its minibatches.
                torch.autograd.backward(loss.total(self.loss) * (self.world / minibatches))
            losses.append(loss)
        if not batches:
            self._idle()
        averaged = self._trunk_bytes + self._average_heads(touched)
        norm = self._clip(touched)
        self._bias_gradient.add()
        self.optimiser.step()
        return StepResult(losses, norm, averaged)

    def _forward(self, batch: Batch, head: str) -> DetectionLoss:
        device = next(self.network.parameters()).device
        images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
            output = self._apply_head(self.network.head(head), self.trunk(images))
        return detection_loss(output, [xy.to(device) for xy in batch.particles], self.box_px, self.loss)

    def _synchronised(self, *, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.trunk, DistributedDataParallel) and not last:
            return self.trunk.no_sync()
        return nullcontext()

    def _idle(self) -> None:
        # DDP needs a backward pass of every rank in every step.
        if isinstance(self.trunk, DistributedDataParallel):
            parameter = next(self.network.parameters())
            image = torch.zeros(1, 1, CELL_PX, CELL_PX, device=parameter.device, dtype=parameter.dtype)
            # An image of this size is worth no compilation.
            with torch.compiler.set_stance("force_eager") if self.compile else nullcontext():
                torch.autograd.backward(self.trunk(image).sum() * 0)

    def _average_heads(self, touched: Sequence[str]) -> int:
        """Average the gradients of the heads touched, and return how many bytes they are."""
        if self.world == 1:
            return 0
        gradients = []
        for parameter in (p for name in touched for p in self.network.head(name).parameters()):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            # Copied, not viewed: a gradient must lie in memory as its weights do, or the fused optimiser mixes them up.
            gradient.copy_(part.view_as(gradient))
        return flat.nbytes

    def _clip(self, touched: Sequence[str]) -> Tensor:
        """Clip the data's gradient, equal on all ranks by now, and return the norm it had."""
        modules = [self.network.trunk, *(self.network.head(name) for name in touched)]
        parameters = [p for module in modules for p in module.parameters() if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_norm > 0:
            clip_grads_with_norm_(parameters, self.clip_norm, norm)
        return norm

    @cached_property
    def _apply_head(self) -> Callable[[Head, Tensor], Tensor]:
        return compiled(_apply) if self.compile else _apply

    @cached_property
    def _trunk_bytes(self) -> int:
        if not isinstance(self.trunk, DistributedDataParallel):
            return 0
        return sum(p.nbytes for p in self.trunk.parameters() if p.requires_grad)

    @cached_property
    def _bias_gradient(self) -> BiasGradient:
        # Gathered once: walking through the modules of all heads in every step would be time that grows with them.
        heads = [list(head.parameters()) for head in self.network.dataset_heads()]
        generic = list(self.network.generic.parameters())
        return BiasGradient(heads, generic, self.loss.lambda_bias, self.loss.bias_form)


def _apply(head: Head, features: Tensor) -> Tensor:
    return head(features)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def finite_norms(norms: Sequence[Tensor]) -> list[float]:
    """Gradient norms of several steps as numbers, with one wait for the device; to be called before weights are saved.

    Raises:
        InvalidInputError: When one of them is infinite or not a number: the weights are useless from that step on.
    """
    values: list[float] = torch.stack(list(norms)).tolist() if norms else []
    if not all(map(math.isfinite, values)):
        raise InvalidInputError("the gradient is no finite number any more: give a smaller learning rate")
    return values
