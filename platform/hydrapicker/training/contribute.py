"""A head for one more dataset: trunk and generic head stay frozen, the new head starts from the generic one."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from tyro.conf import Positional

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import from_any_folder
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig, check_run
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.run import run_recipe
from hydrapicker.training.train import check_datasets, identity, open_datasets, tracked
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import GENERIC, NetworkConfig
from hydrapicker_registry.registry import HeadRegistry, LoadedHead

if TYPE_CHECKING:
    from hydrapicker.training.registration import RegisteredHead


@dataclass(frozen=True)
class ContributeConfig:
    """A contribution: one dataset in the store gets a head on the registry's trunk.

    Attributes:
        dataset: Name of the dataset in the store, and of the head.
        run_name: Name of the run; the same name continues it. Empty: made from the config and the dataset.
        loss: Weights of the losses.
        augmentation: Crops and their rotations.
        stage: Epochs, optimiser and learning rate.
        loop: Minibatches, workers, seed.
        streaming: How micrographs are shuffled and read.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        runs: Folder or s3:// URL for checkpoints; on a cluster one that every node sees.
        contributor: Author put on record in the registry.
    """

    dataset: Positional[str]
    run_name: str = ""
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=lambda: AugmentationConfig(crop_px=256))
    stage: StageConfig = field(default_factory=lambda: StageConfig(epochs=40, optimiser="adam", learning_rate=3e-4))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(minibatches_per_step=1, validate_every=5))
    streaming: StreamingConfig = field(default_factory=StreamingConfig)
    store: str | None = None
    runs: str = "hydrapicker-data/runs"
    contributor: str = ""

    def __post_init__(self) -> None:
        check_run(self.run_name, self.runs)
        if self.stage.epochs == 0:
            raise InvalidInputError("a head is trained for at least one epoch: give --stage.epochs 1 or more")


def contribute(config: ContributeConfig, say: Callable[[str], None] = print) -> "RegisteredHead":
    """Train a head for a dataset on the frozen trunk of the champion generic head, and register it.

    It is registered as challenger, and becomes champion past the gate: see :mod:`hydrapicker.training.gate`.
    Run again with the same config it continues where it stopped.

    Raises:
        DatasetNotFoundError: When the dataset is not in the store.
        HeadNotFoundError: When the registry has no generic head yet.
        InvalidInputError: When the dataset was prepared for another trunk.
    """
    datasets = open_datasets((config.dataset,), config.store, RetryBudget(config.streaming.retry_seconds))
    check_datasets(datasets, config.loop.batch_size)
    dataset = datasets[config.dataset]
    base = HeadRegistry().load(GENERIC)
    if dataset.box_px != base.trunk.metadata.input.box_px:
        raise InvalidInputError(
            f"dataset {dataset.name} has boxes of {dataset.box_px} px and the trunk takes "
            f"{base.trunk.metadata.input.box_px} px: ingest it with --box-px {base.trunk.metadata.input.box_px}"
        )
    on = f"{base.trunk.sha256} {base.head.sha256}"
    key = sha256(f"{identity(config, datasets)} {on}".encode()).hexdigest()
    recipe = Recipe(
        run_name=config.run_name or f"contribute-{key[:8]}",
        identity=key,
        phases=(Phase("contribution", config.stage, heads=(dataset.name,), frozen=True),),
        datasets={dataset.name: dataset.version},
        fingerprints={dataset.name: dataset.fingerprint},
        network=network_config(base),
        loss=config.loss,
        augmentation=config.augmentation,
        loop=config.loop,
        streaming=config.streaming.from_any_folder(),
        store=from_any_folder(config.store),
        box_px=dataset.box_px,
        initial=_initial_weights(base),
    )
    with tracked(recipe, config, say) as (tracker, on_record):
        trained = run_recipe(recipe, config.runs, on_record)
        tracker.log_history(trained.history)
        from hydrapicker.evaluation.figures import learning_curves
        from hydrapicker.training.registration import Origin
        from hydrapicker.training.submission import submit
        from hydrapicker_core.network import MultiHeadNetwork, load_weights

        network = MultiHeadNetwork(recipe.network, [dataset.name])
        load_weights(network, trained.weights, f"the last checkpoint of run {recipe.run_name!r}")
        tracker.run.log_file("curves/learning.png", learning_curves(trained.history))
        origin = Origin(
            tracker.run.run_id,
            tracker.run.started,
            asdict(config),
            config.loss.lambda_bias,
            dataset.box_px,
            dataset.contrast,
            config.contributor,
        )
        return submit(network, dataset, base, tracker.run, origin, True, say)


def network_config(loaded: LoadedHead) -> NetworkConfig:
    """The size of a loaded head's network."""
    return NetworkConfig(**loaded.head.metadata.architecture)  # type: ignore[arg-type]  # checked when it was built


def _initial_weights(base: LoadedHead) -> dict[str, object]:
    from hydrapicker_core.network import MultiHeadNetwork, load_weights

    network = MultiHeadNetwork(network_config(base))
    load_weights(network.trunk, base.trunk.weights, f"trunk version {base.version.trunk_version}")
    load_weights(network.generic, base.head.weights, f"generic head version {base.version.version}")
    return dict(network.state_dict())
