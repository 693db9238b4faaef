"""A training in MLflow: a run for all of it, and a child for each of its phases."""

import getpass
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from hydrapicker.provenance import git_commit
from hydrapicker.tracking import TrackedRun
from hydrapicker.training.mlflow_metrics import by_dataset, summary
from hydrapicker.training.recipe import Recipe
from hydrapicker_registry.errors import RegistryError

_PACKAGES = ("hydrapicker", "torch", "ray", "mlflow", "numpy")
_EVERY_EPOCH_HAS = "train/localisation"


class TrainingTracker:
    """The MLflow runs of a recipe, begun or continued.

    The run itself shows what sums up an epoch, over the epochs of all phases, so that trainings are compared by it. A
    phase's child shows the same and every dataset's figures, over the phase's own epochs.

    Args:
        recipe: What is trained.
        job: What kind of training it is.

    Raises:
        RegistryError: When MLflow cannot be reached.
    """

    def __init__(self, recipe: Recipe, job: str) -> None:
        self._recipe = recipe
        self.run = TrackedRun(recipe.run_name, recipe.identity, job)
        self._phases: dict[str, TrackedRun] = {}
        self._waiting: list[Mapping[str, Any]] = []
        self._logged = self.run.logged_steps(_EVERY_EPOCH_HAS) if self.run.continued else set()

    def log_start(self, config: Mapping[str, Any], text: str, datasets: bool = True) -> None:
        """Log what is trained, with which versions of what, and on which datasets; `text` is the config's YAML."""
        recipe = self._recipe
        self.run.tag(_provenance())
        if not datasets:
            self.run.log_config({"config": config}, text)
            return
        self.run.log_config({"config": config, "fingerprint": recipe.fingerprints}, text)
        urls = {name: f"{recipe.store}/{name}/{number}" for name, number in recipe.datasets.items()}
        self.run.log_datasets(recipe.fingerprints, urls)

    def log_epoch(self, record: Mapping[str, Any]) -> None:
        """Log an epoch, unless it was logged before; where MLflow is away for a moment, with a later one."""
        self._waiting.append(record)
        with suppress(RegistryError):
            self._log_waiting()

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log those epochs of a training that came to its end which were not: who watched it may have died.

        Raises:
            RegistryError: When MLflow cannot be reached.
        """
        self._waiting += history
        self._log_waiting()

    def end(self, status: str = "FINISHED") -> None:
        """Close the run and its children as FINISHED, FAILED or KILLED."""
        if status == "FINISHED":
            for phase in self._recipe.phases:
                if phase.stage.epochs:  # it may have ended just before it was broken off
                    self.run.child(phase.name).end()
        self.run.end(status)

    def _log_waiting(self) -> None:
        while self._waiting:
            record = self._waiting[0]
            step = self._epochs_before(record["phase"]) + record["epoch"]
            if step not in self._logged:
                metrics = summary(record)
                self._run_of(record["phase"]).log_metrics({**metrics, **by_dataset(record)}, record["epoch"])
                self.run.log_metrics(metrics, step)  # the last, as this is what says that all of it is there
                self._logged.add(step)
            self._waiting.pop(0)

    def _run_of(self, phase: str) -> TrackedRun:
        if phase not in self._phases:
            for earlier in self._phases.values():
                earlier.end()
            self._phases[phase] = self.run.child(phase)
            stage = next(p.stage for p in self._recipe.phases if p.name == phase)
            self._phases[phase].log_config(asdict(stage))
        return self._phases[phase]

    def _epochs_before(self, phase: str) -> int:
        names = [p.name for p in self._recipe.phases]
        return sum(p.stage.epochs for p in self._recipe.phases[: names.index(phase)])


def _provenance() -> dict[str, str]:
    tags = {f"version.{name}": version(name) for name in _PACKAGES}
    # Names that MLflow's pages know.
    tags |= {"mlflow.source.name": "hydrapicker", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    commit = git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})
