"""``hydrapicker heads`` as users meet it, on a registry with real, tiny heads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from network_packages import arbitrary_weights, head_package, trunk_package

from hydrapicker_core.network import NetworkConfig
from hydrapicker_registry import HeadPackage, HeadRegistry, Training, TrunkPackage, ensure_experiment
from hydrapicker_registry.shipped import shipped_head

NETWORK = NetworkConfig(width=2)


def head_of(trunk: TrunkPackage, name: str, ap: float, author: str) -> HeadPackage:
    weights = arbitrary_weights(NETWORK, int(1000 * ap))[1]
    known = {"metrics": {"ap": ap, "auroc": 0.9}, "authors": (author,), "licence": "CC-BY-4.0"}
    return head_package(trunk, name, weights, 24.0, 0.3, training=Training({}, "run-1", None, 0.1), **known)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `hydrapicker-data`: heads alpha (versions 1, 2 champion, 3 challenger) and Beta (1)."""
    folder = tmp_path_factory.mktemp("filled")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        from mlflow import MlflowClient

        run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id
        registry = HeadRegistry(uri)
        trunk = trunk_package(NETWORK, arbitrary_weights(NETWORK, 0)[0], authors=("nobody",), licence="CC-BY-4.0")
        registry.register_trunk(trunk, run_id)
        registry.register_head(head_of(trunk, "alpha", 0.5, "Nina"), run_id, "champion")
        registry.register_head(head_of(trunk, "alpha", 0.6, "Otto"), run_id, "champion")
        registry.register_head(head_of(trunk, "alpha", 0.4, "Nina"), run_id, "challenger")
        registry.register_head(head_of(trunk, "Beta", 0.8, "Paula"), run_id, "champion")
    return folder


@pytest.fixture
def heads(filled: Path, lab: Path, hydrapicker: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run ``hydrapicker heads`` on a registry of the test's own; the files stay where they were registered."""
    shutil.copyfile(filled / "mlflow.db", lab / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{lab}/mlflow.db")
    return lambda *arguments: hydrapicker("heads", *arguments)


def shown(heads: Callable, *options: str) -> list[tuple[str, int]]:
    ended = heads("--json", *options)
    assert ended.code == 0, ended
    return [(head["dataset"], head["version"]) for head in json.loads(ended.out)]


def test_listing_filters_and_sorts(heads: Callable) -> None:
    everything = [("alpha", 3), ("alpha", 2), ("alpha", 1), ("Beta", 1)]
    assert shown(heads) == everything
    assert shown(heads, "--name", "b*") == [("Beta", 1)]
    assert shown(heads, "--contributor", "nina") == [("alpha", 3), ("alpha", 1)]
    assert shown(heads, "--alias", "champion") == [("alpha", 2), ("Beta", 1)]
    assert shown(heads, "--trunk", "1") == everything
    assert shown(heads, "--trunk", "2") == []
    assert shown(heads, "--sort", "ap") == [("Beta", 1), ("alpha", 2), ("alpha", 1), ("alpha", 3)]
    assert shown(heads, "--sort", "registered")[0] == ("Beta", 1)
    table = heads().out.splitlines()
    assert table[0].split() == ["head", "version", "alias", "trunk", "AP", "registered", "(UTC)", "contributor"]
    assert len(table) == 6
    assert table[5].startswith("hydrapicker pick --head generic takes the generic head shipped with")
    assert "none of the 4 head versions" in heads("--name", "gamma").out


def test_an_empty_registry_says_how_to_fill_it(lab: Path, hydrapicker: Callable) -> None:
    assert "hydrapicker train" in hydrapicker("heads").out
    assert hydrapicker("heads", "--json").out.strip() == "[]"
    assert "holds no heads yet" in hydrapicker("heads", "show", "alpha").refusal()
    assert not (lab / "hydrapicker-data").exists()


def test_the_shipped_generic_head_is_there_without_any_registry(lab: Path, hydrapicker: Callable) -> None:
    called = shipped_head().version.called
    assert called in hydrapicker("heads").out
    shown = hydrapicker("heads", "show", "generic")
    assert shown.out.startswith(f"{called}; the registry has none\n")
    said = json.loads(hydrapicker("heads", "show", "generic", "--json").out)
    assert said["versions"] == []
    assert (said["shown"]["version"], said["shown"]["licence"]) == ("shipped", shipped_head().head.metadata.licence)
    assert f"'generic' alone is {called}" in hydrapicker("heads", "show", "generic@2").refusal()
    (first, second) = json.loads(hydrapicker("heads", "compare", "generic", "generic", "--json").out)
    assert first == second == {"head": "generic (shipped)", "metrics": shipped_head().head.metadata.metrics}
    assert "holds no heads yet" in hydrapicker("heads", "export", "generic", "--out", "x").refusal()
    assert not (lab / "hydrapicker-data").exists()


def test_it_is_ranked_on_labelled_micrographs(lab: Path, hydrapicker: Callable) -> None:
    given = "suggest --micrographs mics/a.mrc mics/b.mrc mics/c.mrc --particles particles.star --diameter-angstrom 24"
    (only,) = json.loads(hydrapicker("heads", *given.split(), "--json").out)["heads"]
    assert (only["head"], only["version"], only["particles"]) == ("generic", None, 12)
    assert not (lab / "hydrapicker-data").exists()


def test_show_tells_versions_and_details(heads: Callable) -> None:
    ended = heads("show", "alpha")
    for words in ("Otto", "champion 20", "to now", "diameter angstrom", "24", "CC-BY-4.0", "metric ap", "0.6"):
        assert words in ended.out, ended
    said = json.loads(heads("show", "alpha@1", "--json").out)
    assert said["shown"]["version"] == 1
    assert said["shown"]["metric_ap"] == 0.5
    assert [version["version"] for version in said["versions"]] == [3, 2, 1]
    assert said["versions"][2]["periods"][0]["until"] is not None
    assert "did you mean alpha" in heads("show", "alpa").refusal()


def test_promote_roll_back_and_retire(heads: Callable) -> None:
    assert heads("promote", "alpha", "--version", "3").out == "alpha version 3 is champion\n"
    assert heads("rollback", "alpha").out == "alpha version 2 is champion again\n"
    assert heads("rollback", "alpha").out == "alpha version 1 is champion again\n"
    assert "no champion before version 1" in heads("rollback", "alpha").refusal()
    assert "version 1 is the champion" in heads("retire", "alpha", "--version", "1").refusal()
    assert "no version 9" in heads("promote", "alpha", "--version", "9").refusal()
    assert heads("retire", "Beta").code == 0
    assert ("Beta", 1) not in shown(heads)
    assert ("Beta", 1) in shown(heads, "--retired")
    assert "retired" in heads("--retired").out
    assert "was retired: ask for version 1" in heads("show", "Beta").refusal()
    assert heads("promote", "Beta", "--version", "1").code == 0
    assert ("Beta", 1) in shown(heads)


def test_verify_counts_and_names_damage(heads: Callable, filled: Path) -> None:
    ended = heads("verify")
    assert (ended.code, ended.out) == (0, "5 of 5 versions are intact\n")
    weights = next(filled.glob("artifacts/models/*/artifacts/head/head.safetensors"))
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        ended = heads("verify", "--json")
        assert ended.code == 1
        assert sum(finding["problem"] is not None for finding in json.loads(ended.out)) == 1
        ended = heads("verify")
        assert "head.safetensors: damaged or altered" in ended.err
        assert ended.out == "4 of 5 versions are intact\n"
    finally:
        weights.write_bytes(good)


@pytest.mark.parametrize("name", ["out.zip", "out"])
def test_export_and_import_into_another_registry(
    heads: Callable, lab: Path, name: str, monkeypatch: pytest.MonkeyPatch, filled: Path
) -> None:
    assert heads("export", "alpha@1", "--out", name).code == 0
    assert "is there already" in heads("export", "alpha", "--out", name).refusal()
    assert "already, as version 1: nothing was changed" in heads("import", name).out
    shutil.copyfile(filled / "mlflow.db", lab / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{lab}/other.db")
    client = HeadRegistry().client
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)  # faster than a new database
    assert heads("import", name).out == "registered alpha version 1 as champion\n"
    assert shown(heads) == [("alpha", 1)]
    assert heads("verify").out == "2 of 2 versions are intact\n"
    assert "nothing was changed" in heads("import", name).out


def test_import_refuses_what_is_no_export(heads: Callable, lab: Path) -> None:
    before = shown(heads)
    assert "not there" in heads("import", "none.zip").refusal()
    assert "no folder 'head'" in heads("import", "mics").refusal()
    assert "not a whole zip file" in heads("import", "particles.star").refusal()
    assert shown(heads) == before


def test_compare_on_record_and_on_one_dataset(heads: Callable, ingest: Callable) -> None:
    recorded = json.loads(heads("compare", "alpha", "Beta", "--json").out)
    assert [figure["head"] for figure in recorded] == ["alpha v2", "Beta v1"]
    assert [figure["metrics"]["ap"] for figure in recorded] == [0.6, 0.8]
    assert "0.200" in heads("compare", "alpha", "Beta").out
    assert "no dataset" in heads("compare", "alpha", "Beta", "--dataset", "toy").refusal()
    assert ingest().code == 0
    measured = json.loads(heads("compare", "alpha@1", "alpha@3", "--dataset", "toy", "--json").out)
    assert all(0 <= figure["metrics"]["ap"] <= 1 for figure in measured)
    alone = json.loads(heads("compare", "alpha@3", "alpha@3", "--dataset", "toy", "--json").out)
    assert measured[1]["metrics"] == alone[0]["metrics"] == alone[1]["metrics"]
    assert "test micrographs of toy" in heads("compare", "alpha@1", "alpha@3", "--dataset", "toy").out


def test_an_unknown_verb_names_the_known_ones(heads: Callable) -> None:
    assert "heads has no 'shwo': give show, promote" in heads("shwo").refusal()
