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
from hydrapicker.study.topaz import extractions, topaz_of
from hydrapicker_core.metrics import average_precision, operating_point
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


@pytest.fixture
def empty(studied: Path) -> Path:
    folder = studied / "ice"
    folder.mkdir(exist_ok=True)
    for number in range(2):
        write_mrc(folder / f"{number}.mrc", np.random.default_rng(number).normal(size=(90, 80)).astype(np.float32), 2.0)
    return folder


def measured(config: StudyConfig) -> Results:
    return measure(config, Store(config.store), load_generics(config), {"c": target(config)}, lambda *_: None)


def modules(model: str) -> tuple[Trunk, Head]:
    trunk, head = Trunk(NETWORK), Head(NETWORK)
    trunk.load_state_dict(dict(arbitrary_weights(NETWORK, SEEDS[model][0])[0]))
    head.load_state_dict(dict(arbitrary_weights(NETWORK, SEEDS[model][1])[1]))
    return trunk, head


def test_every_figure_is_that_of_the_model_alone(config: StudyConfig, empty: Path) -> None:
    results = measured(replace(config, empty=(empty,), empty_diameters_angstrom=(20.0, 34.0)))
    (c,) = results.targets
    stored = target(config).dataset
    assert list(c.results) == list(SEEDS)
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
    assert robust.ap[1.0].estimate == pytest.approx(c.ap("zero-shot").estimate, abs=0.02)
    assert robust.ap[0.8].estimate != robust.ap[1.0].estimate
    picker = Picker.of(load_generics(config).general)
    (ice,) = results.empty
    for diameter in (20.0, 34.0):
        there = [
            len(picker.pick(read_micrograph(path), diameter_angstrom=diameter)) for path in sorted(empty.iterdir())
        ]
        assert ice.counts[diameter] == there


def test_the_report(config: StudyConfig) -> None:
    (out := Path("report")).mkdir()
    (out / "README.md").write_text("by hand")
    config, generics = replace(config, out=out), load_generics(config)
    steps = trainings(config, generics, {"c": target(config)})
    results = measured(config)
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
    assert [each.split()[2] for each in recipe["commands"]] == ["contribute"] * 3 + ["train"]
    assert recipe["models"]["single"]["trunk_version"] == 1
    assert write_report(config, generics, steps, results).run_id == report.run_id
    run = MlflowClient(config.general).get_run(report.run_id)
    assert run.data.metrics["targets.c.few-shot-3.ap"] == pytest.approx(few.estimate)
    assert {file.path for file in MlflowClient(config.general).list_artifacts(report.run_id)} >= {
        "tables.md",
        "targets",
    }


def test_without_a_single_head_there_is_no_such_table(config: StudyConfig) -> None:
    config = replace(config, single=None, out=Path("no-single"))
    generics = load_generics(config)
    results = measured(config)
    write_report(config, generics, trainings(config, generics, {"c": target(config)}), results)
    assert "Table 3" in Path("no-single/tables.md").read_text()
    assert "Table 4" not in Path("no-single/tables.md").read_text()


def test_heads_of_other_micrographs_are_not_taken(config: StudyConfig, tmp_path: Path) -> None:
    generics = load_generics(config)
    assert target_heads(config, generics, target(config).dataset)["few-shot-3"].version.version == 2
    dataset(tmp_path, "c", 7)
    with pytest.raises(HydraPickerError, match=r"no head of c v0001 in .* marked as done"):
        target_heads(config, generics, Store(str(tmp_path / "store")).open("c"))


def test_topaz_is_judged_in_pixels_of_the_files_at_its_best_scale(config: StudyConfig) -> None:
    config, files = replace(config, topaz="topaz"), target(config)
    steps = extractions(config, {"c": files})
    assert [step.name for step in steps[:2]] == ["c-topaz-1-preprocess", "c-topaz-1-extract"]
    extract = steps[3].arguments
    assert [extract[extract.index(option) + 1] for option in ("-r", "-x")] == [
        "4",
        "2",
    ]  # 34 / 2 / 2 / 2 and the factor
    rows = [int(row) for row in files.dataset.split("test")]
    for factor, moved in ((1, 100.0), (2, 0.0)):
        picks = {
            micrograph_stem(files.by_row[row].name): Particles(
                files.true_particles(row) + np.float32(moved), np.full(len(files.true_particles(row)), 3, np.float32)
            )
            for row in rows[: 1 if factor == 1 else 2]  # at one scale it finds nothing on one of them
        }
        folder = config.folder / "topaz/c" / f"scale-{factor}"
        folder.mkdir(parents=True, exist_ok=True)
        write_topaz(folder / "picks.txt", picks)
    found = topaz_of(config, files)
    assert found.best_factor(0.6) == 2
    assert (found.ap(2, 0.6), found.ap(1, 0.6)) == (1.0, 0.0)
    results = measured(config)
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
