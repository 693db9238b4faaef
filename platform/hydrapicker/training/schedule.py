"""Learning rate as a pure function of the position in a stage."""

import math

from hydrapicker.training.config import StageConfig


def learning_rate(stage: StageConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Cosine annealing with warm restarts (SGDR): from ``stage.learning_rate`` towards 0, again in every cycle.

    Over the stage's first ``warmup_steps`` it is multiplied by a factor that rises linearly to 1 with the last of them.
    """
    cycle = stage.restart_epochs or stage.epochs
    into = (epoch % cycle + step / steps_per_epoch) / cycle
    cosine = 0.5 * stage.learning_rate * (1 + math.cos(math.pi * into))
    taken = epoch * steps_per_epoch + step + 1
    return cosine * min(1.0, taken / stage.warmup_steps) if stage.warmup_steps else cosine
