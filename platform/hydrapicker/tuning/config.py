"""What a search can be told; the trainings that it starts are told by the tree of a training."""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, get_args

import tyro

from hydrapicker.errors import InvalidInputError
from hydrapicker.training import config as training
from hydrapicker.training.config import TrainConfig
from hydrapicker_core.bias_loss import BiasForm
from hydrapicker_core.network import NetworkConfig

Range = tuple[float, float]
"""Lowest and highest value, between which proposals are uniform in the logarithm."""


@dataclass(frozen=True)
class SearchConfig:
    """What is varied from trial to trial; all else is the same for all of them.

    Attributes:
        lambda_bias: Lowest and highest weight of the bias loss; 0 is always tried as well.
        lambda_cls: Lowest and highest weight of the classification loss in stage 2; None: --loss.lambda-cls.
        learning_rate: Lowest and highest learning rate of stage 2; None: --stage2.learning-rate.
        widths: Widths of the network, each with a stage 1 of its own; none: --network.width.
        bias_forms: Forms of the bias loss; none: --loss.bias-form.
    """

    lambda_bias: Range = (0.01, 10.0)
    lambda_cls: Range | None = None
    learning_rate: Range | None = None
    widths: tuple[int, ...] = ()
    bias_forms: tuple[BiasForm, ...] = ()

    def __post_init__(self) -> None:
        for name in ("lambda_bias", "lambda_cls", "learning_rate"):
            ends = getattr(self, name)
            if ends is not None and not 0 < ends[0] < ends[1] < math.inf:
                raise InvalidInputError(
                    f"search {name} from {ends[0]} to {ends[1]} is an empty range: give two positive numbers, the "
                    "lower one first"
                )
        for name in ("widths", "bias_forms"):
            choices = getattr(self, name)
            if len(set(choices)) < len(choices):
                raise InvalidInputError(f"search {name} names one twice: give each once")
        for width in self.widths:
            NetworkConfig(width=width)  # refuses what is no width
        for form in self.bias_forms:
            if form not in get_args(BiasForm):
                raise InvalidInputError(f"search bias_forms: {form!r} is none of {', '.join(get_args(BiasForm))}")


@dataclass(frozen=True)
class TuneConfig:
    """A search for the lambda_bias with which the generic head picks datasets best that it was never trained on.

    Attributes:
        targets: Datasets that judge the generic head, by their val and test micrographs; never trained on.
        trials: How many trainings of stage 2 are tried; the first has lambda_bias 0.
        grace_epochs: Epochs of stage 2 after which a trial may be stopped early, as others were better by then.
        reduction_factor: Of the trials at such a point about one in so many goes on; the next is so many times later.
        cpus_per_trial: Cores, and threads, of each trial; as many trials run at once as there are cores for.
        search: What is varied.
        train: The training that is tried: its sources, and all that trials share. Its run name is the search's.
    """

    targets: tuple[str, ...] = ()
    trials: int = 16
    grace_epochs: int = 30
    reduction_factor: int = 3
    cpus_per_trial: int = 1
    search: SearchConfig = field(default_factory=SearchConfig)
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.trials < 2:
            raise InvalidInputError(
                f"trials {self.trials} compare nothing: give at least 2, of which one is lambda_bias 0"
            )
        if self.reduction_factor < 2:
            raise InvalidInputError(f"reduction_factor {self.reduction_factor} is less than 2: give 3")
        if self.cpus_per_trial < 1:
            raise InvalidInputError(f"cpus_per_trial {self.cpus_per_trial} is not positive: give at least 1")
        if not 1 <= self.grace_epochs <= self.train.stage2.epochs:
            raise InvalidInputError(
                f"grace_epochs {self.grace_epochs} is not between 1 and the {self.train.stage2.epochs} epochs of "
                f"stage 2: give --grace-epochs {self.train.stage2.epochs} to stop no trial early"
            )
        if "://" in self.train.runs:
            raise InvalidInputError(
                f"runs {self.train.runs!r} is a URL: give a folder to a search, on a cluster one that every node sees"
            )
        if self.train.init:
            raise InvalidInputError("a search trains its own stage 1, once for every width: leave --init out")
        for name in self.targets:
            if name in self.train.datasets:
                raise InvalidInputError(f"dataset {name} is both a source and a target: leave it out of one of the two")


def paper() -> TuneConfig:
    """A search around the paper's numbers."""
    return TuneConfig(train=training.paper())


def demo() -> TuneConfig:
    """A search that ends in minutes on two cores."""
    train = training.demo()
    return TuneConfig(trials=10, grace_epochs=10, train=replace(train, stage2=replace(train.stage2, epochs=25)))


PRESETS = {"demo": demo, "paper": paper}
"""Whole configs by name, as those of a training."""
