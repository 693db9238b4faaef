"""The paper's tables: real heads in two real registries, real datasets, figures against those of each head alone."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from network_packages import arbitrary_weights
from small_registry import NETWORK, dataset, fill

from hydrapicker.cli import main
from hydrapicker.errors import HydraPickerError
from hydrapicker.evaluation.heads import score_heads
from hydrapicker.evaluation.tables import evaluate_heads
from hydrapicker.store.store import Store
from hydrapicker_core.metrics import auroc, average_precision
from hydrapicker_core.network import Head, Trunk


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources a and b, targets c (no champion: the newest is its head) and d, and e that is not in the store."""
    folder = tmp_path_factory.mktemp("platform")
    found = {name: dataset(folder, name, seed) for seed, name in enumerate("abcd")}
    gone = "e" * 64
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        heads: list[tuple[str, str | None, str | None]] = [
            ("generic", None, "champion"),
            ("a", found["a"], "champion"),
            ("b", found["b"], "champion"),
            ("a", found["a"], "challenger"),
            ("c", found["c"], "challenger"),
            ("c", found["c"], None),
            ("d", found["d"], "champion"),
            ("e", gone, "champion"),
        ]
        fill(f"sqlite:///{folder}/mlflow.db", 0, {"a": found["a"], "b": found["b"]}, heads)
        single: list[tuple[str, str | None, str | None]] = [
            ("generic", None, "champion"),
            ("c", found["c"], "champion"),
            ("a", found["a"], "champion"),
        ]
        fill(f"sqlite:///{folder}/single.db", 100, {"a": found["a"]}, single)
    return folder


@pytest.fixture
def here(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{platform}/mlflow.db")
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(platform / "cache"))
    monkeypatch.chdir(platform)
    return platform


def alone(here: Path, name: str, trunk_seed: int, head_seed: int) -> tuple[float, float]:
    """AP and AUROC of a head, without a registry."""
    trunk, head = Trunk(NETWORK), Head(NETWORK)
    trunk.load_state_dict(dict(arbitrary_weights(NETWORK, trunk_seed)[0]))
    head.load_state_dict(dict(arbitrary_weights(NETWORK, head_seed)[1]))
    stored = Store(str(here / "store")).open(name)
    scored = score_heads(trunk, {"one": head}, stored, stored.split("test"))["one"]
    return average_precision(scored), auroc(scored)


def test_every_figure_is_that_of_the_head_alone(here: Path) -> None:
    single = f"sqlite:///{here}/single.db"
    tables = evaluate_heads(Store(str(here / "store")), {"single-head": single})
    assert [each.name for each in tables.sources] == ["a", "b"]
    assert [each.name for each in tables.targets] == ["c", "d"]
    assert list(tables.left_out) == ["e"]
    heads = {each.name: dict(each.heads) for each in (*tables.sources, *tables.targets)}
    assert heads == {
        "a": {"generic": 1, "own": 1},
        "b": {"generic": 1, "own": 1},
        "c": {"generic": 1, "own": 2, "single-head": 1},
        "d": {"generic": 1, "own": 1},
    }
    seeds = {
        ("sources", "a"): {"generic": (0, 0), "own": (0, 1)},
        ("sources", "b"): {"generic": (0, 0), "own": (0, 2)},
        ("targets", "c"): {"generic": (0, 0), "own": (0, 5), "single-head": (100, 101)},
        ("targets", "d"): {"generic": (0, 0), "own": (0, 6)},
    }
    found = tables.metrics()
    for (kind, name), models in seeds.items():
        assert list(found[kind][name]) == list(models)
        for model, of in models.items():
            figures = found[kind][name][model]
            assert (figures["ap"], figures["auroc"]) == pytest.approx(alone(here, name, *of), abs=1e-4), (name, model)
    target = tables.targets[0]
    assert (target.micrographs, target.particles) == (2, sum(part[2] for part in target.parts("own")))
    difference = target.ap_difference("own", "single-head")
    assert difference.estimate == pytest.approx(target.ap("own").estimate - target.ap("single-head").estimate)


def test_the_command_writes_tables_curves_and_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"heads evaluate --store store --out tables --against single-head=sqlite:///{here}/single.db".split()
    assert main(command) == 0
    shown = capsys.readouterr().out
    text = (here / "tables" / "tables.md").read_text()
    assert text in shown
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line
    }
    few = evaluate_heads(Store("store"), datasets=["c"]).targets[0].ap("own").estimate
    assert rows["dataset"][3:6] == ["zero-shot", "few-shot", "single-head"]
    assert rows["dataset"][6:] == ["few-shot minus zero-shot", "few-shot minus single-head"]
    assert rows["c"][4].startswith(f"{few:.3f} / ")
    assert rows["d"][5] == rows["d"][7] == "-"
    assert "- e: not in the store" in text
    names = {str(path.relative_to(here / "tables")) for path in (here / "tables").rglob("*.*")}
    curves = {f"curves/{name}.png" for name in "abcd"}
    assert names == {"tables.md", "sources.png", "targets.png", *curves}
    assert main(command) == 0
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert f"MLflow run {run.info.run_id}" in shown
    assert run.data.metrics["targets.c.own.ap"] == pytest.approx(few)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"tables.md", "sources.png"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"datasets": ["a", "nobody"]}, "no head for nobody in sqlite"),
        ({"datasets": ["e"]}, "e: not in the store"),
    ],
)
def test_a_dataset_that_is_named_must_be_there(here: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(HydraPickerError, match=words):
        evaluate_heads(Store(str(here / "store")), **options)  # type: ignore[arg-type]


def test_another_version_of_a_dataset_is_not_what_a_head_was_trained_on(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    dataset(tmp_path, "a", 7)
    with pytest.raises(HydraPickerError, match=r"a: no version in .* is what head version 1 was trained on"):
        evaluate_heads(Store(str(tmp_path / "store")), datasets=["a"])
    for against in ("single", "generic=sqlite:///x.db", "../x=sqlite:///x.db"):
        assert main(["heads", "evaluate", "--against", against]) != 0
    assert "NAME=TRACKING_URI" in capsys.readouterr().err
