"""What is asked of Ray, and what of this machine before Ray is started on it."""

import json
from pathlib import Path

import pytest

from hydrapicker.cluster import own_packages, require_here
from hydrapicker.cores import available_cores
from hydrapicker.errors import InvalidInputError


def test_the_three_packages_travel_to_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    folders = [Path(folder) for folder in own_packages()["py_modules"]]
    assert {folder.name for folder in folders} == {"hydrapicker", "hydrapicker_core", "hydrapicker_registry"}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_a_job_that_ships_packages_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"runtime_env": {"py_modules": ["gcs://_ray_pkg_0.zip"]}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    assert own_packages() == {}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": {}}}))
    assert own_packages() != {}


def test_this_machine_is_asked_only_where_it_is_to_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cores = available_cores()
    require_here(1, cores)
    with pytest.raises(InvalidInputError, match=f"need {2 * cores} CPUs and this machine has {cores}: give fewer"):
        require_here(2, cores)
    monkeypatch.setenv("RAY_ADDRESS", "head-node:6379")
    require_here(2, cores)
