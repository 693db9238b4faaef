"""The trials of a search as MLflow runs under the search's own, found again by their names."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from hydrapicker.tracking import EXPERIMENT, PARENT_TAG, TrackedRun
from hydrapicker.training.config import TrainConfig
from hydrapicker.training.train import config_as_yaml
from hydrapicker.tuning.settings import Settings
from hydrapicker_registry.connection import default_tracking_uri, ensure_experiment, open_client, talking_to
from hydrapicker_registry.errors import RegistryError


class TrialRuns:
    """MLflow runs of a search's trials.

    Where MLflow is away for a moment, what is to be logged waits for the next occasion: a search is not worth less
    because its bookkeeper was out.

    Args:
        search: The search's own run.
        name: Of the search.
        train: What all trials share.
    """

    def __init__(self, search: TrackedRun, name: str, train: TrainConfig) -> None:
        self._search, self._name, self._train = search, name, train
        self._runs: dict[int, TrackedRun] = {}
        self._waiting: deque[Callable[[], None]] = deque()

    def start(self, number: int, settings: Settings) -> None:
        """Open the run of a trial; a trial that goes on after a break goes on in its own run."""
        name = f"{self._name}.trial-{number:03d}"
        identity = sha256(repr(settings).encode()).hexdigest()

        def log() -> None:
            run = self._runs[number] = TrackedRun(name, identity, "Trial", parent=self._search.run_id)
            run.log_config({"settings": asdict(settings)}, config_as_yaml(settings.applied_to(self._train)))

        self._later(log)

    def result(self, number: int, metrics: dict[str, Any]) -> None:
        """Log what a trial reported, at its epoch."""
        figures = {key: metrics.get(key) for key in ("generic_ap", "own_ap", "generic", "own", "best_epoch")}
        self._later(lambda: self._runs[number].log_metrics(figures, step=metrics["epoch"]))

    def end(self, number: int, status: str) -> None:
        """Close the run of a trial."""
        self._later(lambda: self._runs[number].end(status))

    def _later(self, log: Callable[[], None]) -> None:
        self._waiting.append(log)
        try:
            self.flush()
        except RegistryError:
            return

    def flush(self) -> None:
        """Log all that waits; raises :class:`RegistryError` where MLflow is away."""
        while self._waiting:
            self._waiting[0]()
            self._waiting.popleft()

    def close_orphans(self) -> None:
        """Mark as killed the runs of trials that nobody works on: those of a search that was killed itself."""
        uri = default_tracking_uri()
        experiment = ensure_experiment(uri, EXPERIMENT)
        client = open_client(uri)
        with talking_to(uri):
            orphans = f"tags.`{PARENT_TAG}` = '{self._search.run_id}' AND attributes.status = 'RUNNING'"
            for run in client.search_runs([experiment], orphans, max_results=10_000):
                client.set_terminated(run.info.run_id, "KILLED")
