"""What every training process runs: load, step, validate, save, report."""

import math
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.features import KeptFeatures
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.store.store import Dataset, Store
from hydrapicker.streaming.plan import Minibatch, plan_step, steps_in
from hydrapicker.training.checkpoint import (
    Progress,
    Weights,
    load_optimiser,
    load_progress,
    load_weights_of,
    save_checkpoint,
)
from hydrapicker.training.compilation import compiled, require_compiler
from hydrapicker.training.epochs import Epochs
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.record import EpochRecord, Tally, Validation, seed_of
from hydrapicker.training.schedule import learning_rate
from hydrapicker.training.session import Session
from hydrapicker.training.step import Step
from hydrapicker.training.validation import Unchanged, validate
from hydrapicker_core.network import MultiHeadNetwork, channels_last, load_weights, multi_head_from_single


class Worker:
    """One rank of a training run.

    Args:
        recipe: What to train.
        session: This rank's place, the checkpoint to go on from, and where epochs are reported.
    """

    def __init__(self, recipe: Recipe, session: Session) -> None:
        self.recipe, self.session = recipe, session
        self.rank, self.world, self.device = session.rank, session.world, session.device
        torch.set_num_threads(recipe.loop.threads)
        if recipe.loop.compile:
            require_compiler(self.device)
        retry = RetryBudget(recipe.streaming.retry_seconds)
        self.datasets: dict[str, Dataset] = Store(recipe.store, retry).open_all(recipe.datasets, whole=True)
        self.epochs = Epochs(recipe, self.datasets, self.rank, self.world)
        self.validated = any(len(dataset.split("val")) for dataset in self.datasets.values())
        self.unchanged: Unchanged | None = None
        self.progress = Progress()
        self.network = self._first_network()
        self.best: Weights = self.network.state_dict()

    def run(self) -> None:
        """Train what is left of the recipe."""
        resumed = self._resume()
        for index in range(self.progress.phase, len(self.recipe.phases)):
            phase = self.recipe.phases[index]
            self._train(phase, resumed or self._begin(index, phase))
            resumed = None

    def _train(self, phase: Phase, step: Step) -> None:
        while self.progress.epoch < phase.stage.epochs:
            record = self._train_epoch(phase, step)
            self.progress.epoch += 1
            if self.progress.epoch % self.recipe.loop.validate_every == 0 or self.progress.epoch == phase.stage.epochs:
                self._validate(phase, record)
            self._save_and_report(record, step.optimiser)
        self.network.load_state_dict(self.best)

    # --- an epoch ---

    def _train_epoch(self, phase: Phase, step: Step) -> EpochRecord:
        epoch = self._epochs_before(self.progress.phase) + self.progress.epoch
        per_step = self.recipe.loop.minibatches_per_step
        plan, batches = self.epochs.take(epoch)
        steps = steps_in(plan, per_step)
        self.network.train()
        tally = Tally(phase.name, self.progress.epoch)
        for number in range(steps):
            whole = plan[number * per_step : (number + 1) * per_step]
            mine = plan_step(plan, number, per_step, self.rank, self.world)
            with tally.waiting():
                loaded = next(batches)
            if number == steps - 1:
                self.epochs.begin(epoch + 1)
            for group in step.optimiser.param_groups:
                group["lr"] = learning_rate(phase.stage, self.progress.epoch, number, steps)
            taken = step.take(
                loaded,
                heads=[phase.head_for(m.dataset) for m in mine],
                touched=sorted({phase.head_for(m.dataset) for m in whole}),
                minibatches=len(whole),
                seeds=[self._dropout_seed(m) for m in mine],
            )
            tally.add(mine, taken)
        return tally.record(self.network, float(step.optimiser.param_groups[0]["lr"]), self.world)

    def _dropout_seed(self, minibatch: Minibatch) -> int:
        return seed_of(self.recipe.loop.seed, minibatch.sweep, minibatch.dataset, minibatch.rows)

    # --- validate, save, report ---

    def _validate(self, phase: Phase, record: EpochRecord) -> None:
        if not self.validated:  # nothing says which weights are best: the last ones are taken
            self.progress.best_epoch, self.best = self.progress.epoch, _copy(self.network)
            return
        record.validation = self._validation(phase)
        loss = record.validation.loss
        if not math.isfinite(loss):
            raise InvalidInputError("the validation loss is no number any more: give a smaller learning rate")
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_epoch = loss, self.progress.epoch
            self.best = _copy(self.network)

    def _validation(self, phase: Phase) -> Validation:
        r = self.recipe
        given = (r.box_px, r.loss, self.rank, self.world, r.streaming, self.unchanged)
        return validate(self.network, phase, self.datasets, *given)

    def _save_and_report(self, record: EpochRecord, optimiser: torch.optim.Optimizer) -> None:
        record.best_epoch = self.progress.best_epoch
        self.progress.history.append(record.as_dict())

        def save(folder: Path) -> None:
            save_checkpoint(folder, self.progress, self.network.state_dict(), self.best, optimiser)

        self.session.report(self.progress.history[-1], save)

    # --- beginning and going on ---

    def _begin(self, index: int, phase: Phase) -> Step:
        """Start a phase from the best weights of the one before."""
        self.progress = Progress(phase=index, history=self.progress.history)
        self._enter(phase)
        self.best = _copy(self.network)
        if self.validated and (index > 0 or self.recipe.initial):  # a phase never ends worse than it began
            self.progress.best_loss = self._validation(phase).loss
        return self._step(phase)

    def _resume(self) -> Step | None:
        """Go on from the session's checkpoint, if it has one; it is let go of before training goes on."""
        with self.session.resumed() as folder:
            if folder is None:
                return None
            self.progress = load_progress(folder)
            phase = self.recipe.phases[self.progress.phase]
            self._enter(phase)
            self.network.load_state_dict(load_weights_of(folder, "network"))
            self.best = load_weights_of(folder, "best")
            step = self._step(phase)
            load_optimiser(folder, step.optimiser)
            return step

    def _first_network(self) -> MultiHeadNetwork:
        torch.manual_seed(seed_of(self.recipe.loop.seed, "weights"))
        network = MultiHeadNetwork(self.recipe.network, self.recipe.initial_heads)
        if self.recipe.initial:
            load_weights(network, self.recipe.initial, "the initial weights")
        return channels_last(network.to(self.device))

    def _enter(self, phase: Phase) -> None:
        """Make the network that a phase trains, and forget what was kept for another."""
        self.unchanged = Unchanged(KeptFeatures(self.recipe.loop.features_gib)) if phase.frozen else None
        if not set(phase.heads) <= set(self.network.datasets):
            network = multi_head_from_single(self.network, phase.heads)
            self.network = channels_last(network.to(self.device))

    def _step(self, phase: Phase) -> Step:
        self.network.requires_grad_(not phase.frozen)
        for name in phase.heads:
            self.network.head(name).requires_grad_(True)
        shared = self.world > 1 and not phase.frozen
        # The network's own trunk stays as it is: it validates micrographs of all sizes, and each would be compiled.
        trunk = compiled(self.network.trunk) if self.recipe.loop.compile else self.network.trunk
        return Step(
            self.network,
            DistributedDataParallel(trunk) if shared else trunk,
            _optimiser(phase, self.network),
            self.recipe.loss,
            self.recipe.box_px,
            self.world,
            autocast=self.recipe.loop.precision == "bfloat16",
            clip_norm=phase.stage.clip_norm,
            compile=self.recipe.loop.compile,
        )

    def _epochs_before(self, index: int) -> int:
        return sum(phase.stage.epochs for phase in self.recipe.phases[:index])


def _optimiser(phase: Phase, network: MultiHeadNetwork) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if phase.stage.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=phase.stage.learning_rate, fused=True)
    return torch.optim.SGD(parameters, lr=phase.stage.learning_rate, momentum=phase.stage.momentum, fused=True)


def _copy(network: MultiHeadNetwork) -> Weights:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
