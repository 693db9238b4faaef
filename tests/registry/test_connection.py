"""Where the registry is, and what happens when it is not there."""

import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hydrapicker_registry import HeadNotFoundError, HeadRegistry, RegistryError, ensure_experiment
from hydrapicker_registry.connection import default_tracking_uri, sqlite_file, without_login
from hydrapicker_registry.quiet import quiet


def test_importing_loads_neither_torch_nor_mlflow() -> None:
    code = "import hydrapicker_registry, sys; print({'torch', 'mlflow', 'ray', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_the_default_is_a_database_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/hydrapicker-data/mlflow.db"
    assert sqlite_file(default_tracking_uri()) == tmp_path / "hydrapicker-data" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert HeadRegistry().tracking_uri == "http://example.org"
    assert sqlite_file("http://example.org") is None


def test_a_password_in_an_address_is_never_shown() -> None:
    assert without_login("http://nina:secret@127.0.0.1:5000/x@y") == "http://127.0.0.1:5000/x@y"
    assert without_login("sqlite:////data/a@b/mlflow.db") == "sqlite:////data/a@b/mlflow.db"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(RegistryError, match=f"MLflow at http://127.0.0.1:{port} does not answer"):
        HeadRegistry(f"http://nina:secret@127.0.0.1:{port}").list_heads()


def test_reading_a_registry_that_is_not_there_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = HeadRegistry()
    assert registry.list_heads() == ()
    for read in (registry.resolve, registry.load):
        with pytest.raises(HeadNotFoundError, match="holds no heads yet: train with `hydrapicker train`"):
            read("PDB-6b7n")
    assert list(tmp_path.iterdir()) == []


def test_experiments_keep_their_files_beside_the_database(
    tracking_uri: str, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    experiment = MlflowClient(tracking_uri).get_experiment(ensure_experiment(tracking_uri, "training"))
    database = sqlite_file(tracking_uri)
    assert database is not None
    assert experiment.artifact_location == (database.parent / "artifacts").as_uri()
    assert ensure_experiment(tracking_uri, "training") == experiment.experiment_id
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_named_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(RegistryError, match=f"{uri} does not answer .*refused.*check MLFLOW_TRACKING_URI"):
        HeadRegistry(uri).list_heads()
    assert time.monotonic() - start < 10


def test_a_server_that_asks_for_a_login_says_which_variables_to_set() -> None:
    class Closed(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RegistryError, match="MLFLOW_TRACKING_USERNAME"):
            HeadRegistry(f"http://127.0.0.1:{server.server_port}").list_heads()
        server.shutdown()


def test_what_is_not_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is a text file and not a database")
    with pytest.raises(RegistryError, match="not a sqlite database"):
        HeadRegistry(f"sqlite:///{tmp_path}/mlflow.db").list_heads()
    with pytest.raises(RegistryError, match="is a folder"):
        HeadRegistry(f"sqlite:///{tmp_path}").list_heads()
    with pytest.raises(RegistryError, match="MLflow at ftp"):
        HeadRegistry("ftp://example.org/x").list_heads()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere, so a read-only folder cannot be tried")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RegistryError, match="Permission denied"):
        ensure_experiment(f"sqlite:///{tmp_path}/data/mlflow.db", "training")


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(RegistryError, match="data"):
        ensure_experiment(f"sqlite:///{tmp_path}/data/mlflow.db", "training")


def test_quiet_ends_with_the_last_of_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("mlflow.store")
    monkeypatch.setattr(logger, "level", logging.INFO + 3)
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logger.level == logging.CRITICAL
    second.__exit__(None, None, None)
    assert logger.level == logging.INFO + 3
