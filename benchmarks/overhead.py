"""What Ray Train, data, checkpoints and reports cost a training: micrographs per second against a bare PyTorch loop.

The bare loop is thirty lines below: one process, its batches ready in memory, no Ray, no checkpoints. All others are
the package's own training on the same store, with the same network, epochs and batches: each reads, augments, steps,
writes a checkpoint, waits until Ray Train has committed it and posts its figures, for every epoch. Rows: one worker,
two workers, one worker compiled (``--loop.compile``), one worker in bfloat16 (``--loop.precision bfloat16``). Every
process computes with one thread, so two workers use two cores and are worth up to 2.00.

All are started first and then take turns, epoch by epoch, while the others wait: a machine that slows down slows all
alike. The first epochs, in which things are compiled and memory is claimed, do not count. Takes about three minutes on
two quiet cores. An epoch lasts some ten seconds here; the seconds to save and report are the same for longer ones.

Columns, as medians over the rounds: micrographs per second of the whole epoch, from its first batch until its
checkpoint is committed, and the ratio to the bare loop; the same without saving and reporting; the share of the time
spent waiting for data; the seconds to save and report; and the seconds of an epoch that cores worked for the (first)
process, its reading and augmenting included, which neighbours on the machine disturb less.
"""

import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import torch
import torch.multiprocessing as mp
from ray.train.torch import TorchTrainer

from hydrapicker import cluster
from hydrapicker.files import Particles, write_combined_star, write_mrc
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.board import Board
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker.training.epochs import Epochs
from hydrapicker.training.on_ray import RaySession
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.session import Record, Save
from hydrapicker.training.worker import Worker
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.bias_loss import bias_loss
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

DATASETS = ("a", "b")
MICROGRAPHS = 24
"""To train on, of each dataset."""
SIDE_PX = 512
PARTICLES = 40
WARM_UP, ROUNDS = 1, 3
LOOP = LoopConfig(minibatches_per_step=2, workers=1, cpus_per_worker=1, validate_every=1000, max_failures=0)
BARE = "bare loop"
LOOPS = {
    "1 worker": LOOP,
    "2 workers": replace(LOOP, workers=2),
    "1 worker, compiled": replace(LOOP, compile=True),
    "1 worker, bfloat16": replace(LOOP, precision="bfloat16"),
}
_POLL_SECONDS = 0.01


class DoneError(Exception):
    """Ends a training whose epochs have all been measured."""


@dataclass(frozen=True)
class Turns:
    """Whose turn it is, told by files: only one of the trainings works at a time."""

    folder: Path
    name: str

    def wait(self, epoch: int) -> None:
        """Wait for this training's turn; used by its processes."""
        go = self.folder / f"{self.name}.{epoch}.go"
        while not go.exists():
            time.sleep(_POLL_SECONDS)
        if go.read_text():
            raise DoneError

    def done(self, epoch: int, seconds: float, waited: float, core: float) -> None:
        """Hand the turn back, with the seconds of the steps, the share waited for data, the seconds of the core."""
        partial = self.folder / f"{self.name}.{epoch}.partial"
        partial.write_text(json.dumps([seconds, waited, core]))
        partial.rename(self.folder / f"{self.name}.{epoch}.done")

    def give(self, epoch: int, *, last: bool = False) -> tuple[float, ...]:
        """Let this training work for an epoch; returns its seconds in all, and what :meth:`done` was given."""
        done = self.folder / f"{self.name}.{epoch}.done"
        partial = self.folder / f"{self.name}.{epoch}.start"
        partial.write_text("last" if last else "")
        started = time.perf_counter()
        partial.rename(self.folder / f"{self.name}.{epoch}.go")
        while not last and not done.exists():
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - started
        return (seconds, *json.loads(done.read_text())) if not last else ()


# --- the bare loop ---


def bare(recipe: Recipe, turns: Turns) -> None:
    """Train as the tutorials do."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    datasets = Store(recipe.store).open_all(recipe.datasets)
    epochs = Epochs(recipe, datasets, 0, 1)
    ready = [list(epochs.take(epoch)[1]) for epoch in range(WARM_UP + ROUNDS)]
    network = channels_last(MultiHeadNetwork(recipe.network, recipe.phases[0].heads)).train()
    stage, loss = recipe.phases[0].stage, recipe.loss
    optimiser = torch.optim.SGD(network.parameters(), lr=stage.learning_rate, momentum=stage.momentum, fused=True)
    heads = [list(head.parameters()) for head in network.dataset_heads()]
    for epoch, steps in enumerate(ready):
        turns.wait(epoch)
        started, worked = time.perf_counter(), time.process_time()
        for batches in steps:
            optimiser.zero_grad()
            for batch in batches:
                images = batch.images.contiguous(memory_format=torch.channels_last)
                output = network(images, batch.dataset)
                made = detection_loss(output, batch.particles, recipe.box_px, loss)
                (made.total(loss) / len(batches)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), stage.clip_norm)
            (loss.lambda_bias * bias_loss(heads, list(network.generic.parameters()))).backward()
            optimiser.step()
        turns.done(epoch, time.perf_counter() - started, 0.0, time.process_time() - worked)


# --- the package's training ---


class TurnSession(RaySession):
    """The package's own session, which waits for its turn before every epoch."""

    def __init__(self, board: Any, turns: Turns) -> None:
        super().__init__(board)
        self._turns, self._epoch = turns, 0

    def begin(self) -> None:
        """Wait for the first turn."""
        self._turns.wait(0)
        self._worked = time.process_time()

    def report(self, record: Record, save: Save) -> None:
        """Report as ever, then hand the turn back and wait for the next."""
        super().report(record, save)
        if self.rank == 0:
            core = time.process_time() - self._worked
            self._turns.done(self._epoch, record["seconds"], record["data_wait_fraction"], core)
        self._epoch += 1
        self._turns.wait(self._epoch)
        self._worked = time.process_time()


def train_worker(config: dict[str, Any]) -> None:
    """What every worker runs."""
    session = TurnSession(config["board"], config["turns"])
    worker = Worker(config["recipe"], session)
    session.begin()
    worker.run()


def on_ray(recipe: Recipe, turns: Turns, runs: Path) -> None:
    """Train on Ray Train until the turns are over."""
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"recipe": recipe, "board": Board.remote(), "turns": turns},  # type: ignore[attr-defined]
        # A fraction, so that trainings that wait leave room; each computes with the threads it is told to.
        scaling_config=ray.train.ScalingConfig(num_workers=recipe.loop.workers, resources_per_worker={"CPU": 0.1}),
        run_config=ray.train.RunConfig(
            name=recipe.run_name,
            storage_path=str(runs),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        if "DoneError" not in str(error):
            raise


# --- what is trained on ---


def make_recipe(folder: Path) -> Recipe:
    """Two datasets of noise, and how they are trained on: as the demo's stage 2."""
    generator = np.random.default_rng(0)
    count, root = MICROGRAPHS + 2, folder / "store"
    files = [folder / f"m{i:02d}.mrc" for i in range(count)]
    for file in files:
        write_mrc(file, generator.normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32), 8.0)
    particles = {f.name: Particles(generator.uniform(0, SIDE_PX, (PARTICLES, 2)).astype(np.float32)) for f in files}
    write_combined_star(folder / "particles.star", particles, None)
    for name in DATASETS:
        source = IngestConfig(
            name, (str(folder / "*.mrc"),), str(folder / "particles.star"), 168.0, val_size=1, test_size=1,
            store=str(root),
        )  # fmt: skip
        ingest(source)
    datasets = Store(str(root)).open_all(dict.fromkeys(DATASETS))
    stage = StageConfig(WARM_UP + ROUNDS + 1, "sgd", 5e-4, clip_norm=5.0)
    return Recipe(
        run_name="", identity="", phases=(Phase("stage 2", stage, heads=DATASETS),),
        datasets={name: dataset.version for name, dataset in datasets.items()},
        fingerprints={name: dataset.fingerprint for name, dataset in datasets.items()},
        network=NetworkConfig(width=12, dropout=0.1), loss=LossConfig(),
        augmentation=AugmentationConfig(crop_px=256), loop=LOOP, streaming=StreamingConfig(), store=str(root),
        box_px=next(iter(datasets.values())).box_px,
    )  # fmt: skip


# --- measuring ---


@dataclass
class Measured:
    """What the epochs of one training took."""

    seconds: list[tuple[float, ...]] = field(default_factory=list)

    def row(self, name: str, bare: "Measured") -> str:
        """A line of the table."""
        micrographs = MICROGRAPHS * len(DATASETS)
        whole, steps, waited, core = (statistics.median(values) for values in zip(*self.seconds, strict=True))
        # Ratios within a round, in which neighbours on the machine disturb all alike.
        rounds = list(zip(bare.seconds, self.seconds, strict=True))
        ratio, ratio_of_steps = (statistics.median(theirs[0] / own[i] for theirs, own in rounds) for i in (0, 1))
        return (
            f"{name:20}{micrographs / whole:10.2f}{ratio:7.3f}{micrographs / steps:12.2f}{ratio_of_steps:7.3f}"
            f"{waited:10.1%}{whole - steps:14.2f}{core:10.2f}"
        )


def start(recipe: Recipe, folder: Path) -> dict[str, Turns]:
    """Start all trainings; each waits for its turn."""
    turns = {name: Turns(folder, name.replace(" ", "-")) for name in (BARE, *LOOPS)}
    mp.get_context("spawn").Process(target=bare, args=(recipe, turns[BARE]), daemon=True).start()
    cluster.connect()
    for name, loop in LOOPS.items():
        own = replace(recipe, run_name=turns[name].name, loop=loop)
        threading.Thread(target=on_ray, args=(own, turns[name], folder / "runs"), name=name).start()
    return turns


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_recipe(folder)
        turns = start(recipe, folder)
        measured = {name: Measured() for name in turns}
        for epoch in range(WARM_UP + ROUNDS):
            for name, own in turns.items():
                took = own.give(epoch)
                if epoch >= WARM_UP:
                    measured[name].seconds.append(took)
        for name in LOOPS:
            turns[name].give(WARM_UP + ROUNDS, last=True)
        for thread in threading.enumerate():
            if thread.name in LOOPS:
                thread.join()
        show(measured)
        ray.shutdown()


def show(measured: dict[str, Measured]) -> None:
    """Print the table."""
    print(
        f"width 12, minibatches of {LOOP.batch_size} crops of 256 px, {LOOP.minibatches_per_step} in a step, one "
        f"thread in each process, {MICROGRAPHS * len(DATASETS)} micrographs in an epoch, median of {ROUNDS} rounds"
    )
    print(f"{'':20}{'micro-':>10}{'':7}{'in steps':>12}{'':7}{'waiting':>10}{'to save':>14}{'seconds':>10}")
    titles = (("graphs/s", 10), ("ratio", 7), ("alone", 12), ("ratio", 7), ("for data", 10), ("and report s", 14))
    print(f"{'':20}" + "".join(f"{title:>{width}}" for title, width in (*titles, ("of cores", 10))))
    for name, own in measured.items():
        print(own.row(name, measured[BARE]))
    one, two = (statistics.median(s[0] for s in measured[name].seconds) for name in ("1 worker", "2 workers"))
    print(f"two workers against one, each with one thread: {one / two:.2f}")


if __name__ == "__main__":
    main()
