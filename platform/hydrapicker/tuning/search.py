"""The search on Ray Tune: begun, or gone on with after any break."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from hydrapicker.errors import HydraPickerError
from hydrapicker.tuning.config import TuneConfig
from hydrapicker.tuning.halving import Halving
from hydrapicker.tuning.outcome import Outcome
from hydrapicker.tuning.proposals import METRIC, MODE, proposals, search_space
from hydrapicker.tuning.settings import Settings
from hydrapicker.tuning.trial import TrialJob, run_trial

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # which cannot be silenced
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # we tell them in one line
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow holds what they would write
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours to handle
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # how much a killed search may forget
    "TUNE_FORCE_TRIAL_CLEANUP_S": "20",  # how long a stopped trial's process may take to leave
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


_FOLDER = "trial-"


class TuningError(HydraPickerError, RuntimeError):
    """A search that came to nothing."""


class Listener(Protocol):
    """Who is told how trials get on."""

    def started(self, number: int, settings: dict[str, Any]) -> None:
        """A trial's process is about to start, for the first time or again."""

    def reported(self, number: int, settings: dict[str, Any], metrics: dict[str, Any]) -> None:
        """A trial was judged."""

    def ended(self, number: int, settings: dict[str, Any], metrics: dict[str, Any], failure: str) -> None:
        """A trial is over; `failure` says why it came to nothing."""


class _Relay(tune.Callback):
    """Hands Tune's events to this process's listener; Tune pickles its callbacks and brings them back later."""

    listener: ClassVar[Listener | None] = None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.listener:
            self.listener.started(_number(trial), trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self.listener:
            self.listener.reported(_number(trial), trial.config, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.listener:
            self.listener.ended(_number(trial), trial.config, trial.last_result, failure="")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.listener:
            self.listener.ended(_number(trial), trial.config, trial.last_result, _reason(trial.get_error()))


def run_search(config: TuneConfig, job: TrialJob, folder: Path, listener: Listener) -> list[Outcome]:
    """Run all trials that are left of a search on the connected cluster, as many at once as it has room for.

    Args:
        config: Of the search.
        job: What trials are told.
        folder: Where Tune keeps the search's state.
        listener: Told of what happens.

    Raises:
        TuningError: When Tune gives up, or no trial came to anything.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by us
    resources = {"cpu": float(config.cpus_per_trial), **({"gpu": 1.0} if config.train.loop.gpu else {})}
    trainable = tune.with_resources(tune.with_parameters(run_trial, job=job), resources)
    with _listening(listener):
        try:
            if tune.Tuner.can_restore(str(folder)):
                tuner = tune.Tuner.restore(str(folder), trainable, resume_errored=True)
            else:
                tuner = _new_tuner(config, trainable, folder)
            results = tuner.fit()
        except (TuneError, RayError) as error:
            raise TuningError(f"the search in {folder} broke off: {_reason(error)}; run it again to go on") from error
    outcomes = [_outcome(config, results[i]) for i in range(len(results))]
    return sorted(outcomes, key=lambda outcome: outcome.number)  # a restored search has another order


def _new_tuner(config: TuneConfig, trainable: Any, folder: Path) -> tune.Tuner:
    epochs = config.train.stage2.epochs
    return tune.Tuner(
        trainable,
        param_space=search_space(config),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode=MODE,
            search_alg=proposals(config, slots(config.cpus_per_trial, gpu=config.train.loop.gpu)),
            scheduler=Halving(
                folder / "halving.pkl",
                time_attr="epoch",
                max_t=epochs,
                grace_period=config.grace_epochs,
                reduction_factor=config.reduction_factor,
            ),
            num_samples=config.trials,
            trial_dirname_creator=lambda trial: f"{_FOLDER}{_number(trial):03d}",
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=config.train.loop.max_failures),
            callbacks=[_Relay()],
            verbose=0,
        ),
    )


def slots(cpus_per_trial: int, *, gpu: bool) -> int:
    """How many trials the connected cluster has room for at once."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(_slots_of(node["Resources"], cpus_per_trial, gpu) for node in nodes if node["Alive"])


def _slots_of(resources: Mapping[str, float], cpus: int, gpu: bool) -> int:
    by_cpu = int(resources.get("CPU", 0)) // cpus
    return min(by_cpu, int(resources.get("GPU", 0))) if gpu else by_cpu


@contextmanager
def _listening(listener: Listener) -> Iterator[None]:
    _Relay.listener = listener
    try:
        yield
    finally:
        _Relay.listener = None


def _number(trial: Any) -> int:
    return int(trial.experiment_tag.partition("_")[0])  # Tune counts its proposals there; its ids are random


def _outcome(config: TuneConfig, result: Any) -> Outcome:
    settings = Settings.of(config.train, result.config)
    metrics = result.metrics or {}
    failure = metrics.get("diverged", "") or (_reason(result.error) if result.error else "")
    epochs = metrics.get("epoch", 0)
    return Outcome(
        number=int(Path(result.path).name.removeprefix(_FOLDER)),
        settings=settings,
        epochs=epochs,
        complete=not failure and epochs == config.train.stage2.epochs,
        generic_ap=None if failure else metrics.get(METRIC),
        own_ap=None if failure else metrics.get("own_ap"),
        generic={} if failure else dict(metrics.get("generic", {})),
        own={} if failure else dict(metrics.get("own", {})),
        failure=failure,
    )


def _reason(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__  # the last line of a traceback in another process
