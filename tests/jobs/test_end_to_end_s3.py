"""Datasets on an S3 server, artifacts of MLflow there too: simulated, ingested, trained, contributed, loaded."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from s3_server import S3Server

from hydrapicker import list_heads, load_head
from hydrapicker.cli import main

TRAIN = (
    "train --datasets a b --network.width 4 --augmentation.crop-px 64 --loop.workers 2 --loop.minibatches-per-step 2 "
    "--loop.batch-size 2 --stage1.epochs 1 --stage2.epochs 1 --streaming.sampling balanced --run-name from-s3"
).split()

pytestmark = pytest.mark.timeout(600)


@contextmanager
def mlflow_server(folder: Path, artifacts: str) -> Iterator[str]:
    """Run MLflow on loopback; clients read and write artifacts in S3 themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1 --no-serve-artifacts"
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", artifacts]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command.split(), *places], cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, folder / "mlflow.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # all it holds is this test's
            server.wait()


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(720):
        assert server.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.25)
    raise TimeoutError(log.read_text())


@pytest.fixture(scope="module")
def lab(running_s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket with two datasets, and MLflow with its artifacts there; nothing is told but the usual variables."""
    folder, bucket = tmp_path_factory.mktemp("lab"), f"lab-{uuid4().hex[:16]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for key, value in running_s3.environment.items():
            patch.setenv(key, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        client = boto3.client("s3")
        client.create_bucket(Bucket=bucket)
        with mlflow_server(folder, f"s3://{bucket}/mlflow") as tracking:
            patch.setenv("HYDRAPICKER_STORE", f"s3://{bucket}/datasets")
            patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
            patch.setenv("MLFLOW_TRACKING_URI", tracking)
            for name, shape, seed in (("a", "shell", 1), ("b", "barrel", 2)):
                simulate(name, shape, seed)
                ingest(name, f"hydrapicker-data/simulated/{name}", bucket if name == "b" else None)
            yield bucket
            import ray

            ray.shutdown()


def simulate(name: str, shape: str, seed: int) -> None:
    size = f"--seed {seed} --micrographs 5 --height 192 --width 256 --pixel-size-angstrom 8"
    assert main(f"simulate {name} --structure builtin:{shape} {size}".split()) == 0


def ingest(name: str, simulated: str, bucket: str | None) -> None:
    """Ingest from the folder or, where a bucket is given, from a copy of it in there."""
    place = simulated
    if bucket:
        place = f"s3://{bucket}/raw/{name}"
        for path in Path(simulated).rglob("*.*"):
            boto3.client("s3").upload_file(str(path), bucket, f"raw/{name}/{path.relative_to(simulated)}")
    files = f"--micrographs {place}/micrographs --particles {place}/particles.star --diameter-angstrom 180"
    assert main(["ingest", name, *files.split()]) == 0


def test_training_streams_from_s3_and_registers_heads_there(lab: str) -> None:
    import ray

    ray.shutdown()  # a cluster of another test does not know this test's variables
    assert main([*TRAIN, "--runs", f"s3://{lab}/runs"]) == 0
    heads = {head.dataset for head in list_heads()}
    assert heads == {"generic", "a", "b"}
    objects = boto3.client("s3").list_objects_v2(Bucket=lab, Prefix="mlflow/")["Contents"]
    weights = sum(entry["Key"].endswith(".safetensors") for entry in objects)
    assert weights == 7, "a trunk, and three heads with a copy of it"
    assert not Path("hydrapicker-data/datasets").exists(), "nothing of the store is on this disk"
    checkpoints = boto3.client("s3").list_objects_v2(Bucket=lab, Prefix="runs/from-s3/checkpoint_")["Contents"]
    assert sum(entry["Key"].endswith("progress.json") for entry in checkpoints) == 2, "the last two stay"
    assert not Path("hydrapicker-data/runs").exists(), "and no checkpoint"
    picks = load_head("a").pick("hydrapicker-data/simulated/a/micrographs/a_00001.mrc", threshold=0.0)
    assert len(picks) > 0


def test_the_share_of_time_spent_waiting_for_data_is_on_record(lab: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'from-s3'")
    assert 0 <= run.data.metrics["speed/data_wait_fraction"] < 1
    assert run.data.params["config.streaming.sampling"] == "balanced"


def test_datasets_in_s3_verify(lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        assert main(["datasets", "verify", name]) == 0
    capsys.readouterr()
    assert main(["datasets", "b", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["micrographs"] == {"train": 3, "val": 1, "test": 1}
