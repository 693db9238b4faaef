"""The trainings of a study: which micrographs, which particles, and commands that the product takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

from hydrapicker.cli.parse import parse_preset, parse_with_file
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_particles
from hydrapicker.store.store import Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles, labelling_order
from hydrapicker.study.models import load_generics
from hydrapicker.study.plan import trainings
from hydrapicker.training.config import PRESETS, TrainConfig
from hydrapicker.training.contribute import ContributeConfig


def target(config: StudyConfig) -> TargetFiles:
    return TargetFiles.of(Store(config.store).open("c"), config.folders["c"])


def test_labelled_micrographs_are_of_the_training_split(config: StudyConfig, tmp_path: Path) -> None:
    files = target(config)
    order = labelling_order(files.dataset)
    assert sorted(order) == sorted(files.dataset.split("train"))
    for labels in (0, 1, 3):
        star = tmp_path / f"few{labels}.star"
        files.write_few(order[:labels], star)
        found = read_particles(star) if labels else {}
        names = {files.dataset.rows[row].id for row in order[:labels]}
        assert {Path(name).name for name in found} == names
        for row in order[:labels]:  # the file's own particles are those of the store, in other pixels
            entry = files.dataset.rows[row]
            xy = next(part.xy for name, part in found.items() if Path(name).name == entry.id)
            assert np.allclose(files.true_particles(row), xy, atol=1e-3)


def test_commands_are_what_the_product_takes(config: StudyConfig) -> None:
    steps = trainings(config, load_generics(config), {"c": target(config)})
    assert [step.name for step in steps] == ["c-few1", "c-few3", "c-few3-single", "c-alone"]
    first, most, single, alone = steps
    for step in (first, most, single):
        assert step.arguments[0] == "contribute"
        given = parse_with_file(ContributeConfig, "contribute", step.arguments[1:], ContributeConfig(tyro.MISSING))
        assert given.labelled.test_size == 0
        assert (given.labelled.diameter_angstrom, given.labelled.pixel_size_angstrom) == (34.0, 2.0)
        assert len(given.labelled.micrographs) == len(read_particles(given.labelled.particles))  # type: ignore[arg-type]
        assert given.store == str(config.folder / "datasets")
    assert most.arguments == single.arguments
    assert most.environment == {"MLFLOW_TRACKING_URI": config.general}
    assert single.environment == {"MLFLOW_TRACKING_URI": config.single}
    assert len({first.identity, most.identity, single.identity}) == 3
    trained = parse_preset(TrainConfig, "train", alone.arguments[1:], PRESETS)
    assert (trained.datasets, trained.network.width, trained.stage1.epochs) == (("c",), 4, config.alone_epochs)
    assert alone.environment["MLFLOW_TRACKING_URI"].startswith("sqlite:////")


def test_options_in_files_are_given_and_make_another_step(config: StudyConfig, tmp_path: Path) -> None:
    few_yaml, alone_yaml = tmp_path / "few.yaml", tmp_path / "alone.yaml"
    few_yaml.write_text("stage: {epochs: 3}\n")
    alone_yaml.write_text("stage1: {learning_rate: 0.01}\n")
    generics, files = load_generics(config), {"c": target(config)}
    chosen = replace(config, contribution_config=few_yaml, alone_config=alone_yaml, single=None)
    first, _, alone = trainings(chosen, generics, files)
    given = parse_with_file(ContributeConfig, "contribute", first.arguments[1:], ContributeConfig(tyro.MISSING))
    assert given.stage.epochs == 3
    trained = parse_preset(TrainConfig, "train", alone.arguments[1:], PRESETS)
    assert (trained.stage1.learning_rate, trained.stage1.epochs) == (0.01, chosen.alone_epochs)
    few_yaml.write_text("stage: {epochs: 4}\n")
    again = trainings(chosen, generics, files)
    assert again[0].identity != first.identity
    assert again[-1].identity == alone.identity


def test_more_labels_than_there_are(config: StudyConfig) -> None:
    with pytest.raises(InvalidInputError, match="c has 3 training micrographs with particles and 9 labels"):
        trainings(replace(config, labels=(1, 9)), load_generics(config), {"c": target(config)})


def test_a_source_is_no_target(config: StudyConfig) -> None:
    with pytest.raises(InvalidInputError, match="trunk version 1 was trained on a"):
        load_generics(replace(config, targets=("c", "a")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ()}, "different numbers"),
        ({"labels": (0, 3)}, "different numbers"),
        ({"labels": (3, 3)}, "different numbers"),
        ({"targets": ("c", "c")}, "named twice"),
        ({"files": ("c",)}, "NAME=FOLDER"),
        ({"files": ("d=d",)}, "d is no target"),
        ({"alone_epochs": 0}, "not positive"),
        ({"empty_diameters_angstrom": (-1.0,)}, "not positive"),
    ],
)
def test_what_makes_no_sense(config: StudyConfig, options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        replace(config, **options)  # type: ignore[arg-type]
