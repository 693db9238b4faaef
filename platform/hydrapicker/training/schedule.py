"""Learning rate as a pure function of the position in a stage."""

import math

from hydrapicker.training.config import StageConfig


def learning_rate(stage: StageConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Cosine annealing with warm restarts (SGDR): from ``stage.learning_rate`` towards 0, again in every cycle."""
    cycle = stage.restart_epochs or stage.epochs
    into = (epoch % cycle + step / steps_per_epoch) / cycle
    return 0.5 * stage.learning_rate * (1 + math.cos(math.pi * into))
