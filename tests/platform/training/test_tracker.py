"""What MLflow holds of a training, read back through its own client from a real database."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, StageConfig
from hydrapicker.training.mlflow_metrics import by_dataset, final_metrics, summary
from hydrapicker.training.recipe import Phase, Recipe
from hydrapicker.training.tracker import TrainingTracker
from hydrapicker_core.augmentation import AugmentationConfig
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import NetworkConfig
from hydrapicker_registry.errors import RegistryError

MANY = [f"dataset{i}" for i in range(300)]


def recipe_of(run_name: str, names: list[str]) -> Recipe:
    return Recipe(
        run_name=run_name, identity="same", datasets=dict.fromkeys(names, "v0001"),
        fingerprints={name: f"{i:064x}" for i, name in enumerate(names)}, network=NetworkConfig(),
        phases=(
            Phase("stage 1", StageConfig(2, "adam", 1e-3)),
            Phase("stage 2", StageConfig(2, "sgd", 1e-3), heads=tuple(names)),
        ),
        loss=LossConfig(), augmentation=AugmentationConfig(), loop=LoopConfig(), streaming=StreamingConfig(),
        store="s3://bucket/store", box_px=21,
    )  # fmt: skip


def record_of(phase: str, epoch: int, names: list[str]) -> dict[str, Any]:
    judged = {"own": {"loss": 0.5, "ap": 0.75, "auroc": 0.8}, "generic": {"loss": 0.6, "ap": 0.25, "auroc": 0.5}}
    return {
        "phase": phase, "epoch": epoch,
        "losses": {name: {"localisation": 0.5, "classification": 0.25} for name in names},
        "distances": {name: float(i) for i, name in enumerate(names)} if phase == "stage 2" else {},
        "particles": 100, "lost_particles": 10, "learning_rate": 1e-3, "gradient_norm": 2.0, "megabytes_per_step": 1.5,
        "seconds": 3.0, "micrographs_per_second": 7.0, "data_wait_fraction": 0.125, "best_epoch": epoch,
        "validation": {"loss": 0.5, "heads": dict.fromkeys(names, judged)},
    }  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def client(database: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return MlflowClient(f"sqlite:///{database}")


def runs_of(client: MlflowClient, name: str) -> dict[str, Run]:
    """The run of a name, and those below it."""
    experiment = client.get_experiment_by_name("hydrapicker")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    return {key: run for key, run in runs.items() if key == name or key.startswith(f"{name} ")}


def points(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return sorted((entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, metric))


def test_a_run_for_the_training_and_a_child_for_each_phase(client: MlflowClient) -> None:
    names = ["a", "b.new"]
    tracker = TrainingTracker(recipe_of("whole", names), "TrainConfig")
    tracker.log_start({"network": {"width": 4}}, "network:\n  width: 4\n")
    for phase in ("stage 1", "stage 2"):
        for epoch in (1, 2):
            tracker.log_epoch(record_of(phase, epoch, names))
    tracker.end()
    runs = runs_of(client, "whole")
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ["whole", "whole stage 1", "whole stage 2"], "FINISHED"
    )
    parent = runs.pop("whole")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert points(client, parent, "validation/ap_own") == [(step, 0.75) for step in (1, 2, 3, 4)]
    assert points(client, parent, "speed/megabytes_per_step") == [(step, 1.5) for step in (1, 2, 3, 4)]
    stage2 = runs["whole stage 2"]
    assert points(client, stage2, "validation_ap/b.new.generic") == [(1, 0.25), (2, 0.25)]
    assert points(client, stage2, "train_distance/b.new") == [(1, 1.0), (2, 1.0)]
    assert points(client, stage2, "train/learning_rate") == [(1, 1e-3), (2, 1e-3)]
    assert stage2.data.params["optimiser"] == "sgd"
    assert not [name for name in parent.data.metrics if "b.new" in name], "the parent stays readable"
    assert parent.data.params["config.network.width"] == "4"
    assert parent.data.params["fingerprint.b.new"] == f"{1:064x}"
    assert parent.data.tags["version.mlflow"] == mlflow.__version__
    assert len(parent.data.tags["mlflow.source.git.commit"]) == 40
    (dataset,) = [entry.dataset for entry in parent.inputs.dataset_inputs if entry.dataset.name == "b.new"]
    assert "s3://bucket/store/b.new/v0001" in dataset.source
    assert f"{1:064x}" in dataset.profile


def test_a_continued_training_goes_on_in_its_own_runs_and_its_curves_have_no_hole(client: MlflowClient) -> None:
    recipe = recipe_of("stopped", ["a"])
    history = [record_of(phase, epoch, ["a"]) for phase in ("stage 1", "stage 2") for epoch in (1, 2)]
    tracker = TrainingTracker(recipe, "TrainConfig")
    for record in history[:2]:
        tracker.log_epoch(record)
    tracker.end("KILLED")
    statuses = {name: run.info.status for name, run in runs_of(client, "stopped").items()}
    assert statuses == {"stopped": "KILLED", "stopped stage 1": "KILLED"}
    tracker = TrainingTracker(recipe, "TrainConfig")
    tracker.log_epoch(history[2])
    tracker.end("KILLED")
    statuses = {name: run.info.status for name, run in runs_of(client, "stopped").items()}
    assert statuses == {"stopped": "KILLED", "stopped stage 1": "KILLED", "stopped stage 2": "KILLED"}

    tracker = TrainingTracker(recipe, "TrainConfig")
    tracker.log_epoch(history[2])  # trained again, as nobody had committed it
    tracker.log_history(history)  # the last epoch was finished while nobody watched
    tracker.end()
    runs = runs_of(client, "stopped")
    assert len(runs) == 3
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert [step for step, _ in points(client, runs["stopped"], "train/localisation")] == [1, 2, 3, 4]
    assert [step for step, _ in points(client, runs["stopped stage 2"], "train_distance/a")] == [1, 2]


def test_runs_left_running_by_a_watcher_that_was_killed_are_closed_with_the_training(client: MlflowClient) -> None:
    recipe = recipe_of("left", ["a"])
    TrainingTracker(recipe, "TrainConfig").log_epoch(record_of("stage 1", 1, ["a"]))
    assert {run.info.status for run in runs_of(client, "left").values()} == {"RUNNING"}
    TrainingTracker(recipe, "TrainConfig").end("KILLED")
    assert {run.info.status for run in runs_of(client, "left").values()} == {"KILLED"}


def test_three_hundred_datasets_take_a_few_calls(client: MlflowClient) -> None:
    tracker = TrainingTracker(recipe_of("many", MANY), "TrainConfig")
    tracker.log_start({}, "")
    with patch.object(MlflowClient, "log_batch", autospec=True, side_effect=MlflowClient.log_batch) as calls:
        tracker.log_epoch(record_of("stage 2", 1, MANY))
    assert calls.call_count <= 5
    parent, child = (runs_of(client, "many")[name] for name in ("many", "many stage 2"))
    assert child.data.metrics["validation_auroc/dataset299.own"] == 0.8
    assert len(child.data.metrics) == len(by_dataset(record_of("stage 2", 1, MANY))) + len(parent.data.metrics)
    assert parent.data.params["fingerprint.dataset299"] == f"{299:064x}"
    assert len(parent.inputs.dataset_inputs) == 300
    tracker.end()


def test_what_mlflow_cannot_take_now_it_gets_later_and_training_goes_on(client: MlflowClient) -> None:
    tracker = TrainingTracker(recipe_of("away", ["a"]), "TrainConfig")
    with patch.object(MlflowClient, "log_batch", side_effect=OSError("gone for lunch")):
        tracker.log_epoch(record_of("stage 1", 1, ["a"]))
        with pytest.raises(RegistryError, match="gone for lunch"):
            tracker.log_history([])
    tracker.log_epoch(record_of("stage 1", 2, ["a"]))
    assert points(client, runs_of(client, "away")["away"], "train/localisation") == [(1, 0.5), (2, 0.5)]
    tracker.end()


def test_means_are_over_the_datasets_that_have_a_value() -> None:
    record = record_of("stage 2", 1, ["a", "b", "c"])
    heads = {name: {role: {**values} for role, values in record["validation"]["heads"]["a"].items()} for name in "abc"}
    heads["a"]["own"]["ap"], heads["b"]["own"]["ap"] = 0.25, float("nan")
    record["validation"] = {"loss": 0.5, "heads": heads}
    assert summary(record)["validation/ap_own"] == 0.5
    assert summary(record)["train/lost_particles_fraction"] == 0.1
    assert summary({**record, "validation": None}).keys().isdisjoint({"validation/ap_own", "validation/loss"})
    empty = {**record, "losses": {}, "distances": {}, "particles": 0, "lost_particles": 0, "validation": None}
    assert summary(empty)["train/localisation"] is None
    assert by_dataset(empty) == {}
    metrics = final_metrics({"a": {"own": {"ap": 1.0}, "generic": {"ap": 0.5}}, "b": {"own": {}, "generic": {}}})
    assert (metrics["test/ap_own"], metrics["test_ap/a.generic"], metrics["test_ap/b.own"]) == (1.0, 0.5, None)
