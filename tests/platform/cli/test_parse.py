"""Options over YAML over preset, and every way of getting them wrong."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tyro
import yaml

from hydrapicker.cli.parse import from_yaml, parse, parse_preset, parse_with_file
from hydrapicker.errors import InvalidInputError
from hydrapicker.store.config import IngestConfig
from hydrapicker.training.config import PRESETS, TrainConfig, demo, paper
from hydrapicker.training.contribute import ContributeConfig
from hydrapicker.training.train import config_as_yaml


def train(*arguments: object) -> TrainConfig:
    return parse_preset(TrainConfig, "train", [str(argument) for argument in arguments], PRESETS)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_nothing_given_is_the_papers_preset() -> None:
    assert train() == paper()


def test_a_preset_sets_all_and_a_flag_one() -> None:
    assert train("--preset", "demo") == demo()
    assert train("--loop.seed", 3, "--preset=demo") == replace(demo(), loop=replace(demo().loop, seed=3))


def test_flags_win_over_yaml_and_yaml_over_the_preset(written: Path) -> None:
    written.write_text("datasets: [a, b]\nstage1: {epochs: 7, learning_rate: 0.5}\nloop:\n  seed: 11\n")
    found = train("--config", written, "--stage1.epochs", 9, "--preset", "demo", "--loop.gpu")
    wanted = replace(
        demo(),
        datasets=("a", "b"),
        stage1=replace(demo().stage1, epochs=9, learning_rate=0.5),
        loop=replace(demo().loop, seed=11, gpu=True),
    )
    assert found == wanted


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_what_a_run_logs_can_be_given_back(written: Path, preset: str) -> None:
    awkward = {"datasets": ("x.1", "007"), "run_name": "no", "store": "s3://bucket/a b", "contributor": "1e3"}
    config = replace(PRESETS[preset](), **awkward)
    written.write_text(config_as_yaml(config))
    other = "demo" if preset == "paper" else "paper"
    assert train("--config", written, "--preset", other) == config
    assert yaml.safe_load(config_as_yaml(config))["loop"] == asdict(config)["loop"]


@pytest.mark.parametrize("given", ["1:4", "'1:4'", "4", "'4'"])
def test_a_range_of_workers_is_one_in_yaml_as_on_the_command_line(written: Path, given: str) -> None:
    written.write_text(f"loop: {{workers: {given}}}")  # YAML 1.1 has it that 1:4 is 64
    wanted = given.strip("'")
    assert train("--config", written).loop.worker_range == train("--loop.workers", wanted).loop.worker_range
    written.write_text(config_as_yaml(train("--loop.workers", wanted)))
    assert train("--config", written) == train("--loop.workers", wanted)


def test_a_contributions_config_can_be_given_back(written: Path) -> None:
    def contribution(*arguments: str) -> ContributeConfig:
        return parse_with_file(ContributeConfig, "contribute", arguments, ContributeConfig(tyro.MISSING))

    config = contribution("c.new", "--stage.epochs", "3", "--loop.seed", "7")
    written.write_text(config_as_yaml(config))
    assert contribution("--config", str(written)) == config
    assert contribution("other", "--config", str(written), "--loop.seed", "8") == replace(
        config, dataset="other", loop=replace(config.loop, seed=8)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: 3", "unknown option 'epochs': known are datasets, run_name"),
        ("stage1: {epoch: 3}", "stage1: unknown option 'epoch': known are epochs"),
        ("stage1: 3", "stage1 is 3: give its options as a tree"),
        ("stage1:", "stage1 is None: give its options as a tree"),
        ("stage1: {epochs: many}", "stage1: epochs is 'many'"),
        ("stage1: {epochs: 2.5}", "stage1: epochs is 2.5"),
        ("stage1: {epochs: -1}", "stage1: epochs -1 is negative"),
        ("stage1: {optimiser: lion}", "stage1: optimiser is 'lion'"),
        ("loop: {workers: 3}", "loop: minibatches_per_step 8 cannot be shared evenly by 3"),
        ("network: {width: 3}", "network: network width 3 is not a positive even number"),
        ("datasets: toy", "datasets is 'toy'"),
        ("datasets: [[a]]", "datasets is [['a']]"),
        ("run_name: [a]", "run_name is ['a']"),
        ("1: 2", "unknown option 1"),
        ("- a\n- b", "not a tree of options"),
        ("", "not a tree of options"),
        ("a: [", "not YAML"),
        ("!!python/object:os.system {}", "not YAML"),
        ("a: \x00", "not YAML"),
    ],
)
def test_a_wrong_yaml_is_one_line_that_names_file_and_option(written: Path, text: str, words: str) -> None:
    written.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        from_yaml(written, paper())
    message = str(caught.value)
    assert message.startswith(str(written))
    assert words in message
    assert "\n" not in message


def test_a_yaml_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"run_name: \xe9")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(InvalidInputError, match="cannot be read") as caught:
            from_yaml(path, paper())
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_what_a_config_refuses_comes_out_as_its_own_error(capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["--micrographs", "m", "--particles", "p", "--diameter-angstrom"]
    with pytest.raises(InvalidInputError, match=r"^dataset name 'a/b' is not allowed: "):
        parse(IngestConfig, "ingest", ["a/b", *needed, "1"])
    with pytest.raises(InvalidInputError, match=r"^diameter_angstrom is -1.0; give a number above 0$"):
        parse(IngestConfig, "ingest", ["a", *needed, "-1"])
    with pytest.raises(InvalidInputError, match="cannot be shared evenly by 3 workers"):
        train("--loop.workers", 3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [["--preset", "none"], ["--loop.seed", "x"], ["--loop.sed", "1"], ["surplus"], ["--config"], ["--loop.seed"]],
)
def test_misuse_ends_with_2_and_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train(*arguments)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


def test_help_names_presets_and_options_with_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train("--preset", "demo", "--help")
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("--preset demo or paper", "--stage1.learning-rate", f"default: {demo().network.width}"):
        assert words in shown
