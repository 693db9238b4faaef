"""What a training run can be told; the command line, the YAML file and the MLflow parameters are this one tree."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from hydrapicker.cores import available_cores
from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig
from hydrapicker_registry.names import parse_head_reference, validate_dataset_name


@dataclass(frozen=True)
class StageConfig:
    """One stage of training.

    Attributes:
        epochs: How many times every training micrograph is seen, or how many times --loop.epoch-steps are taken.
        optimiser: adam, or sgd with momentum.
        learning_rate: At the start of every cosine cycle.
        momentum: Of sgd; adam does not use it.
        restart_epochs: Length of a cosine cycle, after which the rate restarts; 0 for one cycle over the stage.
        clip_norm: Norm that a larger gradient of the data is scaled down to, before the bias loss's is added; 0: none.
        warmup_steps: Steps over which the rate rises from 0 when the stage begins: adam's first steps, taken before it
            knows the gradients' size, are as long as its rate and undo what good weights know.
    """

    epochs: int
    optimiser: Literal["adam", "sgd"]
    learning_rate: float
    momentum: float = 0.9
    restart_epochs: int = 0
    clip_norm: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise InvalidInputError(f"epochs {self.epochs} is negative: give 0 to leave the stage out")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(f"learning_rate {self.learning_rate} is not positive: give 1e-3")
        if not 0 <= self.momentum < 1:
            raise InvalidInputError(f"momentum {self.momentum} is not in [0, 1): give 0.9")
        if self.restart_epochs < 0:
            raise InvalidInputError(f"restart_epochs {self.restart_epochs} is negative: give 0 for one cycle")
        if not 0 <= self.clip_norm < math.inf:
            raise InvalidInputError(f"clip_norm {self.clip_norm} is not a number of at least 0: give 0 for no clipping")
        if self.warmup_steps < 0:
            raise InvalidInputError(f"warmup_steps {self.warmup_steps} is negative: give 0 for none")


@dataclass(frozen=True)
class LoopConfig:
    """How minibatches are made, shared out and watched.

    Attributes:
        batch_size: Crops in a minibatch; all come from one dataset.
        minibatches_per_step: Minibatches averaged in one optimiser step, shared out over the workers.
        epoch_steps: Optimiser steps in an epoch, however many micrographs there are: the next epoch goes on in the
            data where this one ends; 0: every training micrograph is seen once in an epoch.
        workers: Processes that train together; MIN:MAX for as many of them as the cluster has room for at any time.
        cpus_per_worker: Cores, and threads, of each worker; 0 shares this machine's cores out evenly.
        gpu: Whether each worker gets a GPU; asking for one that is not there is an error, never a silent CPU run.
        precision: float32, or bfloat16 autocast.
        compile: Whether steps run compiled (torch.compile): takes a C++ compiler, and a minute or so at the start.
        seed: Of everything random.
        validate_every: Epochs between two validations; the last epoch of a stage is always validated.
        features_gib: Memory of each worker, on the device it computes on, for the trunk's features of validation
            micrographs while the trunk is frozen; what does not fit is computed again for every validation.
        max_failures: How often workers that died are started again from the last checkpoint.
        keep_checkpoints: How many of the last checkpoints stay; each holds the best weights so far besides its own.
    """

    batch_size: int = 4
    minibatches_per_step: int = 8
    epoch_steps: int = 0
    workers: int | str = 1
    cpus_per_worker: int = 0
    gpu: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    seed: int = 0
    validate_every: int = 1
    features_gib: float = 2.0
    max_failures: int = 3
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in ("cpus_per_worker", "max_failures", "epoch_steps", "features_gib"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} {getattr(self, name)} cannot be: give 0 or more")
        for name in ("batch_size", "minibatches_per_step", "validate_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} {getattr(self, name)} is not positive: give at least 1")
        fewest, most = self.worker_range
        if fewest == most and self.minibatches_per_step % most:
            raise InvalidInputError(
                f"minibatches_per_step {self.minibatches_per_step} cannot be shared evenly by {most} workers: "
                f"give a multiple of {most}"
            )
        if self.minibatches_per_step < most:  # between the two, shares may be uneven
            raise InvalidInputError(
                f"minibatches_per_step {self.minibatches_per_step} leaves some of {most} workers nothing to do: "
                f"give at least {most}"
            )

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers; both the same unless workers come and go."""
        found = re.fullmatch(r"(\d+)(?::(\d+))?", str(self.workers))
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= fewest <= most:
            raise InvalidInputError(f"workers {self.workers!r} is neither a count nor MIN:MAX: give 2, or 1:4")
        return fewest, most

    @property
    def threads(self) -> int:
        """Cores of each worker, shared out where none were given."""
        return self.cpus_per_worker or max(1, available_cores() // self.worker_range[1])


@dataclass(frozen=True)
class TrainConfig:
    """A multi-head training: stage 1 trains one head on all datasets, stage 2 all heads from that one.

    Attributes:
        datasets: Names of the source datasets in the store.
        run_name: Name of the run; the same name continues it. Empty: made from the config and the datasets.
        network: Size of the network.
        loss: Weights of the losses.
        augmentation: Crops and their rotations.
        init: Model of the registry to start from, trunk and head: generic, or NAME@VERSION; empty: random weights.
        stage1: One head on all datasets.
        stage2: All heads, tied to the generic head by the bias loss; without epochs the network keeps its single head,
            which is registered as the generic one.
        loop: Minibatches, workers, seed.
        streaming: How an epoch is shared out among the datasets, and how micrographs are read.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        runs: Folder or s3:// URL for checkpoints; on a cluster one that every node sees.
        contributor: Author put on record in the registry.
    """

    datasets: tuple[str, ...] = ()
    run_name: str = ""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    init: str = ""
    stage1: StageConfig = field(
        default_factory=lambda: StageConfig(epochs=5000, optimiser="adam", learning_rate=1e-3, restart_epochs=40)
    )
    # Sgd's step is as long as the gradient, whose norm is 2 to 3 in the demo while all is well and up to 14 while a
    # head loses what it had learnt: twice the former shortens little but the latter. Adam's step has its own length.
    stage2: StageConfig = field(
        default_factory=lambda: StageConfig(epochs=100, optimiser="sgd", learning_rate=5e-4, clip_norm=5.0)
    )
    loop: LoopConfig = field(default_factory=LoopConfig)
    streaming: StreamingConfig = field(default_factory=StreamingConfig)
    store: str | None = None
    runs: str = "hydrapicker-data/runs"
    contributor: str = ""

    def __post_init__(self) -> None:
        check_run(self.run_name, self.runs)
        if self.init:
            parse_head_reference(self.init)
        if self.stage1.epochs == self.stage2.epochs == 0:
            raise InvalidInputError("neither stage has any epochs: give --stage1.epochs at least 1")


def check_run(run_name: str, runs: str) -> None:
    """Refuse a run's name that is no plain name, and a place for runs that is neither a folder nor in S3."""
    if run_name:
        validate_dataset_name(run_name)  # a run's name becomes a folder's, as a dataset's does
    if "://" in runs and not runs.startswith(("s3://", "s3a://", "file://")):
        raise InvalidInputError(f"runs {runs!r} is no place for checkpoints: give a folder or s3://bucket/prefix")


def paper() -> TrainConfig:
    """The paper's numbers (section 3.3): width 64, 368 x 368 crops, minibatches of 4, 5000 and 100 epochs."""
    return TrainConfig(loop=LoopConfig(validate_every=10))


def demo() -> TrainConfig:
    """A small network that learns in minutes on two cores."""
    return TrainConfig(
        network=NetworkConfig(width=12, dropout=0.1),
        augmentation=AugmentationConfig(crop_px=256),
        stage1=StageConfig(epochs=55, optimiser="adam", learning_rate=1e-3),
        stage2=replace(TrainConfig().stage2, epochs=45),
        loop=LoopConfig(minibatches_per_step=2, workers=2, validate_every=5),
    )


PRESETS = {"demo": demo, "paper": paper}
"""Whole configs by name; any field can still be overridden."""
