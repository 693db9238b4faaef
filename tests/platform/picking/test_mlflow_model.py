"""A head's version as MLflow's own tools use it: loaded in another folder, served over HTTP."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import mlflow.pyfunc
import mrcfile
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from hydrapicker import load_head
from hydrapicker_registry import PackageError, TrunkMismatchError

PIXEL = 1.9


@pytest.fixture
def files(here: Path, tracking_uri: str, tmp_path: Path) -> Path:
    """A copy of the files that MLflow keeps of head "any", version 1."""
    source = Path(urlparse(MlflowClient(tracking_uri).get_model_version("hydrapicker.head.any", "1").source).path)
    shutil.copytree(source, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def micrograph(here: Path, image: np.ndarray) -> Path:
    with mrcfile.new(here / "a.mrc", image) as file:
        file.voxel_size = PIXEL
    return here / "a.mrc"


def test_a_model_by_its_alias_picks_as_load_head_does(
    here: Path, tracking_uri: str, micrograph: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    model = mlflow.pyfunc.load_model("models:/hydrapicker.head.any@champion")
    table = model.predict(pd.DataFrame({"micrograph": [str(micrograph), str(micrograph)]}), params={"threshold": 0.3})
    picks = load_head("any").pick(micrograph, threshold=0.3)
    assert list(table.columns) == ["micrograph", "x", "y", "score"]
    assert len(table) == 2 * len(picks) > 20
    for half in (table[: len(picks)], table[len(picks) :]):
        np.testing.assert_array_equal(half[["x", "y"]].to_numpy(), picks.xy)
        np.testing.assert_array_equal(half["score"].to_numpy(), picks.score)
    assert set(table["micrograph"]) == {str(micrograph)}
    arrays = model.predict(
        pd.DataFrame({"micrograph": [image]}), params={"pixel_size_angstrom": PIXEL, "threshold": 0.3}
    )
    np.testing.assert_array_equal(arrays[["x", "y"]].to_numpy(), picks.xy)
    assert set(arrays["micrograph"]) == {"0"}


def test_what_cannot_be_picked_is_said(files: Path, image: np.ndarray) -> None:
    model = mlflow.pyfunc.load_model(str(files))
    assert model.predict(pd.DataFrame({"micrograph": []})).shape == (0, 4)
    with pytest.raises(Exception, match="no pixel size of its own"):
        model.predict(pd.DataFrame({"micrograph": [image]}))
    with pytest.raises(Exception, match="row 0 holds no image"):
        model.predict(pd.DataFrame({"micrograph": [["a", "b"]]}))
    with pytest.raises(Exception, match="missing inputs"):
        model.predict(pd.DataFrame({"file": ["a.mrc"]}))


def test_the_model_says_what_it_takes_and_gives_and_holds_no_pickle(files: Path) -> None:
    signature = mlflow.pyfunc.load_model(str(files)).metadata.signature
    assert signature.inputs.input_names() == ["micrograph"]
    assert signature.outputs.input_names() == ["micrograph", "x", "y", "score"]
    assert [spec.name for spec in signature.params] == ["pixel_size_angstrom", "diameter_angstrom", "threshold"]
    names = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
    assert names - {"registered_model_meta"} == {  # which MLflow leaves where it loads from a folder

        "MLmodel", "head_model.py", "head/head.json", "head/head.safetensors", "head/README.md",
        "trunk/trunk.json", "trunk/trunk.safetensors", "trunk/README.md",
    }  # fmt: skip
    assert "/" not in (files / "MLmodel").read_text().replace("n/a", ""), "no paths of this machine"


def test_a_model_with_spoiled_weights_or_another_trunk_does_not_load(files: Path, other_trunk: Path) -> None:
    weights = files / "head" / "head.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(PackageError, match="sha256 differs"):
        mlflow.pyfunc.load_model(str(files))
    weights.write_bytes(good)
    shutil.rmtree(files / "trunk")
    shutil.copytree(other_trunk, files / "trunk")
    with pytest.raises(TrunkMismatchError, match="'any' was trained on a trunk"):
        mlflow.pyfunc.load_model(str(files))


def test_mlflow_serves_a_head(here: Path, tracking_uri: str, micrograph: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/hydrapicker.head.any@champion"]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (
        (here / "serve.log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=here, start_new_session=True) as server,
    ):
        try:
            body = {"dataframe_records": [{"micrograph": str(micrograph)}], "params": {"threshold": 0.3}}
            answer = _ask(server, port, json.dumps(body).encode(), here / "serve.log")
        finally:
            os.killpg(server.pid, 15)
            server.wait(60)
    picks = load_head("any").pick(micrograph, threshold=0.3)
    found = np.array([(row["x"], row["y"], row["score"]) for row in answer["predictions"]])
    np.testing.assert_allclose(found, np.column_stack([picks.xy, picks.score]), rtol=1e-6)


def _ask(server: subprocess.Popen, port: int, body: bytes, log: Path) -> dict:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=30):
                break
        except OSError:
            time.sleep(0.2)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        pytest.fail(error.read().decode())
