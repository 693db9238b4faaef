"""Tells how trials get on, in lines, in a progress bar and in MLflow, and clears away what they leave."""

import shutil
from collections.abc import Callable
from typing import Any

from hydrapicker.tuning.config import TuneConfig
from hydrapicker.tuning.proposals import METRIC
from hydrapicker.tuning.settings import Settings, searched
from hydrapicker.tuning.tracking import TrialRuns
from hydrapicker.tuning.trial import TrialJob

Show = Callable[[int, int, str], None]
"""Draws progress: trials that ended, all trials, and a few words."""


class Watch:
    """The listener of a search; see :class:`~hydrapicker.tuning.search.Listener`.

    Args:
        config: Of the search.
        job: What trials are told.
        runs: The trials in MLflow.
        say: Prints a line.
        show: Draws progress.
    """

    def __init__(
        self, config: TuneConfig, job: TrialJob, runs: TrialRuns, say: Callable[[str], None], show: Show
    ) -> None:
        self._config, self._job, self._runs, self._say, self._show = config, job, runs, say, show
        self._names = searched(config.search)
        self._ended: set[int] = set()
        self._best = ""
        self._best_ap = -1.0

    def started(self, number: int, settings: dict[str, Any]) -> None:
        """Open the trial's run in MLflow."""
        self._runs.start(number, Settings.of(self._config.train, settings))
        self._show(len(self._ended), self._config.trials, self._best)

    def reported(self, number: int, settings: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Say and log how good a trial is."""
        name = self._name(number, settings)
        if "diverged" in metrics:
            self._say(f"{name}  {metrics['diverged']}")
            return
        self._say(
            f"{name}  epoch {metrics['epoch']}/{self._config.train.stage2.epochs}  AP of the generic head on targets "
            f"{metrics[METRIC]:.3f}, of own heads on sources {metrics['own_ap']:.3f}"
        )
        self._runs.result(number, metrics)

    def ended(self, number: int, settings: dict[str, Any], metrics: dict[str, Any], failure: str) -> None:
        """Close the trial's run; its checkpoints go, unless it may be tried again from them."""
        self._runs.end(number, "FAILED" if failure or "diverged" in metrics else "FINISHED")
        self._ended.add(number)
        if failure:
            self._say(f"{self._name(number, settings)}  failed: {failure}")
        else:
            shutil.rmtree(self._job.folder_of(Settings.of(self._config.train, settings)), ignore_errors=True)
        complete = not failure and metrics.get("epoch") == self._config.train.stage2.epochs
        if complete and metrics[METRIC] > self._best_ap:
            self._best_ap = metrics[METRIC]
            self._best = f"best: AP {self._best_ap:.3f} by {self._name(number, settings)}"
        self._show(len(self._ended), self._config.trials, self._best)

    def _name(self, number: int, settings: dict[str, Any]) -> str:
        parts = [
            f"{name} {settings[name]:.3g}" if isinstance(settings[name], float) else f"{name} {settings[name]}"
            for name in self._names
        ]
        return "  ".join([f"trial {number}", *parts])
