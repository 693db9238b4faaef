"""What a search can be told, on the command line and in YAML, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from hydrapicker.cli.parse import from_yaml, parse_preset
from hydrapicker.errors import InvalidInputError
from hydrapicker.training.config import demo as training_demo
from hydrapicker.training.train import config_as_yaml
from hydrapicker.tuning.config import PRESETS, SearchConfig, TuneConfig, demo, paper


def parsed(options: str) -> TuneConfig:
    return parse_preset(TuneConfig, "tune", options.split(), PRESETS)


def test_a_training_s_options_are_named_as_those_of_train() -> None:
    config = parsed("--preset demo --datasets a b --targets c --stage2.learning-rate 1e-4 --network.width 8")
    assert config.targets == ("c",)
    assert config.train.datasets == ("a", "b")
    assert config.train.stage2.learning_rate == 1e-4
    assert config.train.network == replace(training_demo().network, width=8)
    assert config.trials == demo().trials
    assert parsed("") == paper()


def test_ranges_and_choices() -> None:
    search = parsed("--search.lambda-bias 0.1 2 --search.lambda-cls 1 8 --search.bias-forms squared per-head").search
    assert search == SearchConfig((0.1, 2.0), lambda_cls=(1.0, 8.0), bias_forms=("squared", "per-head"))
    assert parsed("--search.widths 8 16 --search.learning-rate 1e-4 1e-3").search.widths == (8, 16)


def test_yaml_gives_back_the_config(tmp_path: Path) -> None:
    config = parsed("--preset demo --datasets a b --targets c --search.learning-rate 1e-4 1e-3 --search.widths 8 16")
    (tmp_path / "config.yaml").write_text(config_as_yaml(config))
    assert from_yaml(tmp_path / "config.yaml", paper()) == config


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ("--datasets a b --targets c a", "dataset a is both a source and a target"),
        ("--trials 1", "give at least 2"),
        ("--search.lambda-bias 2 1", r"lambda_bias from 2.0 to 1.0 is an empty range.*lower one first"),
        ("--search.lambda-bias 1 1", "empty range"),
        ("--search.lambda-bias 0 1", "two positive numbers"),
        ("--search.lambda-bias 1 inf", "empty range"),
        ("--search.lambda-bias nan 1", "empty range"),
        ("--search.lambda-cls 2 1", "lambda_cls from 2.0 to 1.0"),
        ("--search.learning-rate 2 1", "learning_rate from 2.0 to 1.0"),
        ("--search.widths 8 8", "widths names one twice"),
        ("--search.widths 7", "width 7"),
        ("--grace-epochs 0", "--grace-epochs 100"),
        ("--grace-epochs 101", "--grace-epochs 100"),
        ("--reduction-factor 1", "less than 2"),
        ("--cpus-per-trial 0", "cpus_per_trial 0"),
        ("--runs s3://bucket/runs", "give a folder to a search"),
        ("--init generic", "leave --init out"),
    ],
)
def test_what_makes_no_search_is_refused_with_the_remedy(options: str, refusal: str) -> None:
    with pytest.raises(InvalidInputError, match=refusal) as error:
        parsed(options)
    assert "\n" not in str(error.value)


def test_an_unknown_form_in_yaml_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'cubed'"):
        SearchConfig(bias_forms=("cubed",))  # type: ignore[arg-type]
