"""A registry takes the shipped trunk and generic head: once, under a run that says so, never over another's."""

from collections.abc import Callable
from importlib import metadata
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from registry_worker import adopt as adopt_at_once

from hydrapicker.cli import main
from hydrapicker.training.adoption import adopt_shipped, adopt_where_none_is
from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage, ensure_experiment
from hydrapicker_registry.shipped import shipped_head
from hydrapicker_registry.shipped.adoption import Adopted, lacks_generic
from hydrapicker_registry.verify import verify

TOGETHER = 2


@pytest.fixture
def empty(fresh_database: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeadRegistry:
    """An empty registry, which the environment names."""
    uri = fresh_database(tmp_path / "data" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    return HeadRegistry()


def test_an_empty_registry_adopts_once_and_says_so(empty: HeadRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    adopt_where_none_is(said.append)
    name = shipped_head().version.called
    assert said == [f"the registry had no generic head: adopted {name} as version 1"]
    loaded, ours = empty.load("generic"), shipped_head()
    version = loaded.version
    assert (version.version, version.trunk_version, version.aliases) == (1, 1, ("champion",))
    assert version.package_sha256 == ours.version.package_sha256
    assert version.trunk_package_sha256 == ours.version.trunk_package_sha256
    run = empty.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["hydrapicker.shipped_with"] == metadata.version("hydrapicker")
    assert "trained elsewhere, in run" in run.data.tags["mlflow.note.content"]
    assert [finding.problem for finding in verify(empty)] == [None, None]
    adopt_where_none_is(said.append)
    assert len(said) == 1
    assert main(["heads", "adopt"]) == 0
    assert capsys.readouterr().out == f"{name} is in the registry already, as generic version 1 (champion)\n"
    assert len(empty.versions("generic")) == 1


def test_two_that_start_at_once_adopt_once(empty: HeadRegistry, processes: ForkServerContext, tmp_path: Path) -> None:
    barrier = processes.Barrier(TOGETHER)
    arguments = (empty.tracking_uri, str(tmp_path / "cache"), barrier.wait)
    crowd = [processes.Process(target=adopt_at_once, args=arguments) for _ in range(TOGETHER)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0] * TOGETHER
    (version,) = empty.versions("generic")
    assert (version.version, version.trunk_version, version.aliases) == (1, 1, ("champion",))
    assert len(empty.client.search_model_versions("name = 'hydrapicker.trunk'")) == 1
    experiments = [experiment.experiment_id for experiment in empty.client.search_experiments()]
    assert len(empty.client.search_runs(experiments)) == 1


def test_an_adoption_that_was_broken_off_is_finished(empty: HeadRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def killed(*arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(HeadRegistry, "succeed", killed)
        with pytest.raises(KilledError):
            adopt_shipped()
    assert lacks_generic(empty)
    assert adopt_shipped() == Adopted(1, "champion", False)
    assert empty.resolve("generic").version == 1
    assert not lacks_generic(empty)


def test_another_generic_head_stays_champion(
    empty: HeadRegistry,
    trunk: TrunkPackage,
    make_head: Callable[..., HeadPackage],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_id = empty.client.create_run(ensure_experiment(empty.tracking_uri, "training")).info.run_id
    empty.register_trunk(trunk, run_id)
    empty.register_head(make_head(trunk, "generic"), run_id, "champion")
    said: list[str] = []
    adopt_where_none_is(said.append)
    assert (said, len(empty.versions("generic"))) == ([], 1)
    assert main(["heads", "adopt"]) == 0
    shown = capsys.readouterr().out
    assert "generic version 2, challenger" in shown
    assert "hydrapicker heads promote generic --version 2" in shown
    assert empty.resolve("generic").version == 1
    challenger = empty.load("generic@challenger")
    assert (challenger.version.version, challenger.version.trunk_version) == (2, 2)
    assert challenger.head.sha256 == shipped_head().head.sha256
    assert adopt_shipped() == Adopted(2, "challenger", False)
