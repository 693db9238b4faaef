"""What dying processes left in MLflow is found and removed, and nothing else is."""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlparse

import pytest

from hydrapicker.cli import main
from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage
from hydrapicker_registry.leftovers import AGE, find_leftovers, remove_leftovers
from hydrapicker_registry.verify import verify

NOW = timedelta(0)


class Died(BaseException):
    """What ends a process at the call where it is raised."""


@pytest.fixture
def left(registry: HeadRegistry, run_id: str, trunk: TrunkPackage, head: HeadPackage) -> dict[str, Path]:
    """A registered head, and what two processes left: one died before all files were there, one before the version."""
    registry.register_trunk(trunk, run_id)
    registry.register_head(head, run_id, "champion")
    for leftover in find_leftovers(registry, NOW):
        remove_leftovers(registry, (leftover,))
    found = {}
    for number, call in enumerate(("finalize_logged_model", "create_model_version")):
        other = HeadPackage(head.metadata, {name: value + 1 + number for name, value in head.weights.items()})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry.client, call, _dies)
            with pytest.raises(Died):
                registry.register_head(other, run_id, "champion")
        (new,) = (each for each in find_leftovers(registry, NOW) if each.model_id not in found)
        found[new.model_id] = Path(urlparse(registry.client.get_logged_model(new.model_id).artifact_location).path)
    return found


def _dies(*arguments: object, **options: object) -> None:
    raise Died


def test_only_what_no_version_names_is_found_and_removed(registry: HeadRegistry, left: dict[str, Path]) -> None:
    assert find_leftovers(registry, AGE) == (), "what is young may be at work"
    found = find_leftovers(registry, NOW)
    assert {leftover.model_id for leftover in found} == set(left)
    assert [(leftover.name, leftover.finished) for leftover in found] == [("PDB-6b7n", False), ("PDB-6b7n", True)]
    assert all((folder / "head/head.safetensors").is_file() for folder in left.values())
    remove_leftovers(registry, found)
    remove_leftovers(registry, found)  # as somebody else may have done
    assert find_leftovers(registry, NOW) == ()
    assert not any(folder.exists() and list(folder.rglob("*.safetensors")) for folder in left.values())
    assert {finding.problem for finding in verify(registry)} == {None}
    assert registry.load("PDB-6b7n").version.version == 1


def test_the_command_tells_and_removes(
    registry: HeadRegistry, left: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    (old, young) = left
    with sqlite3.connect(registry.tracking_uri.removeprefix("sqlite:///")) as database:
        before = "UPDATE logged_models SET creation_timestamp_ms = creation_timestamp_ms - ? WHERE model_id = ?"
        database.execute(before, (AGE / timedelta(milliseconds=1), old))
    database.close()

    def said(*options: str) -> str:
        capsys.readouterr()
        assert main(["heads", "verify", *options]) == 0
        return capsys.readouterr().out

    assert said().count("left by a process that died: PDB-6b7n, run") == 1
    assert len(json.loads(said("--json"))) == 2
    assert [each.model_id for each in find_leftovers(registry, NOW)] == [old, young]
    assert said("--clean").endswith("(removed)\n")
    assert [each.model_id for each in find_leftovers(registry, NOW)] == [young]
    assert "left by" not in said()
    assert main(["heads", "verify", "PDB-6b7n", "--clean"]) == 1
    assert "leave out the head's name" in capsys.readouterr().err


def test_no_registry_holds_no_leftovers(tmp_path: Path) -> None:
    assert find_leftovers(HeadRegistry(f"sqlite:///{tmp_path}/mlflow.db")) == ()
    assert list(tmp_path.iterdir()) == []
