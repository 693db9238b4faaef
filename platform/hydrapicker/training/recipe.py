"""A training as a list of phases: what both a multi-head training and a contribution consist of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig


@dataclass(frozen=True)
class Phase:
    """One stage of a recipe.

    Attributes:
        name: Shown in logs and metrics.
        stage: Epochs, optimiser and learning rate.
        heads: Datasets that get a head of their own in this phase; empty: every minibatch goes to the generic head.
        frozen: Whether trunk and generic head stay as they are.
    """

    name: str
    stage: StageConfig
    heads: tuple[str, ...] = ()
    frozen: bool = False

    def head_for(self, dataset: str) -> str:
        """Name of the head that a dataset's minibatches go through."""
        return dataset if self.heads else "generic"


@dataclass(frozen=True, eq=False)
class Recipe:
    """Everything a worker needs to know to train.

    Attributes:
        run_name: Name of the run, of its folder and of its MLflow run.
        identity: sha256 of everything that the result depends on: a run is only continued as what it was.
        phases: Trained one after the other; each starts from the best weights of the one before.
        datasets: Name and version of every dataset.
        fingerprints: Of the datasets.
        network: Size of the network.
        loss: Weights of the losses.
        augmentation: Crops.
        loop: Minibatches, workers, seed.
        streaming: How an epoch is shared out among the datasets, and how micrographs are read.
        store: Folder or URL of the dataset store.
        box_px: Side of a particle's box in working pixels, the same for all datasets.
        initial: Weights of trunk, generic head and the heads below to start from; empty: random ones.
        initial_heads: Datasets whose heads are among these weights.
    """

    run_name: str
    identity: str
    phases: tuple[Phase, ...]
    datasets: Mapping[str, str]
    fingerprints: Mapping[str, str]
    network: NetworkConfig
    loss: LossConfig
    augmentation: AugmentationConfig
    loop: LoopConfig
    streaming: StreamingConfig
    store: str
    box_px: int
    initial: Mapping[str, Any] = field(default_factory=dict)
    initial_heads: tuple[str, ...] = ()
