"""Contributions to a trained registry: a lab's own files in private, where to start, and a new trunk."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from hydrapicker.cli import main
from hydrapicker.store.store import Store
from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage, TrunkReference
from hydrapicker_registry.verify import verify

pytestmark = pytest.mark.timeout(300)

QUICK = "--stage.epochs 2 --loop.epoch-steps 1 --augmentation.crop-px 64 --loop.cpus-per-worker 1".split()
SIMULATED = "hydrapicker-data/simulated/c.new"


@pytest.fixture
def files(trained: Path, tmp_path: Path) -> list[str]:
    """Options for three labelled micrographs."""
    lines = (trained / SIMULATED / "particles.star").read_text().splitlines(keepends=True)
    star = tmp_path / "secret_picks.star"
    star.write_text("".join(line for line in lines if "_00004" not in line and "_00005" not in line))
    micrographs = [f"{SIMULATED}/micrographs/c.new_0000{i}.mrc" for i in (1, 2, 3)]
    return ["--micrographs", *micrographs, "--particles", str(star), "--diameter-angstrom", "180"]


@pytest.fixture
def client(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowClient:
    """A copy of the trained registry that other tests do not see; files stay where they were."""
    shutil.copyfile(trained / "hydrapicker-data/mlflow.db", tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


def test_three_micrographs_in_private_leave_nothing_but_a_head(
    client: MlflowClient, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"--store {tmp_path}/store".split()
    assert (
        main(["contribute", "few", *files, *store, *QUICK, "--private", "--init", "nearest", "--run-name", "few"]) == 0
    )
    said = capsys.readouterr().out
    for words in ("few v0001: 1 train, 1 val, 1 test micrographs", "minibatches of 1 instead of 4", "starts from head"):
        assert words in said, said
    assert len(Store(f"{tmp_path}/store").open("few")) == 3

    registry = HeadRegistry()
    (version,) = registry.versions("few")
    head = registry.load("few", 1).head
    assert head.pictures == {}
    assert "Contributed in private" in client.get_model_version("hydrapicker.head.few", "1").description
    assert [finding.problem for finding in verify(registry, "few")] == [None]
    left = [str(head.metadata)]
    for run_id in (version.run_id, *children(client, version.run_id)):
        run = client.get_run(run_id)
        assert not run.inputs.dataset_inputs
        left += [str(run.data.params), str(run.data.tags), *texts(client, run_id, tmp_path)]
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{version.run_id}'")
    assert len(models) == 1
    for model in models:
        left += [str(model.params), str(model.tags), str(model.metrics)]
        kept = [file for file in Path(model.artifact_location.removeprefix("file://")).rglob("*") if file.is_file()]
        assert any(file.name == "head.safetensors" for file in kept)
        assert not [file for file in kept if file.suffix == ".png"]
        left += [file.read_text() for file in kept if file.suffix in (".json", ".md", "")]
    everything = "\n".join(left)
    assert "config.private" in everything
    for secret in ("c.new", "_0000", "simulated", "secret_picks", str(tmp_path / "store")):
        assert secret not in everything, secret


def test_two_micrographs_are_enough_for_the_gate(
    client: MlflowClient, trained: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trains, one judges; none says which weights were best, nor with which threshold they pick best."""
    two = [option for option in files if not option.endswith("_00003.mrc")]
    star = tmp_path / "secret_picks.star"
    star.write_text("".join(line for line in star.read_text().splitlines(keepends=True) if "_00003" not in line))
    assert main(["contribute", "two", *two, "--store", f"{tmp_path}/store", *QUICK, "--run-name", "two"]) == 0
    said = capsys.readouterr().out
    assert "two v0001: 1 train, 0 val, 1 test micrographs" in said
    assert "no validation micrographs: the last weights are taken" in said
    (version,) = HeadRegistry().versions("two")
    head = HeadRegistry().load("two", 1).head
    assert head.metadata.metrics["micrographs"] == 1
    assert ("champion" in version.aliases) == bool(head.metadata.metrics["gate_passed"])
    last = max((trained / "hydrapicker-data/runs/two").glob("checkpoint_*/network.safetensors"))
    network, best = load_file(last), load_file(last.with_name("best.safetensors"))
    assert all(torch.equal(best[name], value) for name, value in network.items())


def children(client: MlflowClient, run_id: str) -> list[str]:
    experiment = client.get_run(run_id).info.experiment_id
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert below
    return [run.info.run_id for run in below]


def texts(client: MlflowClient, run_id: str, folder: Path) -> list[str]:
    """What a run's files say; none of them is a picture."""
    found = []
    pending = list(client.list_artifacts(run_id))
    while pending:
        file = pending.pop()
        if file.is_dir:
            pending += client.list_artifacts(run_id, file.path)
            continue
        assert not file.path.endswith(".png"), file.path
        found.append(Path(client.download_artifacts(run_id, file.path, str(folder))).read_text())
    return found


def register_next_trunk(client: MlflowClient) -> None:
    """A second trunk with its generic head, as another training would leave them; this one is the first, shifted."""
    registry = HeadRegistry()
    generic = registry.load("generic")
    weights = {
        name: value * 1.01 if value.is_floating_point() else value for name, value in generic.trunk.weights.items()
    }
    trunk = TrunkPackage(generic.trunk.metadata, weights)
    run_id = generic.version.run_id
    number = registry.register_trunk(trunk, run_id)
    metadata = replace(generic.head.metadata, trunk=TrunkReference(number, trunk.sha256))
    head = HeadPackage(metadata, {name: torch.clone(value) for name, value in generic.head.weights.items()})
    registry.register_head(head, run_id, "champion")


def test_heads_are_suggested_and_those_behind_are_rebased(
    client: MlflowClient, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def heads(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["heads", *arguments]) == 0
        return capsys.readouterr().out

    ranked = json.loads(heads("suggest", "a", "--json", "--count", "2"))
    assert {head["head"] for head in ranked["heads"]} == {"generic", "a", "b"} | contributed(client)
    aps = [head["ap"] for head in ranked["heads"]]
    assert aps == sorted(aps, reverse=True)
    assert {head["micrographs"] for head in ranked["heads"]} == {2}
    assert "hydrapicker contribute NAME --init" in heads("suggest", *files)
    assert main(["heads", "rebase", "a"]) == 1
    assert "is not behind" in capsys.readouterr().err
    assert not any(head["behind"] for head in json.loads(heads("--json")))

    register_next_trunk(client)
    assert {h["dataset"] for h in json.loads(heads("--json", "--alias", "champion")) if h["behind"]} >= {"a", "b"}
    assert "1 (behind)" in heads("--name", "a")
    assert "left out, as it belongs to trunk version 1: a version 1" in heads("suggest", "a")
    assert main(["contribute", "c.new", *QUICK, "--init", "a", "--run-name", "refused"]) == 1
    assert "rebase it first" in capsys.readouterr().err
    assert main(["heads", "rebase", "a", *QUICK, "--loop.batch-size", "2", "--run-name", "rebased"]) == 0
    newest, first = HeadRegistry().versions("a")
    assert (newest.trunk_version, first.trunk_version) == (2, 1)
    metrics = HeadRegistry().load("a", newest.version).head.metadata.metrics
    assert metrics["gate_champion_version"] == first.version
    assert ("champion" in newest.aliases) == bool(metrics["gate_passed"])


def contributed(client: MlflowClient) -> set[str]:
    """Champions that other tests of the laboratory may have contributed."""
    return {head.dataset for head in HeadRegistry().list_heads() if "champion" in head.aliases} - {"generic", "a", "b"}
