"""One trial: stage 2 of a training, in the process of Ray Tune's trial itself, begun where stage 1 ended."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from ray import tune

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.store import Dataset, Store
from hydrapicker.training.checkpoint import load_progress, load_weights_of
from hydrapicker.training.config import TrainConfig
from hydrapicker.training.recipe import Recipe
from hydrapicker.training.session import LocalSession, Record
from hydrapicker.training.train import training_recipe
from hydrapicker.training.worker import Worker
from hydrapicker.tuning.objective import judge_trial
from hydrapicker.tuning.proposals import METRIC
from hydrapicker.tuning.settings import Settings
from hydrapicker_core.network import MultiHeadNetwork, channels_last, load_weights


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a search are told.

    Attributes:
        train: What they share; its store is found from any folder.
        sources: Version of every dataset that is trained on.
        targets: Version of every dataset that judges.
        stage1: By width, the folder of stage 1's last checkpoint; None where there is no stage 1.
        cpus: Threads of a trial.
        folder: Where trials keep their checkpoints.
    """

    train: TrainConfig
    sources: Mapping[str, str]
    targets: Mapping[str, str]
    stage1: Mapping[int, str | None]
    cpus: int
    folder: str

    def folder_of(self, settings: Settings) -> Path:
        """A trial's checkpoints: named by what it tries, so that a trial is never continued as another one."""
        return Path(self.folder) / sha256(repr(settings).encode()).hexdigest()[:16]

    def recipe(self, settings: Settings, sources: Mapping[str, Dataset]) -> Recipe:
        """The training that ``hydrapicker train`` does with these settings, on one worker."""
        recipe = training_recipe(settings.applied_to(self.train), sources)
        return replace(recipe, loop=replace(recipe.loop, workers=1, cpus_per_worker=self.cpus))


def run_trial(proposal: dict[str, Any], job: TrialJob) -> None:
    """Entry point of a trial's process: trains what is left of it and reports after every validated epoch."""
    settings = Settings.of(job.train, proposal)
    store = Store(job.train.store)
    sources, targets = store.open_all(job.sources), store.open_all(job.targets)
    recipe = job.recipe(settings, sources)
    folder = job.folder_of(settings)
    device = torch.device("cuda" if recipe.loop.gpu else "cpu")
    start = job.stage1[settings.width]
    if start and not LocalSession(folder).checkpoints:
        begin_at(Path(start), folder)
    judge = _Judge(recipe, sources, targets, device)

    def on_record(record: Record) -> None:
        if record["phase"] == recipe.phases[-1].name and record["validation"] is not None:
            tune.report(judge.result(session.checkpoints[-1]))

    session = LocalSession(folder, on_record, device)
    try:
        if session.checkpoints and load_progress(session.checkpoints[-1]).phase > 0:
            # The process before this one may have died between an epoch's checkpoint and its report.
            tune.report(judge.result(session.checkpoints[-1]))
        Worker(recipe, session).run()
    except InvalidInputError as error:  # a rate or weight that is too large: an answer, not a fault of the search
        tune.report({"epoch": 0, METRIC: 0.0, "diverged": str(error)})


def begin_at(start: Path, folder: Path) -> None:
    """Put stage 1's last checkpoint where the trial's first one would be."""

    def copy(empty: Path) -> None:
        shutil.copytree(start, empty, dirs_exist_ok=True)

    LocalSession(folder).report({}, copy)


class _Judge:
    """Judges a training at a checkpoint: while it runs the network as it is, at its end the one that is kept.

    What is kept has the least validation loss, which for long may be that of stage 1's network: it would tell nothing
    of where a trial is going.
    """

    def __init__(
        self, recipe: Recipe, sources: Mapping[str, Dataset], targets: Mapping[str, Dataset], device: torch.device
    ) -> None:
        self._recipe, self._sources, self._targets = recipe, sources, targets
        self._network = channels_last(MultiHeadNetwork(recipe.network, recipe.phases[-1].heads).to(device))

    def result(self, checkpoint: Path) -> dict[str, Any]:
        """What Ray Tune is told at a checkpoint of stage 2."""
        progress = load_progress(checkpoint)
        at_its_end = progress.epoch == self._recipe.phases[-1].stage.epochs
        weights = load_weights_of(checkpoint, "best" if at_its_end else "network")
        load_weights(self._network, weights, str(checkpoint))
        scores = judge_trial(self._network, self._sources, self._targets)
        return {
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            METRIC: scores.objective,
            "own_ap": scores.own_ap,
            "generic": dict(scores.generic),
            "own": dict(scores.own),
        }
