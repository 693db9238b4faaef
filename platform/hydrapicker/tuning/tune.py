"""The search for lambda_bias, from datasets in the store to the command that trains with the best value."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from hydrapicker import cluster
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import atomic_write
from hydrapicker.storage.location import from_any_folder
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.store.store import Dataset
from hydrapicker.tracking import TrackedRun
from hydrapicker.training.checkpoint import load_weights_of
from hydrapicker.training.config import TrainConfig
from hydrapicker.training.folder import RunFolder
from hydrapicker.training.recipe import Recipe
from hydrapicker.training.run import interruptible
from hydrapicker.training.train import check_datasets, config_as_yaml, open_datasets, training_recipe
from hydrapicker.tuning.command import train_command
from hydrapicker.tuning.config import TuneConfig
from hydrapicker.tuning.figure import draw_search
from hydrapicker.tuning.objective import Scores, check_targets, judge_trial
from hydrapicker.tuning.outcome import Outcome, as_csv, best_of
from hydrapicker.tuning.search import TuningError, run_search, slots
from hydrapicker.tuning.settings import searched, widths
from hydrapicker.tuning.stage1 import trained_stage1
from hydrapicker.tuning.tracking import TrialRuns
from hydrapicker.tuning.trial import TrialJob
from hydrapicker.tuning.watch import Show, Watch
from hydrapicker_registry.connection import default_tracking_uri, open_client
from hydrapicker_registry.errors import RegistryError

Say = Callable[[str], None]
Datasets = Mapping[str, Dataset]


@dataclass(frozen=True)
class TuneResult:
    """The end of a search.

    Attributes:
        outcomes: Of all trials.
        best: The best of those that are complete.
        stage1: By width, what stage 1's only head was worth before any trial.
        command: Trains with the best trial's settings.
        figure: PNG file of AP against lambda_bias.
    """

    outcomes: tuple[Outcome, ...]
    best: Outcome
    stage1: Mapping[int, Scores]
    command: str
    figure: Path

    @property
    def finding(self) -> str:
        """What the search found, in a sentence or two."""
        best = self.best
        zero = next((o for o in self.outcomes if o.settings.lambda_bias == 0), None)
        parts = [
            f"best is lambda_bias {best.settings.lambda_bias:.3g}: the generic head's AP on targets is "
            f"{best.generic_ap:.3f}"
        ]
        if zero is not None and zero is not best and zero.generic_ap is not None:
            parts.append(f"{zero.generic_ap:.3f} with lambda_bias 0 ({zero.ending})")
        start = self.stage1.get(best.settings.width)
        if start is not None:
            parts.append(f"{start.objective:.3f} by stage 1's only head")
        return ", ".join(parts)


def tune(config: TuneConfig, say: Say = print, show: Show = lambda done, total, label: None) -> TuneResult:
    """Try trainings that differ in lambda_bias, and find the one whose generic head picks unseen datasets best.

    Run again with the same config it continues where it stopped.

    Args:
        config: Of the search.
        say: Prints a line.
        show: Draws progress.

    Raises:
        InvalidInputError: For a config that cannot be tried, before anything starts.
        DatasetNotFoundError: For a dataset that is not in the store.
        TrainingError: When the workers of stage 1 failed too often.
        TuningError: When no trial came to anything.
        RegistryError: When MLflow cannot be reached.
    """
    sources, targets = _open(config)
    recipe = _claim(config, sources, targets)
    folder = Path(config.train.runs).absolute() / recipe.run_name
    RunFolder(config.train.runs, recipe).check()
    _check_cluster(config)
    with _tracked(recipe, config, say) as tracker:
        of_width = {width: _of_width(config.train, width) for width in widths(config.search, config.train)}
        stage1 = {width: trained_stage1(train, sources, say) for width, train in of_width.items()}
        baseline = {
            width: _judged(start, of_width[width], sources, targets) for width, start in stage1.items() if start
        }
        job = TrialJob(
            train=replace(config.train, store=from_any_folder(config.train.store)),
            sources={name: dataset.version for name, dataset in sources.items()},
            targets={name: dataset.version for name, dataset in targets.items()},
            stage1={width: str(start) if start else None for width, start in stage1.items()},
            cpus=config.cpus_per_trial,
            folder=str(folder / "trials"),
        )
        runs = TrialRuns(tracker, recipe.run_name, config.train)
        runs.close_orphans()
        try:
            with interruptible():
                outcomes = run_search(config, job, folder, Watch(config, job, runs, say, show))
            runs.flush()
        finally:
            with suppress(RegistryError):
                runs.close_orphans()
        return _report(config, outcomes, baseline, folder, tracker)


# --- before anything starts ---


def _open(config: TuneConfig) -> tuple[Datasets, Datasets]:
    names, train = (*config.train.datasets, *config.targets), config.train
    if not train.datasets:
        raise InvalidInputError("no datasets to train on: give their names with --datasets")
    datasets = open_datasets(names, train.store, RetryBudget(train.streaming.retry_seconds))
    sources = {name: datasets[name] for name in train.datasets}
    targets = {name: datasets[name] for name in config.targets}
    check_datasets(sources, train.loop)
    check_targets(targets)
    return sources, targets


def _claim(config: TuneConfig, sources: Datasets, targets: Datasets) -> Recipe:
    """A search as the recipe of a run: by its name and identity a search finds its folder, and refuses another's."""
    both = training_recipe(config.train, {**sources, **targets})  # refuses boxes of different sides
    own = {key: value for key, value in asdict(config).items() if key != "train"}
    key = sha256(f"search {own} {both.identity}".encode()).hexdigest()
    return replace(both, run_name=config.train.run_name or f"tune-{key[:8]}", identity=key)


def _check_cluster(config: TuneConfig) -> None:
    loop = config.train.loop
    open_client(default_tracking_uri())  # refuses where nobody answers
    cluster.require_here(loop.worker_range[0], loop.threads)
    cluster.connect()
    cluster.require(loop.worker_range[0], loop.threads, gpu=loop.gpu)
    if slots(config.cpus_per_trial, gpu=loop.gpu) == 0:
        raise InvalidInputError(
            f"a trial of {config.cpus_per_trial} CPUs fits on no node of the cluster: give fewer --cpus-per-trial"
        )


@contextmanager
def _tracked(recipe: Recipe, config: TuneConfig, say: Say) -> Iterator[TrackedRun]:
    tracker = TrackedRun(recipe.run_name, recipe.identity, type(config).__name__)
    say(f"search {recipe.run_name}")
    try:
        RunFolder(config.train.runs, recipe).claim()
        tracker.log_config({"config": asdict(config), "fingerprint": recipe.fingerprints}, config_as_yaml(config))
        yield tracker
    except BaseException as error:
        with suppress(RegistryError):  # the first error is the one to tell
            tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.end()


# --- stage 1 ---


def _of_width(config: TrainConfig, width: int) -> TrainConfig:
    return replace(config, network=replace(config.network, width=width))


def _judged(start: Path, config: TrainConfig, sources: Datasets, targets: Datasets) -> Scores:
    """What the network is worth that all trials start from."""
    from hydrapicker_core.network import MultiHeadNetwork, load_weights

    network = MultiHeadNetwork(config.network)
    load_weights(network, load_weights_of(start, "best"), str(start))
    return judge_trial(network, sources, targets)


# --- at the end ---


def _report(
    config: TuneConfig, outcomes: list[Outcome], stage1: Mapping[int, Scores], folder: Path, tracker: TrackedRun
) -> TuneResult:
    best = best_of(outcomes)
    if best is None:
        reasons = sorted({outcome.failure for outcome in outcomes if outcome.failure})
        raise TuningError(f"no trial was completed ({'; '.join(reasons)}): give other ranges, or another --run-name")
    command = train_command(best.settings.applied_to(replace(config.train, run_name="")))
    figure = draw_search(outcomes, stage1, tuple(config.targets), searched(config.search))
    for name, content in (
        ("lambda_bias.png", figure),
        ("trials.csv", as_csv(outcomes, searched(config.search)).encode()),
        ("command.txt", f"{command}\n".encode()),
    ):
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
        tracker.log_file(f"search/{name}", content)
    tracker.log_metrics(
        {
            "best": {"generic_ap": best.generic_ap, "own_ap": best.own_ap, "lambda_bias": best.settings.lambda_bias},
            "stage1": {f"width_{width}": {"generic_ap": scores.objective} for width, scores in stage1.items()},
        }
    )
    return TuneResult(tuple(outcomes), best, stage1, command, folder / "lambda_bias.png")
