"""What an evaluation refuses, and where it takes the pixel size from."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.evaluation.picks import EvaluateConfig, Evaluation, evaluate_picks
from hydrapicker.files import Particles, write_combined_star

DIAMETER, PIXEL = 40.0, 2.0
BOX = DIAMETER / PIXEL
XY = np.array([[30, 40], [90, 20]], np.float32)
SCORE = np.array([0.9, 0.4], np.float32)


def tables(scores: bool = True) -> dict[str, Particles]:
    return {name: Particles(XY, SCORE if scores else None) for name in ("mics/a.mrc", "mics/b.mrc")}


def truth() -> dict[str, Particles]:
    return {name: Particles(XY) for name in ("a.mrc", "b.mrc")}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(picks: str, particles: str, **options: object) -> Evaluation:
    (found,) = evaluate_picks(EvaluateConfig((picks,), Path(particles), DIAMETER, **options)).pickers.values()
    return found


def test_picks_on_unknown_micrographs_are_refused(here: Path) -> None:
    write_combined_star("picks.star", tables() | {"z.mrc": Particles(XY, SCORE)}, PIXEL)
    write_combined_star("truth.star", truth(), PIXEL)
    with pytest.raises(ParticlesError, match=r"truth\.star holds no particles for 1 of 3 picked micrographs \(z\)"):
        evaluate("picks.star", "truth.star")


def test_picks_without_scores_are_refused(here: Path) -> None:
    write_combined_star("picks.star", tables(scores=False), PIXEL)
    write_combined_star("truth.star", truth(), PIXEL)
    with pytest.raises(ParticlesError, match=r"picks\.star: the picks of a have no scores"):
        evaluate("picks.star", "truth.star")


def test_two_micrographs_of_one_stem_are_refused(here: Path) -> None:
    doubled = {"one/a.mrc": Particles(XY, SCORE), "two/a.mrc": Particles(XY, SCORE)}
    write_combined_star("picks.star", doubled, PIXEL)
    write_combined_star("truth.star", truth(), PIXEL)
    with pytest.raises(ParticlesError, match="two micrographs are called a"):
        evaluate("picks.star", "truth.star")


def test_the_pixel_size_is_that_of_the_files_or_the_micrographs_they_name(here: Path) -> None:
    write_combined_star("picks.star", tables(), None)
    (here / "data").mkdir()
    write_combined_star("data/truth.star", truth(), None)
    with pytest.raises(
        InvalidInputError, match=r"neither picks\.star nor data/truth\.star states a pixel size: give --"
    ):
        evaluate("picks.star", "data/truth.star")
    with mrcfile.new(here / "data" / "b.mrc", np.zeros((9, 9), np.float32)) as file:  # beside the file that names it
        file.voxel_size = PIXEL
    assert evaluate("picks.star", "data/truth.star").box_px == BOX
    assert evaluate("picks.star", "data/truth.star", pixel_size_angstrom=4.0).box_px == BOX / 2


def test_different_pixel_sizes_are_refused_and_one_written_in_two_ways_is_not(here: Path) -> None:
    write_combined_star("picks.star", tables(), 2.0)
    write_combined_star("truth.star", truth(), 2.1)
    with pytest.raises(
        InvalidInputError, match=r"different pixel sizes \(2, 2\.1 Angstrom\): give --pixel-size-angstrom"
    ):
        evaluate("picks.star", "truth.star")
    assert evaluate("picks.star", "truth.star", pixel_size_angstrom=2.0).box_px == BOX
    write_combined_star("picks.star", tables(), 1.00005)
    write_combined_star("truth.star", truth(), 1.000049)
    assert evaluate("picks.star", "truth.star").box_px == pytest.approx(DIAMETER, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"diameter_angstrom": 0.0}, {"diameter_angstrom": np.nan}, {"pixel_size_angstrom": 0.0}, {"iou_threshold": 1.0}],
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        EvaluateConfig(**({"picks": ("p",), "particles": Path("t"), "diameter_angstrom": 1.0} | options))
