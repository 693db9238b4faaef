"""The command at a search's end gives exactly the config that was found best."""

import shlex
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from hydrapicker.cli.parse import parse_preset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import PRESETS, LoopConfig, StageConfig, TrainConfig, demo, paper
from hydrapicker.tuning.command import train_command
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig

EVERYTHING_ELSE = TrainConfig(
    datasets=("a", "b.2", "c-d"),
    run_name="best-of-7",
    network=NetworkConfig(width=10, dropout=0.0, norm_groups=4, norm_eps=1e-6, initial_log_odds=-3.5),
    loss=LossConfig(2.5, 1e-07, "squared", alpha=0.5, gamma=1.0, iou_threshold=0.5),
    augmentation=AugmentationConfig(crop_px=128, rotate=False, flip=False, resize=0.25),
    init="a@2",
    stage1=StageConfig(0, "sgd", 2e-3, momentum=0.5, restart_epochs=7, clip_norm=1.5, warmup_steps=3),
    stage2=StageConfig(3, "adam", 1e-4, momentum=0.8, restart_epochs=2, clip_norm=0.0, warmup_steps=4),
    loop=LoopConfig(
        batch_size=2,
        minibatches_per_step=6,
        workers=3,
        cpus_per_worker=1,
        gpu=True,
        precision="bfloat16",
        compile=True,
        seed=5,
        validate_every=4,
        epoch_steps=11,
        features_gib=0.5,
        max_failures=0,
        keep_checkpoints=3,
    ),
    streaming=StreamingConfig("balanced", 12, 1.5, 3, "some folder/it's", 2.5, 0.0),
    store="s3://bucket/pre fix",
    runs="elsewhere/runs",
    contributor="A. Person <a@b.c>",
)


def given_by(command: str) -> TrainConfig:
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("hydrapicker", "train")
    return parse_preset(TrainConfig, "train", arguments, PRESETS)


@pytest.mark.parametrize(
    "config",
    [
        demo(),
        paper(),
        replace(demo(), datasets=("a", "b"), loss=LossConfig(lambda_bias=0.0)),
        replace(paper(), loss=LossConfig(lambda_bias=0.30000000000000004)),
        replace(paper(), streaming=StreamingConfig(sampling=2.5)),
        EVERYTHING_ELSE,
    ],
)
def test_the_command_gives_the_config(config: TrainConfig) -> None:
    assert given_by(train_command(config)) == config


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        found |= leaves(value, f"{prefix}{entry.name}.") if is_dataclass(value) else {prefix + entry.name: value}
    return found


def test_no_option_is_left_untested() -> None:
    same = {name for name, value in leaves(EVERYTHING_ELSE).items() if value == leaves(paper())[name]}
    assert same == set(), "give a new option another value than its default's in EVERYTHING_ELSE"


def test_it_is_short_and_always_says_what_was_searched_for() -> None:
    assert train_command(replace(demo(), datasets=("a", "b"))) == (
        "hydrapicker train --preset demo --datasets a b --loss.lambda-bias 0.1"
    )
    assert train_command(paper()) == "hydrapicker train --preset paper --loss.lambda-bias 0.1"
