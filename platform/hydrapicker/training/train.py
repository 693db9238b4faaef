"""The multi-head training, from datasets in the store to trunk and heads in the registry."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import yaml

from hydrapicker import cluster
from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import from_any_folder
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.store.layout import SPLITS
from hydrapicker.store.store import Dataset, Store
from hydrapicker.training.config import LoopConfig, TrainConfig
from hydrapicker.training.folder import RunFolder
from hydrapicker.training.initial import registered_weights
from hydrapicker.training.progress import Progress
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.run import Trained, run_recipe
from hydrapicker.training.tracker import TrainingTracker
from hydrapicker_core.network import GENERIC
from hydrapicker_registry.connection import default_tracking_uri, open_client
from hydrapicker_registry.errors import RegistryError
from hydrapicker_registry.registry import HeadRegistry

if TYPE_CHECKING:
    from hydrapicker.training.registration import RegisteredHead

Say = Callable[[str], None]

# Micrographs that a contribution ingests, and the head it starts from, are in its identity by their sha256.
_NOT_IN_THE_TREE = ("run_name", "store", "runs", "contributor", "labelled", "init")
_NOT_THE_RESULT = {
    "loop": ("workers", "cpus_per_worker", "gpu", "max_failures", "keep_checkpoints", "features_gib"),
    "streaming": ("buffer_megabytes", "connections", "cache", "cache_gigabytes", "retry_seconds"),
}


def train(config: TrainConfig, say: Say = print) -> "tuple[RegisteredHead, ...]":
    """Train trunk, generic head and a head per dataset, and register them all as champions.

    Run again with the same config it continues where it stopped.

    Raises:
        InvalidInputError: For a config that cannot be trained, before any worker starts.
        DatasetNotFoundError: For a dataset that is not in the store.
        TrainingError: When the workers failed too often.
        RegistryError: When MLflow cannot be reached.
    """
    if not config.datasets:
        raise InvalidInputError("no datasets to train on: give their names with --datasets")
    datasets = open_datasets(config.datasets, config.store, RetryBudget(config.streaming.retry_seconds))
    check_datasets(datasets, config.loop)
    recipe = started_from(training_recipe(config, datasets), config)
    with tracked(recipe, config, config.runs, say) as (tracker, on_record):
        trained = run_recipe(recipe, config.runs, on_record)
        tracker.log_history(trained.history)
        return _register(recipe, config, datasets, trained, tracker, say)


def training_recipe(config: TrainConfig, datasets: Mapping[str, Dataset]) -> Recipe:
    """What a config trains on datasets of one box side: stage 1, then stage 2 unless it has no epochs."""
    key, stage2 = identity(config, datasets), Phase("stage 2", config.stage2, heads=tuple(datasets))
    return Recipe(
        run_name=_run_name(config, key),
        identity=key,
        phases=(Phase("stage 1", config.stage1), *((stage2,) if config.stage2.epochs else ())),
        datasets={name: dataset.version for name, dataset in datasets.items()},
        fingerprints={name: dataset.fingerprint for name, dataset in datasets.items()},
        network=config.network,
        loss=config.loss,
        augmentation=config.augmentation,
        loop=config.loop,
        streaming=config.streaming.from_any_folder(),
        store=from_any_folder(config.store),
        box_px=common_box(datasets),
    )


def started_from(recipe: Recipe, config: TrainConfig) -> Recipe:
    """A recipe whose network starts from a trunk and head of the registry, which all its heads are copies of at first.

    Args:
        recipe: Of a training.
        config: Of the same; its init is the head, as in `generic` (in an empty registry the one that ships) or
            `NAME@VERSION`, and without it the recipe is left as it is.

    Raises:
        HeadNotFoundError: When the registry does not have it.
        InvalidInputError: When its network is of another size, or takes boxes of another side.
    """
    if not (init := config.init):
        return recipe
    from hydrapicker_registry.shipped.fallback import load_or_shipped

    first = load_or_shipped(HeadRegistry(), init)
    there, wanted = first.head.metadata.architecture, recipe.network.as_dict()
    if differing := [f"{name} {there.get(name)}" for name, value in wanted.items() if there.get(name) != value]:
        options = " ".join(f"--network.{each.replace('_', '-')}" for each in differing)
        raise InvalidInputError(f"head {init} is of another size ({', '.join(differing)}): give {options}")
    if (box_px := first.trunk.metadata.input.box_px) != recipe.box_px:
        raise InvalidInputError(
            f"head {init} takes boxes of {box_px} px and the datasets have {recipe.box_px} px: ingest them with "
            f"--box-px {box_px}"
        )
    key = sha256(f"{recipe.identity} {first.trunk.sha256} {first.head.sha256}".encode()).hexdigest()
    initial = registered_weights(recipe.network, first, {})
    return replace(recipe, run_name=_run_name(config, key), identity=key, initial=initial)


def _run_name(config: TrainConfig, key: str) -> str:
    return config.run_name or f"train-{key[:8]}"


def _register(
    recipe: Recipe,
    config: TrainConfig,
    datasets: Mapping[str, Dataset],
    trained: Trained,
    tracker: TrainingTracker,
    say: Say,
) -> "tuple[RegisteredHead, ...]":
    from hydrapicker.evaluation.figures import learning_curves
    from hydrapicker.training.mlflow_metrics import final_metrics
    from hydrapicker.training.registration import Origin, judge_network, register_head, trunk_package
    from hydrapicker_core.network import MultiHeadNetwork, load_weights

    network = MultiHeadNetwork(config.network, recipe.phases[-1].heads)
    load_weights(network, trained.weights, f"the last checkpoint of run {recipe.run_name!r}")
    say("judging all heads on their test micrographs")
    judged = judge_network(network, datasets)
    tracker.run.log_file("curves/learning.png", learning_curves(trained.history))
    tracker.run.log_metrics(final_metrics(judged.by_dataset()))
    contrasts = {dataset.contrast for dataset in datasets.values()}
    contrast = contrasts.pop() if len(contrasts) == 1 else "dark"
    origin = Origin.of(tracker.run, config, recipe.box_px, contrast)
    trunk = trunk_package(network, datasets, origin)
    trunk_version = HeadRegistry().register_trunk(trunk, tracker.run.run_id)
    say(f"registered trunk version {trunk_version}")
    return tuple(
        register_head(
            network, name, datasets.get(name), judged, trunk.reference(trunk_version), tracker.run, origin, say
        )
        for name in (GENERIC, *network.datasets)
    )


@contextmanager
def tracked(
    recipe: Recipe, config: Any, runs: str, say: Say, files: bool = True
) -> Iterator[tuple[TrainingTracker, Callable[[dict[str, Any]], None]]]:
    """MLflow's runs around a training: config at the start, every epoch's figures, the end's status.

    Args:
        recipe: What is trained.
        config: Put on record.
        runs: Folder or URL of all runs.
        say: Told of the progress.
        files: Whether the datasets are put on record, with where they lie.
    """
    # What can be refused is refused before anything is written.
    folder = RunFolder(runs, recipe)
    folder.check()
    open_client(default_tracking_uri())
    cluster.require_here(recipe.loop.worker_range[0], recipe.loop.threads)
    cluster.connect()
    cluster.require(recipe.loop.worker_range[0], recipe.loop.threads, gpu=recipe.loop.gpu)
    tracker = TrainingTracker(recipe, type(config).__name__)
    lines = Progress(recipe)

    def on_record(record: dict[str, Any]) -> None:
        say(lines.line(record))
        tracker.log_epoch(record)

    say(f"run {recipe.run_name}")
    try:
        folder.claim()
        tracker.log_start(asdict(config), config_as_yaml(config), files)
        yield tracker, on_record
    except BaseException as error:
        with suppress(RegistryError):  # the first error is the one to tell
            tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.end()


def config_as_yaml(config: Any) -> str:
    """A config tree as YAML that can be given back with ``--config``."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def open_datasets(
    names: tuple[str, ...],
    store: str | None,
    retry: RetryBudget = RetryBudget(),  # noqa: B008 (it is frozen)
) -> dict[str, Dataset]:
    """The named datasets of a store, refusing names given twice and the generic head's."""
    if GENERIC in names:
        raise InvalidInputError(f"{GENERIC!r} is the generic head's name and no dataset's: leave it out")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"a dataset is named twice in {' '.join(names)}: give each once")
    return Store(store, retry).open_all(dict.fromkeys(names))


def common_box(datasets: Mapping[str, Dataset]) -> int:
    """The box side all datasets share."""
    sides = {dataset.box_px: name for name, dataset in datasets.items()}
    if len(sides) > 1:
        found = ", ".join(f"{name} {side} px" for side, name in sides.items())
        raise InvalidInputError(f"datasets with different boxes cannot share a trunk ({found}): ingest them with one")
    return next(iter(sides))


def check_datasets(datasets: Mapping[str, Dataset], loop: LoopConfig, needed: tuple[str, ...] = SPLITS) -> None:
    """Refuse datasets that cannot be trained on in such minibatches and epochs, or lack one of the needed splits."""
    batch_size, per_epoch = loop.batch_size, loop.epoch_steps * loop.minibatches_per_step
    if 0 < per_epoch < len(datasets):
        raise InvalidInputError(
            f"an epoch of {per_epoch} minibatches is too short for {len(datasets)} datasets: give a larger "
            "--loop.epoch-steps"
        )
    for name, dataset in datasets.items():
        for split in needed:
            if len(dataset.split(split)) == 0:
                raise InvalidInputError(f"dataset {name} has no {split} micrographs: ingest it with more micrographs")
        there = len(dataset.split("train"))
        if batch_size > there:
            raise InvalidInputError(
                f"batch_size {batch_size} is larger than dataset {name}, which has {there} train micrographs: give "
                f"--loop.batch-size {there} or less"
            )
        if not dataset.rows.particle_counts[dataset.split("train")].any():
            raise InvalidInputError(f"dataset {name} has no particles to train on: ingest it with labelled ones")


def identity(config: Any, datasets: Mapping[str, Dataset]) -> str:
    """sha256 of everything that a training's result depends on.

    Where it runs, and how many workers share the work, is not part of it.
    """
    tree = {key: value for key, value in asdict(config).items() if key not in _NOT_IN_THE_TREE}
    for part, left_out in _NOT_THE_RESULT.items():
        tree[part] = {key: value for key, value in tree[part].items() if key not in left_out}
    content = repr((tree, [(name, dataset.fingerprint) for name, dataset in datasets.items()]))
    return sha256(content.encode()).hexdigest()
