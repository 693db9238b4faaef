"""The whole product on a small scale: real simulation, store, Ray, MLflow, heads and files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import TRAIN, best_weights

from hydrapicker import list_heads, load_head
from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_micrograph, read_particles
from hydrapicker.training.config import StageConfig, TrainConfig
from hydrapicker_registry import HeadRegistry
from hydrapicker_registry.verify import verify

pytestmark = pytest.mark.timeout(420)


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
    assert main([*TRAIN, "--run-name", "first"]) == 0
    assert [(head.dataset, head.version) for head in list_heads()] == before
    assert "stage 1 1/2" not in capsys.readouterr().out


def test_a_run_is_never_continued_on_other_data(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--run-name", "first", "--datasets", "a"]) == 1
    assert "another config or other datasets" in capsys.readouterr().err


def test_more_workers_than_cpus_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--loop.workers", "64", "--loop.minibatches-per-step", "64", "--run-name", "too-many"]
    assert main([*TRAIN, *wanted]) == 1
    assert "64 workers" in capsys.readouterr().err


def test_what_a_user_must_mend_is_not_tried_again(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = tmp_path / "attempts"

    def refuse(config: dict[str, Any]) -> None:
        with attempts.open("a") as log:
            log.write("one more ")
        raise InvalidInputError("mend this")

    monkeypatch.setattr("hydrapicker.training.on_ray.train_worker", refuse)
    assert main([*TRAIN, "--loop.workers", "1", "--run-name", "refused"]) == 1
    assert capsys.readouterr().err == "hydrapicker train: mend this\n"
    assert attempts.read_text() == "one more "


def test_as_many_workers_as_there_is_room_for_end_at_the_same_weights(trained: Path) -> None:
    assert main([*TRAIN, "--loop.workers", "1:2", "--loop.cpus-per-worker", "1", "--run-name", "elastic"]) == 0
    expected, got = best_weights(trained, "first"), best_weights(trained, "elastic")
    assert expected.keys() == got.keys()
    assert all(np.allclose(got[name], value, rtol=1e-3, atol=1e-5) for name, value in expected.items())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_one_line(
    trained: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main([*TRAIN, "--run-name", "elsewhere"]) == 1
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
    for metric in "validation/ap_own train/gradient_norm speed/data_wait_fraction test/ap_generic".split():
        assert metric in run.data.metrics, sorted(run.data.metrics)
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/localisation")]
    assert steps == [1, 2, 3, 4]
    stage2 = runs["first stage 2"]
    assert stage2.data.tags["mlflow.parentRunId"] == run.info.run_id
    for metric in "train_loss/a.localisation validation_ap/b.generic validation_auroc/b.own train_distance/a".split():
        assert metric in stage2.data.metrics, sorted(stage2.data.metrics)
    names = {file.path for folder in ("curves", "overlays") for file in client.list_artifacts(run.info.run_id, folder)}
    assert {"curves/learning.png", "curves/a.png", "curves/generic.png", "overlays/a.png", "overlays/b.png"} <= names
    assert not (trained / "mlruns").exists()


def test_a_contribution_leaves_trunk_and_generic_head_as_they_are(trained: Path) -> None:
    before = HeadRegistry().load("generic")
    length = "--stage.epochs 2 --loop.epoch-steps 1"
    command = f"contribute c.new {length} --augmentation.crop-px 64 --loop.batch-size 2 --run-name contribution"
    assert main(command.split()) == 0
    registered = {head.dataset: head for head in reversed(list_heads())}  # the newest versions
    assert registered["c.new"].trunk_version == before.version.trunk_version
    assert registered["generic"].version == before.version.version
    contributed = best_weights(trained, "contribution")
    frozen = {f"trunk.{name}": value.numpy() for name, value in before.trunk.weights.items()}
    generic = {f"_heads.%generic.{name}": value.numpy() for name, value in before.head.weights.items()}
    for name, value in (frozen | generic).items():
        assert np.array_equal(contributed[name], value), name
    assert all(name in frozen | generic or name.startswith("_heads.%c%2Enew") for name in contributed)
    assert not np.array_equal(contributed["_heads.%c%2Enew.out.weight"], generic["_heads.%generic.out.weight"])


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


def test_without_stage_2_the_single_head_is_the_generic_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a registry of its own, as a model to compare with; and the tables compare with it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///single.db")
    shorter = "--run-name single --stage1.epochs 1 --stage2.epochs 0 --loop.workers 1 --datasets a".split()
    assert main([*TRAIN, *shorter]) == 0
    (head,) = list_heads()
    assert (head.dataset, head.version, head.ap is not None) == ("generic", 1, True)
    single = best_weights(trained, "single")
    assert not any(name.startswith("_heads.%a") for name in single)

    # Stage 2 alone, from what is registered there; a step this small moves nothing that can be seen.
    onwards = "--run-name onwards --init generic@1 --stage1.epochs 0 --stage2.epochs 1 --stage2.learning-rate 1e-9"
    assert main([*TRAIN, *onwards.split(), "--loop.workers", "1", "--datasets", "a"]) == 0
    for name, value in best_weights(trained, "onwards").items():
        assert np.allclose(value, single[name.replace("%a", "%generic")], atol=1e-6), name
    wider = main([*TRAIN, *onwards.split(), "--datasets", "a", "--network.width", "6"])
    assert (wider, "give --network.width 4" in capsys.readouterr().err) == (1, True)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main("heads evaluate --datasets a --out tables --against single-head=sqlite:///single.db".split()) == 0
    rows = [
        line.split(" | ") for line in (trained / "tables" / "tables.md").read_text().splitlines() if "| a |" in line
    ]
    assert [len(row) for row in rows] == [6]
    with pytest.raises(InvalidInputError, match="neither stage has any epochs"):
        TrainConfig(stage1=StageConfig(0, "adam", 1e-3), stage2=StageConfig(0, "sgd", 1e-3))
