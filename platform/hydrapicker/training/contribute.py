"""A head for one more dataset: trunk and generic head stay frozen, the new head starts from one that is there."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import from_any_folder
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.store.labelled import Labelled
from hydrapicker.store.layout import SPLITS
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.adoption import adopt_where_none_is
from hydrapicker.training.config import LoopConfig, StageConfig, check_run
from hydrapicker.training.initial import registered_weights
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.run import run_recipe
from hydrapicker.training.train import check_datasets, identity, open_datasets, tracked
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import GENERIC, NetworkConfig
from hydrapicker_registry.names import parse_head_reference, validate_dataset_name
from hydrapicker_registry.registry import HeadRegistry, LoadedHead

if TYPE_CHECKING:
    from hydrapicker.training.registration import RegisteredHead

Say = Callable[[str], None]

NEAREST = "nearest"


@dataclass(frozen=True)
class ContributeConfig:
    """A contribution: one dataset gets a head on the registry's trunk.

    Attributes:
        dataset: Name of the dataset, and of the head; it is in the store already unless micrographs are given.
        labelled: Micrographs and picks to ingest first.
        init: Head to start from: generic, a head's name, or nearest for the one that does best on the dataset's
            training and validation micrographs.
        private: Send only the head: no picture, no name of a file or place and no dataset goes to the registry.
        run_name: Name of the run; the same name continues it. Empty: made from the config and the dataset.
        loss: Weights of the losses.
        augmentation: Crops and their rotations.
        stage: Length, optimiser and learning rate. An epoch has the same number of steps for a few micrographs as for
            thousands (--loop.epoch-steps); each is validated, and an interrupted contribution goes on from the last.
        loop: Minibatches, workers, seed; a batch is never larger than the number of training micrographs.
        streaming: How micrographs are shuffled and read.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        runs: Folder or s3:// URL for checkpoints; on a cluster one that every node sees.
        contributor: Author put on record in the registry.
    """

    dataset: Positional[str]
    labelled: Annotated[Labelled, OmitArgPrefixes] = field(default_factory=Labelled)
    init: str = GENERIC
    private: bool = False
    run_name: str = ""
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=lambda: AugmentationConfig(crop_px=256))
    # 40 steps left a head where the generic one was, 200 did not; at a rate of 3e-4 they got less far than at 1e-3.
    stage: StageConfig = field(default_factory=lambda: StageConfig(epochs=20, optimiser="adam", learning_rate=1e-3))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(minibatches_per_step=1, epoch_steps=10))
    streaming: StreamingConfig = field(default_factory=StreamingConfig)
    store: str | None = None
    runs: str = "hydrapicker-data/runs"
    contributor: str = ""

    def __post_init__(self) -> None:
        check_run(self.run_name, self.runs)
        parse_head_reference(self.init)
        if self.stage.epochs == 0:
            raise InvalidInputError("a head is trained for at least one epoch: give --stage.epochs 1 or more")

    def on_record(self) -> "ContributeConfig":
        """The config as it leaves this machine: of a private contribution without files and places."""
        if not self.private:
            return self
        streaming = replace(self.streaming, cache=None)
        return replace(self, labelled=Labelled(), streaming=streaming, store=None, runs=ContributeConfig.runs)


def contribute(config: ContributeConfig, say: Say = print) -> "RegisteredHead":
    """Train a head for a dataset on the frozen trunk of the champion generic head, and register it.

    A registry without any generic head gets the one shipped with HydraPicker first, with its trunk.

    It is registered as challenger, and becomes champion past the gate: see :mod:`hydrapicker.training.gate`.
    Run again with the same config it continues where it stopped.

    Raises:
        DatasetNotFoundError: When the dataset is not in the store, and no micrographs are given.
        HeadNotFoundError: When the registry has no champion among its generic heads, or not the head to start from.
        NotPermittedError: When it has no generic head, and the shipped one may not be registered by this login.
        InvalidInputError: When the dataset was prepared for another trunk.
    """
    dataset, generic = _dataset_and_trunk(config, say)
    batch = min(config.loop.batch_size, max(1, len(dataset.split("train"))))
    if batch < config.loop.batch_size:
        say(f"minibatches of {batch} instead of {config.loop.batch_size}, as there are no more training micrographs")
    config = replace(config, loop=replace(config.loop, batch_size=batch))
    check_datasets({dataset.name: dataset}, config.loop, needed=("train",))
    if not len(dataset.split("val")):
        say("no validation micrographs: the last weights are taken, with a threshold found on the training micrographs")
    first = _first_head(config, dataset, generic, say)
    config = replace(config, init=first.version.dataset)
    return _train(config, dataset, generic, first, say)


def _dataset_and_trunk(config: ContributeConfig, say: Say) -> tuple[Dataset, LoadedHead]:
    retry = RetryBudget(config.streaming.retry_seconds)
    if config.labelled:
        validate_dataset_name(config.dataset)
        generic = _generic(say)  # what can be refused is refused before anything is ingested
        say(f"ingesting {config.dataset}")
        config.labelled.ingest(config.dataset, config.store, generic.trunk.metadata.input.box_px)
        dataset = open_datasets((config.dataset,), config.store, retry)[config.dataset]
    else:
        dataset = open_datasets((config.dataset,), config.store, retry)[config.dataset]
        generic = _generic(say)
    box_px = generic.trunk.metadata.input.box_px
    if dataset.box_px != box_px:
        raise InvalidInputError(
            f"dataset {dataset.name} has boxes of {dataset.box_px} px and the trunk takes {box_px} px: ingest it with "
            f"--box-px {box_px}"
        )
    counts = (f"{len(dataset.split(split))} {split}" for split in SPLITS)
    say(f"{dataset.name} {dataset.version}: {', '.join(counts)} micrographs")
    return dataset, generic


def _generic(say: Say) -> LoadedHead:
    """The registry's generic head: in a registry that has none, the shipped one, which is registered by this."""
    adopt_where_none_is(say)
    return HeadRegistry().load(GENERIC)


def _first_head(config: ContributeConfig, dataset: Dataset, generic: LoadedHead, say: Say) -> LoadedHead:
    """The head that training starts from."""
    if config.init == GENERIC:
        return generic
    if config.init == NEAREST:
        from hydrapicker.evaluation.suggest import few_rows, rank_heads

        # Not the dataset's own head: what the same command registered would be what it then starts from.
        ranking = rank_heads(HeadRegistry(), generic, dataset, few_rows(dataset), without=dataset.name)
        best = ranking.suggestions[0]
        say(f"starts from head {best.head.dataset}, AP {best.ap:.3f} on {best.micrographs} micrographs")
        return generic if best.head == generic.version else HeadRegistry().load(best.head.dataset, best.head.version)
    first = HeadRegistry().load(config.init)
    if first.trunk.sha256 != generic.trunk.sha256:
        raise InvalidInputError(
            f"head {config.init} belongs to trunk version {first.version.trunk_version}, and new heads to version "
            f"{generic.version.trunk_version}: give --init generic, or rebase it first"
        )
    return first


def _train(
    config: ContributeConfig, dataset: Dataset, generic: LoadedHead, first: LoadedHead, say: Say
) -> "RegisteredHead":
    recipe = contribution_recipe(config, dataset, generic, first)
    with tracked(recipe, config.on_record(), config.runs, say, files=not config.private) as (tracker, on_record):
        trained = run_recipe(recipe, config.runs, on_record)
        tracker.log_history(trained.history)
        from hydrapicker.evaluation.figures import learning_curves
        from hydrapicker.training.registration import Origin
        from hydrapicker.training.submission import submit
        from hydrapicker_core.network import MultiHeadNetwork, load_weights

        network = MultiHeadNetwork(recipe.network, [dataset.name])
        load_weights(network, trained.weights, f"the last checkpoint of run {recipe.run_name!r}")
        if not config.private:
            tracker.run.log_file("curves/learning.png", learning_curves(trained.history))
        origin = Origin.of(tracker.run, config.on_record(), dataset.box_px, dataset.contrast)
        return submit(network, dataset, generic, tracker.run, origin, not config.private, say)


def contribution_recipe(config: ContributeConfig, dataset: Dataset, generic: LoadedHead, first: LoadedHead) -> Recipe:
    """What a contribution trains: one head from `first`, tied to the generic head, on a trunk that stays as it is."""
    on = f"{generic.trunk.sha256} {generic.head.sha256} {first.head.sha256}"
    key = sha256(f"{identity(config, {dataset.name: dataset})} {on}".encode()).hexdigest()
    network = NetworkConfig(**generic.head.metadata.architecture)  # type: ignore[arg-type]  # checked when built
    return Recipe(
        run_name=config.run_name or f"contribute-{key[:8]}",
        identity=key,
        phases=(Phase("contribution", config.stage, heads=(dataset.name,), frozen=True),),
        datasets={dataset.name: dataset.version},
        fingerprints={dataset.name: dataset.fingerprint},
        network=network,
        loss=config.loss,
        augmentation=config.augmentation,
        loop=config.loop,
        streaming=config.streaming.from_any_folder(),
        store=from_any_folder(config.store),
        box_px=dataset.box_px,
        initial=registered_weights(network, generic, {dataset.name: first}),
        initial_heads=(dataset.name,),
    )
