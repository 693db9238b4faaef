"""Several pickers on the same micrographs: figures, intervals, pictures and what the command prints."""

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.evaluation.config import EvaluateConfig
from hydrapicker.evaluation.judged import IOU_THRESHOLDS
from hydrapicker.evaluation.picks import Comparison, evaluate_picks
from hydrapicker.evaluation.report import FALSE_COLOUR, HIT_COLOUR, MISSED_COLOUR
from hydrapicker.files import Particles, write_box, write_combined_star
from hydrapicker.picking.record import PickingRecord
from hydrapicker_core.bootstrap import bootstrap_difference, drawn_average_precision
from hydrapicker_core.metrics import MicrographResult, average_precision, score_picks
from hydrapicker_core.metrics import evaluate as evaluate_results

DIAMETER, PIXEL = 40.0, 2.0
BOX = DIAMETER / PIXEL
SHAPE = (230, 310)


def some_particles(seed: int) -> np.ndarray:
    """On a jittered lattice, so that boxes hardly touch."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(25, 300, 50), np.arange(25, 220, 50)), axis=2).reshape(-1, 2)
    return (grid + rng.uniform(-8, 8, grid.shape)).round(2).astype(np.float32)  # as a STAR file holds it


def some_picks(seed: int, particles: np.ndarray, error_px: float) -> Particles:
    """Most of the particles, off by `error_px`, and a few others with lower scores."""
    rng = np.random.default_rng(seed)
    found = particles[rng.random(len(particles)) < 0.8]
    xy = np.concatenate([found + rng.normal(0, error_px, found.shape), rng.uniform(0, [309, 229], (5, 2))])
    score = np.concatenate([rng.uniform(0.3, 1, len(found)), rng.uniform(0, 0.6, 5)])
    return Particles(xy.round(2).astype(np.float32), score.round(3).astype(np.float32), PIXEL)


TRUTH = {name: some_particles(i) for i, name in enumerate("abcd")}
GOOD = {name: some_picks(10 + i, TRUTH[name], 1.0) for i, name in enumerate("abcd")}
POOR = {name: some_picks(20 + i, TRUTH[name], 3.0) for i, name in enumerate("abc")}


def named(tables: dict[str, Particles]) -> dict[str, Particles]:
    return {f"mics/{name}.mrc": each for name, each in tables.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_combined_star("good.star", named(GOOD), None)
    write_combined_star("poor.star", named(POOR), None)
    write_combined_star("truth.star", named({name: Particles(xy) for name, xy in TRUTH.items()}), PIXEL)
    return tmp_path


def compare(*picks: str, **options: object) -> Comparison:
    return evaluate_picks(EvaluateConfig(picks, Path("truth.star"), DIAMETER, **options))


def results(tables: dict[str, Particles]) -> list[MicrographResult]:
    nothing = Particles(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    picks = {name: tables.get(name, nothing) for name in TRUTH}
    return [MicrographResult(each.xy, each.score, TRUTH[name], BOX) for name, each in picks.items()]


def test_all_are_judged_on_the_micrographs_that_any_mentions(here: Path) -> None:
    found = compare("good.star", "mine=poor.star", bootstrap_draws=50)
    assert list(found.pickers) == ["good.star", "mine"]
    for name, tables in (("good.star", GOOD), ("mine", POOR)):
        each = found.pickers[name]
        assert each.metrics == evaluate_results(results(tables))
        assert each.compared == tuple("abcd")
        assert set(each.by_iou) == set(IOU_THRESHOLDS)
        for iou, figures in each.by_iou.items():
            assert figures == evaluate_results(results(tables), iou, each.metrics.threshold)
        low, high = each.intervals["ap"].low, each.intervals["ap"].high
        assert 0 < low < each.metrics.ap < high < 1
    assert found.pickers["mine"].unpicked == ("d",)
    assert found.pickers["good.star"].by_iou[0.3].ap > found.pickers["good.star"].by_iou[0.9].ap


def test_the_difference_is_paired_over_micrographs(here: Path) -> None:
    found = compare("poor.star", "good.star", bootstrap_draws=200, bootstrap_seed=4)
    (difference,) = found.differences
    assert (difference.new, difference.old) == ("good.star", "poor.star")
    ap = [average_precision(score_picks(results(tables))) for tables in (POOR, GOOD)]
    assert difference.ap.estimate == pytest.approx(ap[1] - ap[0])
    parts = [found.pickers[name].parts() for name in ("good.star", "poor.star")]
    config = EvaluateConfig(("x",), Path("y"), 1.0, bootstrap_draws=200, bootstrap_seed=4).bootstrap()
    assert difference.ap == bootstrap_difference(*parts, drawn_average_precision, config)
    assert difference.ap.low > 0


def test_centre_errors_are_those_of_the_hits_that_are_kept(here: Path) -> None:
    each = compare("good.star", threshold=0.5).pickers["good.star"]
    expected = []
    for name, picks in GOOD.items():
        for xy, score in zip(picks.xy.astype(float), picks.score, strict=True):
            apart = np.abs(TRUTH[name].astype(float) - xy)
            shared = np.clip(BOX - apart, 0, None).prod(axis=1)
            best = int(np.argmax(shared))
            if score >= 0.5 and shared[best] / (2 * BOX**2 - shared[best]) > 0.6:
                expected.append(np.hypot(*apart[best]))
    assert each.median_centre_error_angstrom == pytest.approx(np.median(expected) * PIXEL)
    rows = each.per_micrograph()
    assert sum(row["kept_picks"] for row in rows.values()) == sum(int((p.score >= 0.5).sum()) for p in GOOD.values())
    for name, row in rows.items():
        alone = evaluate_results([MicrographResult(GOOD[name].xy, GOOD[name].score, TRUTH[name], BOX)], threshold=0.5)
        assert (row["ap"], row["precision"], row["recall"]) == (alone.ap, alone.precision, alone.recall)


def test_picks_without_scores_have_a_precision_and_a_recall_when_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, each in GOOD.items():
        write_box(Path("boxes") / f"{name}.box", each.xy, 20)
    with pytest.raises(ParticlesError, match="--unscored"):
        compare("boxes")
    found = compare("boxes", "good.star", unscored=True)
    boxes = found.pickers["boxes"]
    rounded = {
        name: Particles(np.floor(each.xy + 0.5), np.ones(len(each.xy), np.float32)) for name, each in GOOD.items()
    }
    expected = evaluate_results(results(rounded), threshold=1.0)
    assert (boxes.metrics.precision, boxes.metrics.recall, boxes.metrics.f1, boxes.metrics.hits) == (
        expected.precision, expected.recall, expected.f1, expected.hits,
    )  # fmt: skip
    assert (boxes.as_dict()["ap"], boxes.as_dict()["auroc"], boxes.as_dict()["threshold"]) == (None, None, None)
    assert set(boxes.intervals) == {"precision", "recall", "f1"}
    assert boxes.median_centre_error_angstrom > 0
    assert found.pickers["good.star"].metrics.ap > 0
    assert found.differences == ()
    arguments = ["evaluate", "--picks", "boxes", "--particles", "truth.star", "--diameter-angstrom", "40"]
    assert main(arguments) == 1
    assert main([*arguments, "--unscored", "--out", "out"]) == 0
    assert "boxes has no scores" in capsys.readouterr().err


def test_the_command_shows_every_picker_and_leaves_its_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mics").mkdir()
    for name in "ab":
        with mrcfile.new(here / "mics" / f"{name}.mrc", np.random.default_rng(0).normal(size=SHAPE).astype("f4")) as f:
            f.voxel_size = PIXEL
    (here / "mics" / "c.mrc").write_bytes(b"no image" * 300)
    given = "evaluate --picks good.star poor.star --particles truth.star --diameter-angstrom 40 --out out"
    assert main([*given.split(), "--per-micrograph", "--bootstrap-draws", "50"]) == 0
    shown = capsys.readouterr()
    found = compare("good.star", "poor.star", bootstrap_draws=50)
    ap = [f"{each.metrics.ap:.3f}" for each in found.pickers.values()]
    assert any(line.split() == ["ap", *ap] for line in shown.out.splitlines()), shown.out
    assert "poor.star - good.star" in shown.out
    assert "poor.star has no picks on 1 micrographs that others picked" in shown.err
    assert "2 of 4 micrographs in overlays/" in shown.err
    assert "c is not drawn: mics/c.mrc: " in shown.err
    written = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    overlays = [f"overlays/{picker}/{name}.png" for picker in ("good.star", "poor.star") for name in "ab"]
    assert written == sorted(["curves.png", "evaluation.json", *overlays])
    told = json.loads(Path("out/evaluation.json").read_text())
    assert told == json.loads(json.dumps(found.as_dict()))
    assert main([*given.split()[:-2], "--json", "--bootstrap-draws", "50"]) == 0
    assert json.loads(capsys.readouterr().out) == told


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_an_overlay_shows_hits_false_picks_and_misses_where_they_are(here: Path, suffix: str) -> None:
    """Of a TIFF the STAR files count rows from the end."""
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    hit, false, missed = np.array([[60, 50]]), np.array([[150, 180]]), np.array([[250, 60]])
    turned = [0, SHAPE[0] - 1] if suffix == ".tif" else [0, 0]
    sign = [1, -1] if suffix == ".tif" else [1, 1]
    in_file = [(turned + sign * np.asarray(places)).astype(np.float32) for places in (hit, false, missed)]
    picks = Particles(np.concatenate(in_file[:2]), np.array([0.9, 0.8], np.float32))
    write_combined_star("picks.star", {f"m{suffix}": picks}, PIXEL)
    write_combined_star("truth.star", {f"m{suffix}": Particles(np.concatenate([in_file[0], in_file[2]]))}, PIXEL)
    if suffix == ".tif":
        tifffile.imwrite("m.tif", image)
    else:
        mrcfile.new("m.mrc", image).close()
    arguments = "evaluate --picks picks.star --particles truth.star --diameter-angstrom 40 --threshold 0.5 --out out"
    assert main(arguments.split()) == 0
    with Image.open("out/overlays/m.png") as png:
        picture = np.asarray(png).astype(float)
    for colour, (place,) in ((HIT_COLOUR, hit), (FALSE_COLOUR, false), (MISSED_COLOUR, missed)):
        rows, columns = np.nonzero(np.abs(picture - colour).max(axis=2) < 30)
        assert len(rows) > 20
        middle = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        np.testing.assert_allclose(middle, place, atol=1.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"picks": ()}, "no picks given"),
        ({"picks": ("a/x.star", "b/x.star")}, r"two pickers are called x.star: name them, as in one="),
        ({"threshold": float("nan")}, "threshold"),
        ({"bootstrap_draws": 0}, "draws"),
        ({"micrographs": ("m",)}, "--out"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        EvaluateConfig(**({"picks": ("p",), "particles": Path("t"), "diameter_angstrom": 1.0} | options))


def test_names_of_pickers_are_fit_for_a_folder(here: Path) -> None:
    names = EvaluateConfig(("../..", "a b/c d.star", "x=good.star", "..=y"), Path("t"), 1.0).pickers()
    assert names == {
        "picks": Path("../.."), "c_d.star": Path("a b/c d.star"), "x": Path("good.star"), "y": Path("..=y")
    }  # fmt: skip


def test_of_a_folder_of_pick_all_picks_are_judged(here: Path) -> None:
    """Also on the micrograph where there are none, and whatever the threshold that was picked with."""
    write_combined_star("out/all_picks.star", named(POOR), None)
    write_combined_star("out/picks.star", {}, None)
    PickingRecord("any", 1, 0.9, 0.01, 10.0, DIAMETER, tuple(named(TRUTH))).write(Path("out"))
    (found,) = compare("out").pickers.values()
    assert (found.compared, found.unpicked) == (tuple("abcd"), ())
    assert found.metrics == evaluate_results(results(POOR))


def test_nothing_mentioned_at_all_is_refused(here: Path) -> None:
    write_combined_star("none.star", {}, PIXEL)
    with pytest.raises(ParticlesError, match="no micrograph to compare"):
        compare("none.star")
    assert compare("none.star", all_micrographs=True).pickers["none.star"].metrics.recall == 0
