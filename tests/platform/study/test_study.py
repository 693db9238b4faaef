"""What a study measures and writes, against the functions that judge heads and pick files one by one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from network_packages import arbitrary_weights
from small_registry import NETWORK, dataset

from hydrapicker.errors import HydraPickerError
from hydrapicker.evaluation.heads import score_heads
from hydrapicker.files import Particles, micrograph_stem, read_micrograph, write_mrc
from hydrapicker.files.topaz import write_topaz
from hydrapicker.picking.picker import Picker
from hydrapicker.store.store import Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles
from hydrapicker.study.models import load_generics, target_heads
from hydrapicker.study.plan import trainings
from hydrapicker.study.report import write_report
from hydrapicker.study.results import Results, measure
from hydrapicker.study.study import run_study
from hydrapicker.study.tables import markdown
from hydrapicker.study.topaz import extractions, topaz_of
from hydrapicker_core.metrics import MicrographResult, average_precision, operating_point, score_picks
from hydrapicker_core.network import Head, Trunk

SEEDS = {
    "zero-shot": (0, 0),
    "few-shot-1": (0, 3),
    "few-shot-3": (0, 5),
    "alone": (200, 200),
    "single-head": (100, 100),
    "single-head-tuned": (100, 101),
}
"""Of the trunk and the head of each model."""


def target(config: StudyConfig) -> TargetFiles:
    return TargetFiles.of(Store(config.store).open("c"), config.folders["c"])


@pytest.fixture(scope="module")
def whole(config: StudyConfig, studied: Path) -> StudyConfig:
    """The study with micrographs of nothing but ice, and what Topaz found at two scales."""
    (ice := studied / "ice").mkdir()
    for number in range(2):
        write_mrc(ice / f"{number}.mrc", np.random.default_rng(number).normal(size=(90, 80)).astype(np.float32), 2.0)
    files = target(config)
    rows = [int(row) for row in files.dataset.split("test")]
    # Everything, but not where it is, and on one micrograph nothing; and everything where it is.
    for factor, moved, found in ((1, 100.0, rows[:1]), (2, 0.0, rows)):
        picks = {}
        for row in found:
            xy = files.true_particles(row) + np.float32(moved)
            picks[micrograph_stem(files.by_row[row].name)] = Particles(xy, np.full(len(xy), 3, np.float32))
        folder = studied / f"work/topaz/c/scale-{factor}"
        folder.mkdir(parents=True)
        write_topaz(folder / "picks.txt", picks)
    return replace(config, topaz="topaz", empty=(ice,), empty_diameters_angstrom=(20.0, 34.0))


@pytest.fixture(scope="module")
def results(whole: StudyConfig) -> Results:
    return measure(whole, Store(whole.store), load_generics(whole), {"c": target(whole)}, lambda *_: None)


def modules(model: str) -> tuple[Trunk, Head]:
    trunk, head = Trunk(NETWORK), Head(NETWORK)
    trunk.load_state_dict(dict(arbitrary_weights(NETWORK, SEEDS[model][0])[0]))
    head.load_state_dict(dict(arbitrary_weights(NETWORK, SEEDS[model][1])[1]))
    return trunk, head


def test_every_figure_is_that_of_the_model_alone(config: StudyConfig, results: Results) -> None:
    (c,) = results.targets
    stored = target(config).dataset
    assert list(c.results) == [*SEEDS, "topaz-0.6", "topaz-0.4"]
    for model in SEEDS:
        trunk, head = modules(model)
        scored = score_heads(trunk, {"": head}, stored, stored.split("test"))[""]
        assert c.ap(model).estimate == pytest.approx(average_precision(scored), abs=1e-4), model
        assert c.ap(model, 0.4).estimate >= c.ap(model).estimate
        if model == "zero-shot":
            point = next(each for each in results.operating_points if each.dataset == "c")
            expected = operating_point(scored, results.default_threshold)
            assert (point.precision.estimate, point.recall.estimate) == pytest.approx(
                (expected.precision, expected.recall), abs=1e-4
            )
    assert [each.dataset for each in results.operating_points if not each.is_target] == ["a", "b"]
    # From files with the right diameter a head picks what it picks in the store, where pixels are rounded to float16.
    (robust,) = results.robustness
    assert robust.ap[1.0].estimate == pytest.approx(c.ap("zero-shot").estimate, abs=1e-3)
    files, picker = target(config), Picker.of(load_generics(config).general)
    for factor in (0.8, 1.2):
        judged = []
        for row in map(int, stored.split("test")):
            picks = picker.pick(files.by_row[row], diameter_angstrom=factor * 34, threshold=0.01)
            judged.append(MicrographResult(picks.xy, picks.score, files.true_particles(row), 34 / 2))
        assert robust.ap[factor].estimate == pytest.approx(average_precision(score_picks(judged)))
    assert list(robust.ap) == [0.8, 0.9, 1.0, 1.1, 1.2]


def test_picks_on_ice_are_counted(config: StudyConfig, studied: Path, results: Results) -> None:
    picker = Picker.of(load_generics(config).general)
    (ice,) = results.empty
    files = sorted((studied / "ice").iterdir())
    assert ice.counts[20.0] == [len(picker.pick(read_micrograph(path), diameter_angstrom=20.0)) for path in files]
    assert list(ice.counts) == [20.0, 34.0]
    assert sum(ice.counts[20.0]) > 0


def test_the_report(whole: StudyConfig, results: Results, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("by hand")
    config, generics, out = replace(whole, out=tmp_path), load_generics(whole), tmp_path
    files = {"c": target(config)}
    steps = [*trainings(config, generics, files), *extractions(config, files)]
    report = write_report(config, generics, steps, results)
    assert (out / "README.md").read_text() == "by hand"
    names = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    pictures = {"sources.png", "targets-zero-shot.png", "targets-few-shot.png", "targets/c.png"}
    assert names == {"README.md", "tables.md", "study.json", "config.yaml"} | pictures
    tree = json.loads((out / "study.json").read_text())
    few = results.targets[0].ap("few-shot-3")
    assert tree["targets"]["datasets"]["c"]["models"]["few-shot-3"]["0.6"]["ap"]["estimate"] == few.estimate
    difference = tree["targets"]["datasets"]["c"]["differences"]["few-shot-3 minus zero-shot"]["0.4"]["estimate"]
    aps = [results.targets[0].ap(model, 0.4).estimate for model in ("few-shot-3", "zero-shot")]
    assert difference == pytest.approx(aps[0] - aps[1])
    assert tree["heads"]["c"]["few-shot-3"]["version"] == 2
    assert f"{few.estimate:.3f} / " in (out / "tables.md").read_text()
    recipe = yaml.safe_load((out / "config.yaml").read_text())
    commands = [each.split() for each in recipe["commands"]]
    assert [each[2] for each in commands[:4]] == ["contribute"] * 3 + ["train"]
    assert [each[:2] for each in commands[4:6]] == [["topaz", "preprocess"], ["topaz", "extract"]]
    assert recipe["models"]["single"]["trunk_version"] == 1
    assert write_report(config, generics, steps, results).run_id == report.run_id
    run = MlflowClient(config.general).get_run(report.run_id)
    assert run.data.metrics["targets.c.few-shot-3.ap"] == pytest.approx(few.estimate)
    assert {file.path for file in MlflowClient(config.general).list_artifacts(report.run_id)} >= {
        "tables.md",
        "targets",
    }


def test_what_was_not_measured_has_no_table(results: Results) -> None:
    titles = ("Table 4", "Topaz at every scale", "Micrographs without particles")
    everything = markdown(results, (1, 3))
    assert all(title in everything for title in titles)
    (c,) = results.targets
    few = {model: found for model, found in c.results.items() if not model.startswith(("single", "topaz"))}
    less = markdown(replace(results, targets=[replace(c, results=few)], topaz=[], empty=[]), (1, 3))
    assert "Table 3" in less
    assert not any(title in less for title in titles)
    assert "Topaz" not in less


def test_heads_of_other_micrographs_are_not_taken(config: StudyConfig, tmp_path: Path) -> None:
    generics = load_generics(config)
    assert target_heads(config, generics, target(config).dataset)["few-shot-3"].version.version == 2
    dataset(tmp_path, "c", 7)
    with pytest.raises(HydraPickerError, match=r"no head of c v0001 in .* marked as done"):
        target_heads(config, generics, Store(str(tmp_path / "store")).open("c"))


def test_topaz_is_judged_in_pixels_of_the_files_at_its_best_scale(whole: StudyConfig, results: Results) -> None:
    steps = extractions(whole, {"c": target(whole)})
    assert [step.name for step in steps] == [
        f"c-topaz-{factor}-{verb}" for factor in (1, 2) for verb in ("preprocess", "extract")
    ]
    extract = steps[3].arguments
    assert [extract[extract.index(option) + 1] for option in ("-r", "-x")] == ["4", "2"]  # of 34 Angstrom, 2 a pixel
    found = topaz_of(whole, target(whole))
    assert found.best_factor(0.6) == 2
    assert (found.ap(2, 0.6), found.ap(1, 0.6)) == (1.0, 0.0)
    assert results.targets[0].ap("topaz-0.6").estimate == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": (), "files": ()}, "no targets"),
        ({"files": ()}, "no files of c"),
        ({"files": ("c=nowhere",)}, "nowhere/particles.star: no such file"),
        ({"targets": ("z",), "files": ("z=c",)}, "no dataset z"),
    ],
)
def test_what_cannot_be_studied_is_said_before_anything_starts(
    config: StudyConfig, options: dict[str, object], words: str
) -> None:
    with pytest.raises(HydraPickerError, match=words):
        run_study(replace(config, **options), print)  # type: ignore[arg-type]
