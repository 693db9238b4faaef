"""What a contribution trains, in one process: a head on a frozen trunk, in epochs of so many steps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hydrapicker.evaluation.features import KeptFeatures
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store
from hydrapicker.training.checkpoint import Weights, load_weights_of
from hydrapicker.training.config import StageConfig
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.run import Trained, read_trained
from hydrapicker.training.session import LocalSession
from hydrapicker.training.worker import Worker
from hydrapicker_core.network import MultiHeadNetwork, Trunk

EPOCHS, STEPS = 3, 5


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """One head for dataset ``a``: three epochs of five steps, each one minibatch of one of two micrographs."""
    torch.manual_seed(1)
    network = MultiHeadNetwork(recipe.network, ["a"])
    return replace(
        recipe,
        phases=(Phase("contribution", StageConfig(EPOCHS, "adam", 1e-2), heads=("a",), frozen=True),),
        loop=replace(recipe.loop, minibatches_per_step=1, epoch_steps=STEPS),
        initial=dict(network.state_dict()),
        initial_heads=("a",),
    )


class StoppedError(Exception):
    pass


def train(recipe: Recipe, folder: Path, stop_after: int = 0) -> Trained:
    records: list[dict[str, Any]] = []

    def on_record(record: dict[str, Any]) -> None:
        records.append(record)
        if len(records) == stop_after:
            raise StoppedError

    session = LocalSession(folder, on_record)
    if stop_after:
        with pytest.raises(StoppedError):
            Worker(recipe, session).run()
    else:
        Worker(recipe, session).run()
    return read_trained(session.checkpoints[-1])


def assert_same(expected: Weights, got: Weights) -> None:
    assert expected.keys() == got.keys()
    assert [name for name, value in expected.items() if not torch.equal(got[name], value)] == []


@pytest.mark.parametrize("stop_after", [1, 2])
def test_stopped_between_epochs_it_ends_bit_for_bit_alike(recipe: Recipe, tmp_path: Path, stop_after: int) -> None:
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parted", stop_after)
    parted = train(recipe, tmp_path / "parted")
    assert_same(whole.weights, parted.weights)
    assert [record["losses"] for record in parted.history] == [record["losses"] for record in whole.history]
    assert len(whole.history) == EPOCHS
    assert whole.history[0]["losses"] != whole.history[1]["losses"]


def test_an_epoch_has_its_steps_and_goes_on_in_the_data(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[tuple[int, ...], int]] = []
    seed = Worker._dropout_seed

    def noted(self: Worker, minibatch: Any) -> int:
        taken.append((minibatch.rows, minibatch.sweep))
        return seed(self, minibatch)

    monkeypatch.setattr(Worker, "_dropout_seed", noted)
    train(recipe, tmp_path)
    assert len(taken) == EPOCHS * STEPS
    both = sorted(int(row) for row in Store(recipe.store).open("a").split("train"))
    for sweep in range(EPOCHS * STEPS // 2):
        assert sorted(row for rows, number in taken if number == sweep for row in rows) == both


def passes_of(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[int]]:
    """Shapes of the images that go through the trunk from now on."""
    passes: list[Sequence[int]] = []
    forward = Trunk.forward

    def counted(self: Trunk, images: torch.Tensor) -> torch.Tensor:
        passes.append(images.shape)
        return forward(self, images)

    monkeypatch.setattr(Trunk, "forward", counted)
    return passes


def test_features_of_validation_micrographs_are_computed_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of(monkeypatch)
    kept = train(recipe, tmp_path / "kept")
    with_kept = len(passes)
    assert with_kept == EPOCHS * STEPS + 1, "every step's crop, and one validation micrograph"
    passes.clear()
    anew = train(replace(recipe, loop=replace(recipe.loop, features_gib=0)), tmp_path / "anew")
    assert len(passes) == EPOCHS * STEPS + EPOCHS + 1, "before the first epoch and after each"
    assert_same(anew.weights, kept.weights)
    assert [record["validation"] for record in kept.history] == [record["validation"] for record in anew.history]
    own = [record["validation"]["heads"]["a"]["own"]["loss"] for record in kept.history]
    assert len(set(own)) == EPOCHS, "only features are kept"


def test_what_does_not_fit_is_computed_again() -> None:
    made: list[int] = []

    def compute(number: int) -> torch.Tensor:
        made.append(number)
        return torch.zeros(1, 1, 256, 256) + number  # a quarter of 2^20 bytes

    features = KeptFeatures(2.5 * 2**-12)
    for number in (1, 2, 3, 1, 2, 3):
        assert features.of(number, lambda number=number: compute(number))[0, 0, 0, 0] == number  # type: ignore[misc]
    assert made == [1, 2, 3, 3]


def test_without_validation_micrographs_the_last_weights_are_taken(recipe: Recipe, tmp_path: Path) -> None:
    given = ((str(tmp_path / "*.mrc"),), str(tmp_path / "p.star"), 120.0)
    report = ingest(IngestConfig("a", *given, store=recipe.store, val_size=0))
    assert report.micrographs == {"train": 3, "val": 0, "test": 1}
    recipe = replace(recipe, datasets={"a": report.version}, fingerprints={"a": report.fingerprint})
    trained = train(recipe, tmp_path / "run")
    assert_same(load_weights_of(LocalSession(tmp_path / "run").checkpoints[-1], "network"), trained.weights)
    assert [(record["validation"], record["best_epoch"]) for record in trained.history] == [
        (None, epoch) for epoch in range(1, EPOCHS + 1)
    ]
    train(recipe, tmp_path / "parted", stop_after=2)
    assert_same(trained.weights, train(recipe, tmp_path / "parted").weights)
