"""A run's folder on a disk and in S3: whose it is, and what is removed from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import Location
from hydrapicker.training.folder import RunFolder
from hydrapicker.training.recipe import Recipe


@pytest.fixture(params=["local", "s3"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "runs")
    return f"s3://{request.getfixturevalue('bucket')}/runs"


def test_a_folder_belongs_to_one_run(runs: str, recipe: Recipe) -> None:
    folder = RunFolder(runs, recipe)
    folder.check()
    folder.claim()
    RunFolder(runs, replace(recipe)).check()
    with pytest.raises(InvalidInputError, match="give another --run-name, or the same options"):
        RunFolder(runs, replace(recipe, identity="another")).check()
    RunFolder(runs, replace(recipe, identity="another", run_name="other")).check()


def test_half_of_a_checkpoint_is_removed_and_nothing_else(runs: str, recipe: Recipe) -> None:
    place, folder = Location(runs), RunFolder(runs, recipe)
    folder.remove_leftovers()
    folder.claim()
    for name in ("checkpoint_1", "checkpoint_2", "checkpoint_3", "notes"):
        place.write(f"toy/{name}/network.safetensors", b"weights")
    folder.remove_leftovers()
    assert "checkpoint_3" in place.names("toy"), "nobody has said yet what counts"
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": name} for name in ("checkpoint_1", "checkpoint_2")]}
    place.write("toy/checkpoint_manager_snapshot.json", json.dumps(snapshot).encode())
    folder.remove_leftovers()
    left = {"checkpoint_1", "checkpoint_2", "checkpoint_manager_snapshot.json", "notes", "run.json"}
    assert set(place.names("toy")) == left
