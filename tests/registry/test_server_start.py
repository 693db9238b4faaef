"""What keeps the server from starting, each told in one line before anything is started."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from hydrapicker_registry.server.__main__ import main
from hydrapicker_registry.server.backup import main as main_of_backup
from hydrapicker_registry.server.settings import SETTINGS
from hydrapicker_registry.server.users import main as main_of_users

DEPLOYMENT = Path(__file__).parents[2] / "registry" / "server"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings that lead nowhere; returns the file of logins."""
    logins = tmp_path / "auth.ini"
    logins.touch(mode=0o600)
    logins.write_text("[mlflow]\ndefault_permission = READ\ndatabase_uri = postgresql+psycopg://r@127.0.0.1:1/logins\n")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg://r@127.0.0.1:1/registry")
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(tmp_path / "files"))
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(logins))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("PGPASSFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    return logins


def test_a_setting_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MLFLOW_ARTIFACTS_DESTINATION")
    assert main([]) == 1
    assert capsys.readouterr().err == "MLFLOW_ARTIFACTS_DESTINATION is not set: see registry/server/README.md\n"


@pytest.mark.parametrize("name", ["MLFLOW_AUTH_CONFIG_PATH", "PGPASSFILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_with_secrets_can_be_read_by_others(
    monkeypatch: pytest.MonkeyPatch, settings: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, str(settings))
    settings.chmod(0o640)
    assert main([]) == 1
    assert capsys.readouterr().err == f"{settings}: others may read it; `chmod 600 {settings}`\n"
    settings.chmod(0o600)
    monkeypatch.setenv(name, f"{settings}.gone")
    assert main([]) == 1
    assert capsys.readouterr().err == f"{settings}.gone: not there; {name} names it\n"


def test_logins_elsewhere_would_not_be_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of_backup(["save", str(tmp_path / "saved")]) == 1
    assert "the logins are in another database" in capsys.readouterr().err
    assert not (tmp_path / "saved").exists()


def test_nothing_was_saved_there(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text(settings.read_text().replace("/logins", "/registry"))
    assert main_of_backup(["restore", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{tmp_path}: holds no database.dump; give a folder that `save` wrote\n"


def test_a_database_in_a_file_has_no_logins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of_users(["list"]) == 1
    assert "set MLFLOW_TRACKING_URI to the server's address" in capsys.readouterr().err


def test_the_files_of_the_deployment_show_no_port_and_hold_no_secret() -> None:
    compose = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for variable in service.get("environment", {}):
            assert not variable.endswith(("PASSWORD", "SECRET_KEY", "SECRET_ACCESS_KEY")), variable
    assert all(secret["file"].startswith("secrets/") for secret in compose["secrets"].values())
    lines = (DEPLOYMENT / "registry.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(SETTINGS) <= set(given)
    assert {name for name, value in given.items() if not value} == {
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
    }
    assert given["MLFLOW_BACKEND_STORE_URI"] in (DEPLOYMENT / "auth.ini").read_text()


@pytest.mark.parametrize("unit", sorted(DEPLOYMENT.glob("*.service")), ids=lambda path: path.name)
def test_units_start_modules_that_are_there(unit: Path) -> None:
    (command,) = (line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    words = command.split()
    assert words[1] == "-m"
    assert find_spec(words[2]) is not None
