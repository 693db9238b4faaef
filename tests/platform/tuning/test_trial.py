"""A trial is the second stage of the very training that ``hydrapicker train`` does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hydrapicker.store.store import Dataset, Store
from hydrapicker.training.checkpoint import load_weights_of
from hydrapicker.training.config import LoopConfig, StageConfig, TrainConfig, demo
from hydrapicker.training.session import LocalSession
from hydrapicker.training.train import training_recipe
from hydrapicker.training.worker import Worker
from hydrapicker.tuning.settings import Settings
from hydrapicker.tuning.stage1 import stage1_recipe
from hydrapicker.tuning.trial import TrialJob, begin_at
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig


@pytest.fixture(scope="module")
def config(store: str) -> TrainConfig:
    return TrainConfig(
        datasets=("a", "b"),
        network=NetworkConfig(width=4, dropout=0.1),
        augmentation=AugmentationConfig(crop_px=64),
        stage1=StageConfig(2, "adam", 1e-3),
        stage2=StageConfig(2, "sgd", 1e-2, clip_norm=5.0),
        loop=LoopConfig(batch_size=2, minibatches_per_step=2, workers=2, cpus_per_worker=1),
        store=store,
    )


@pytest.fixture(scope="module")
def sources(store: str) -> dict[str, Dataset]:
    return Store(store).open_all(dict.fromkeys(("a", "b")))


def test_stage_1_then_a_trial_ends_bit_for_bit_where_the_training_ends(
    config: TrainConfig, sources: dict[str, Dataset], tmp_path: Path
) -> None:
    settings = Settings.of(config, {"lambda_bias": 0.7, "learning_rate": 2e-2, "bias_form": "squared"})
    job = TrialJob(config, {}, {}, {}, cpus=1, folder=str(tmp_path))
    alone = LoopConfig(batch_size=2, minibatches_per_step=2, workers=1, cpus_per_worker=1)
    threads = torch.get_num_threads()
    try:
        shared = LocalSession(tmp_path / "stage1")
        Worker(replace(stage1_recipe(config, sources), loop=alone), shared).run()
        begin_at(shared.checkpoints[-1], job.folder_of(settings))
        trial = LocalSession(job.folder_of(settings))
        Worker(job.recipe(settings, sources), trial).run()
        whole = LocalSession(tmp_path / "whole")
        Worker(replace(training_recipe(settings.applied_to(config), sources), loop=alone), whole).run()
    finally:
        torch.set_num_threads(threads)
    ended, expected = (load_weights_of(session.checkpoints[-1], "network") for session in (trial, whole))
    start = load_weights_of(shared.checkpoints[-1], "network")
    assert ended.keys() == expected.keys()
    assert all(torch.equal(ended[name], expected[name]) for name in expected)
    assert not torch.equal(ended["trunk.stem.0.weight"], start["trunk.stem.0.weight"]), "stage 2 moved it"


def test_stage_1_is_shared_by_all_that_differ_only_in_stage_2(config: TrainConfig, sources: dict[str, Dataset]) -> None:
    key = stage1_recipe(config, sources).identity
    others = (
        replace(config, stage2=demo().stage2, run_name="x"),
        replace(config, loss=LossConfig(lambda_bias=3, bias_form="squared")),
        replace(config, loop=replace(config.loop, workers=1)),
    )
    assert {stage1_recipe(other, sources).identity for other in others} == {key}
    different = (
        replace(config, network=NetworkConfig(width=6)),
        replace(config, stage1=replace(config.stage1, epochs=3)),
        replace(config, loss=LossConfig(lambda_cls=2)),
        replace(config, loop=replace(config.loop, seed=1)),
    )
    keys = {stage1_recipe(other, sources).identity for other in different}
    assert len(keys) == 4
    assert key not in keys
    assert key != training_recipe(config, sources).identity
    assert [phase.name for phase in stage1_recipe(config, sources).phases] == ["stage 1"]


def test_other_settings_never_meet_a_trial_s_checkpoints(config: TrainConfig) -> None:
    job = TrialJob(config, {}, {}, {}, cpus=1, folder="trials")
    one = Settings.of(config, {"lambda_bias": 0.5})
    assert job.folder_of(one) == job.folder_of(Settings.of(config, {"lambda_bias": 0.5}))
    assert job.folder_of(one) != job.folder_of(Settings.of(config, {"lambda_bias": 0.51}))


def test_heads_that_nothing_ties_may_get_their_first_gradients_in_different_steps(
    config: TrainConfig, sources: dict[str, Dataset], tmp_path: Path
) -> None:
    loop = LoopConfig(batch_size=2, minibatches_per_step=1, workers=1, cpus_per_worker=1)
    alone = replace(config, stage1=replace(config.stage1, epochs=0), loop=loop)
    recipe = training_recipe(Settings.of(alone, {"lambda_bias": 0.0}).applied_to(alone), sources)
    threads = torch.get_num_threads()
    try:
        session = LocalSession(tmp_path)
        Worker(recipe, session).run()
    finally:
        torch.set_num_threads(threads)
    weights = load_weights_of(session.checkpoints[-1], "network")
    generic, a, b = (weights[f"_heads.%{name}.out.weight"] for name in ("generic", "a", "b"))
    assert not torch.equal(a, b)
    assert not torch.equal(a, generic), "every head was trained but the generic one, to which no sample comes"
