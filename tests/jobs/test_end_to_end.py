"""The whole product on a small scale: real simulation, store, Ray, MLflow, heads and files."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hydrapicker import list_heads, load_head
from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_micrograph, read_particles
from hydrapicker_registry import HeadRegistry
from hydrapicker_registry.verify import verify

TRAIN = (
    "--network.width 4 --augmentation.crop-px 64 --loop.workers 2 --loop.minibatches-per-step 2 --loop.batch-size 2 "
    "--loop.validate-every 1 --stage1.epochs 2 --stage2.epochs 2"
).split()

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with two source datasets, ``a`` and ``b``, and a new one, ``c.new``."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        for variable in ("HYDRAPICKER_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(variable, raising=False)
        for name, shape, seed in (("a", "shell", 1), ("b", "barrel", 2), ("c.new", "disc", 3)):
            simulated = f"hydrapicker-data/simulated/{name}"
            command = (
                f"simulate {name} --structure builtin:{shape} --seed {seed} --micrographs 5 --height 192 --width 256"
            )
            assert main([*command.split(), "--pixel-size-angstrom", "8"]) == 0
            command = f"ingest {name} --micrographs {simulated}/micrographs --particles {simulated}/particles.star"
            assert main([*command.split(), "--diameter-angstrom", "180"]) == 0
        yield folder
        import ray

        ray.shutdown()


@pytest.fixture(scope="module")
def trained(lab: Path) -> Path:
    assert main(["train", "--datasets", "a", "b", *TRAIN, "--run-name", "first"]) == 0
    return lab


def best_weights(lab: Path, run: str) -> dict[str, np.ndarray]:
    files = sorted((lab / "hydrapicker-data/runs" / run).glob("checkpoint_*/best.safetensors"))
    return load_file(files[-1])


def test_training_registers_a_trunk_and_all_heads(trained: Path) -> None:
    heads = {head.dataset: head for head in list_heads()}
    assert set(heads) == {"generic", "a", "b"}
    assert {head.aliases for head in heads.values()} == {("champion",)}
    assert {head.trunk_version for head in heads.values()} == {1}
    assert all(head.ap is not None for head in heads.values())
    registry = HeadRegistry()
    for name in heads:
        assert set(registry.load(name).head.pictures) == {"overlay.png", "curves.png"}
    assert [finding.problem for finding in verify(registry)] == [None] * 4


def test_the_heads_moved_and_so_did_the_generic_head(trained: Path) -> None:
    weights = best_weights(trained, "first")
    generic, a, b = (weights[f"_heads.%{name}.out.weight"] for name in ("generic", "a", "b"))
    assert not np.array_equal(a, b)
    assert not np.array_equal(generic, a)


def test_the_same_command_again_trains_and_registers_nothing_twice(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(head.dataset, head.version) for head in list_heads()]
    assert main(["train", "--datasets", "a", "b", *TRAIN, "--run-name", "first"]) == 0
    assert [(head.dataset, head.version) for head in list_heads()] == before
    assert "stage 1 1/2" not in capsys.readouterr().out


def test_a_run_is_never_continued_on_other_data(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--datasets", "a", *TRAIN, "--run-name", "first"]) == 1
    assert "another config or other datasets" in capsys.readouterr().err


def test_more_workers_than_cpus_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--loop.workers", "64", "--loop.minibatches-per-step", "64", "--run-name", "too-many"]
    assert main(["train", "--datasets", "a", "b", *TRAIN, *wanted]) == 1
    assert "64 workers" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_one_line(
    trained: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(["train", "--datasets", "a", "b", *TRAIN, "--run-name", "elsewhere"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"RAY_ADDRESS={address}" in line
    assert not (trained / "hydrapicker-data/runs/elsewhere").exists()


def test_mlflow_holds_config_figures_and_curves(trained: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{trained}/hydrapicker-data/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = runs["first"]
    assert run.info.status == "FINISHED"
    assert run.data.params["config.network.width"] == "4"
    figures = "losses.a.localisation validation.heads.b.generic.ap distances.a gradient_norm data_wait_fraction"
    for figure in figures.split():
        assert figure in run.data.metrics, sorted(run.data.metrics)
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "losses.a.localisation")]
    assert steps == [1, 2, 3, 4]
    names = {file.path for file in client.list_artifacts(run.info.run_id, "curves")}
    assert {"curves/learning.png", "curves/a.png", "curves/b.png", "curves/generic.png"} <= names
    assert not (trained / "mlruns").exists()


def test_a_contribution_leaves_trunk_and_generic_head_as_they_are(trained: Path) -> None:
    before = load_head("generic")
    command = "contribute c.new --stage.epochs 2 --augmentation.crop-px 64 --loop.batch-size 2 --run-name contribution"
    assert main(command.split()) == 0
    registered = {head.dataset: head for head in list_heads()}
    assert registered["c.new"].trunk_version == 1
    assert registered["generic"].version == before.version
    contributed, first = best_weights(trained, "contribution"), best_weights(trained, "first")
    for name, value in contributed.items():
        if not name.startswith("_heads.%c%2Enew"):
            assert np.array_equal(value, first[name]), name
    moved = contributed["_heads.%c%2Enew.out.weight"]
    assert not np.array_equal(moved, first["_heads.%generic.out.weight"])


def test_picks_of_files_arrays_and_the_command_line_agree(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    micrograph = trained / "hydrapicker-data/simulated/a/micrographs/a_00001.mrc"
    picker = load_head("a")
    picks = picker.pick(micrograph, threshold=0.0)
    read = read_micrograph(micrograph)
    again = picker.pick(read.image, pixel_size_angstrom=8.0, threshold=0.0)
    assert len(picks) > 0
    assert np.array_equal(picks.xy, again.xy)
    assert picks.x.dtype == picks.score.dtype == np.float32
    height, width = read.image.shape
    assert (picks.x > -1).all()
    assert (picks.x < width).all()
    assert (picks.y < height).all()

    assert main(["pick", str(micrograph), "--head", "a", "--threshold", "0", "--out", "picked", "--overlay"]) == 0
    written = read_particles("picked/picks.star")[str(micrograph)]
    assert np.allclose(written.xy, picks.xy, atol=1e-2)
    assert (trained / "picked/overlays/a_00001.png").exists()
    particles = "hydrapicker-data/simulated/a/particles.star"
    capsys.readouterr()
    command = f"evaluate --picks picked/picks.star --particles {particles} --diameter-angstrom 180 --json"
    assert main(command.split()) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["picks"] == len(picks)
    assert 0 <= figures["ap"] <= 1


def test_the_generic_head_asks_for_a_diameter(trained: Path) -> None:
    with pytest.raises(InvalidInputError, match="diameter"):
        load_head("generic").pick("hydrapicker-data/simulated/a/micrographs/a_00001.mrc")


def test_an_interrupted_training_says_how_to_go_on_and_mlflow_knows(trained: Path) -> None:
    from mlflow import MlflowClient

    command = [sys.executable, "-m", "hydrapicker", "train", "--datasets", "a", "b", *TRAIN]
    command += ["--run-name", "interrupted", "--stage1.epochs", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stderr is not None
        for line in driver.stdout:
            if line.startswith("stage 1 1/500"):
                driver.send_signal(signal.SIGINT)
        assert driver.wait() == 130
        assert driver.stderr.read().endswith("interrupted; run the same command to continue\n")
    client = MlflowClient(f"sqlite:///{trained}/hydrapicker-data/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    runs = {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert runs["interrupted"] == "KILLED"


def test_a_killed_training_goes_on_and_ends_bit_for_bit_where_the_undisturbed_one_ends(trained: Path) -> None:
    command = [sys.executable, "-m", "hydrapicker", "train", "--datasets", "a", "b", *TRAIN]
    command += ["--run-name", "killed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith("stage 1 2/2"):
                os.kill(driver.pid, signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "stage 1 1/2" not in finished.stdout, "it starts from the checkpoint"
    undisturbed, continued = best_weights(trained, "first"), best_weights(trained, "killed")
    assert undisturbed.keys() == continued.keys()
    for name, value in undisturbed.items():
        assert np.array_equal(continued[name], value), name
