"""One optimiser step: forward and backward of this rank's minibatches, gradients averaged, the bias gradient added.

The trunk's gradients are averaged by DDP. Of the heads, only those touched in this step by any rank are averaged: every
rank knows which, since the plan is a pure function. The bias gradient is known in closed form on every rank and never
travels. So a step's network traffic does not grow with the number of heads.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.streaming.loader import Batch
from hydrapicker_core.bias_loss import add_bias_gradient
from hydrapicker_core.losses import DetectionLoss, LossConfig, detection_loss
from hydrapicker_core.network import CELL_PX, MultiHeadNetwork


@dataclass(frozen=True, eq=False)
class Step:
    """How steps of one phase are taken.

    Attributes:
        network: Trunk and heads.
        trunk: The network's trunk, wrapped in DDP where several ranks train it.
        optimiser: Over the parameters that learn.
        loss: Weights of the losses.
        box_px: Side of a particle's box.
        world: Number of ranks.
        autocast: Whether forward passes run in bfloat16.
    """

    network: MultiHeadNetwork
    trunk: nn.Module
    optimiser: torch.optim.Optimizer
    loss: LossConfig
    box_px: int
    world: int
    autocast: bool

    def take(
        self,
        batches: Sequence[Batch],
        heads: Sequence[str],
        touched: Sequence[str],
        minibatches: int,
        seeds: Sequence[int],
    ) -> list[DetectionLoss]:
        """Take one step and return the losses of this rank's minibatches.

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
        self._average_heads(touched)
        self._add_bias_gradient()
        self.optimiser.step()
        return losses

    def _forward(self, batch: Batch, head: str) -> DetectionLoss:
        device = next(self.network.parameters()).device
        images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
            output = self.network.head(head)(self.trunk(images))
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
            torch.autograd.backward(self.trunk(image).sum() * 0)

    def _average_heads(self, touched: Sequence[str]) -> None:
        if self.world == 1:
            return
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

    def _add_bias_gradient(self) -> None:
        heads = [list(head.parameters()) for head in self.network.dataset_heads()]
        add_bias_gradient(heads, list(self.network.generic.parameters()), self.loss.lambda_bias)
