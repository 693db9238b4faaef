"""Pick files against particle files, by figures counted by hand and by scikit-learn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from sklearn.metrics import average_precision_score, roc_auc_score

from hydrapicker.cli import main
from hydrapicker.errors import ParticlesError
from hydrapicker.evaluation.picks import EvaluateConfig, Evaluation, evaluate_picks
from hydrapicker.files import Particles, write_autopick_star, write_box, write_combined_star, write_csv

DIAMETER, PIXEL = 40.0, 2.0
BOX = DIAMETER / PIXEL

PARTICLES = {
    "a": np.array([[30, 40], [90, 20], [120, 77]], np.float32),
    "b": np.array([[15, 60], [15, 61], [200, 5]], np.float32),
}
_PICKS = {  # x, y, score
    "a": [[31, 41, 0.9], [29, 38, 0.95], [90, 26, 0.4], [119, 76, 0.35]],
    "b": [[15, 60, 0.8], [60, 15, 0.7], [200, 5, 0.3], [5, 100, 0.2]],
}
PICKS = {name: (np.array(rows, np.float32)[:, :2], np.array(rows, np.float32)[:, 2]) for name, rows in _PICKS.items()}


def tables(scores: bool = True, suffix: str = ".mrc") -> dict[str, Particles]:
    return {f"mics/{name}{suffix}": Particles(xy, score if scores else None) for name, (xy, score) in PICKS.items()}


def truth(suffix: str = ".mrc") -> dict[str, Particles]:
    return {f"{name}{suffix}": Particles(xy) for name, xy in PARTICLES.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(picks: str, particles: str, **options: object) -> Evaluation:
    (found,) = evaluate_picks(EvaluateConfig((picks,), Path(particles), DIAMETER, **options)).pickers.values()
    return found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two squares, by counting the tenth-pixels each covers."""
    grid = np.arange(-50, 300, 0.1)
    covers = [[abs(grid - centre) < BOX / 2 for centre in box] for box in (a, b)]
    both = np.sum(covers[0][0] & covers[1][0]) * np.sum(covers[0][1] & covers[1][1])
    return both / (2 * (BOX * 10) ** 2 - both)


def by_hand(threshold: float = 0.6) -> tuple[list[float], list[bool], int]:
    """Every pick, the best first, takes the free particle it overlaps most."""
    scores, hits = [], []
    for name, (xy, score) in PICKS.items():
        free = list(PARTICLES[name])
        for index in np.argsort(-score):
            found = max(free, key=lambda particle: iou(xy[index], particle), default=None)
            hit = found is not None and iou(xy[index], found) > threshold
            if hit:
                free = [particle for particle in free if particle is not found]
            scores.append(float(score[index]))
            hits.append(hit)
    return scores, hits, sum(map(len, PARTICLES.values()))


def test_the_figures_are_those_counted_by_hand(here: Path) -> None:
    write_combined_star("picks.star", tables(), None)
    write_combined_star("truth.star", truth(), PIXEL)
    found = evaluate("picks.star", "truth.star").metrics
    scores, hits, particles = by_hand()
    assert (found.micrographs, found.particles, found.picks, found.hits) == (2, 6, 8, sum(hits))
    assert 0 < sum(hits) < particles
    # Particles without a pick are found at no threshold: positives below every score.
    missed = particles - sum(hits)
    labels, ranks = [*hits, *[True] * missed], [*scores, *[-1.0] * missed]
    recall = sum(hits) / particles
    assert found.ap == pytest.approx(average_precision_score(hits, scores) * recall)
    assert found.auroc == pytest.approx(roc_auc_score(labels, ranks))
    f1 = {
        at: 2 * sum(hit for hit, score in zip(hits, scores, strict=True) if score >= at)
        / (sum(score >= at for score in scores) + particles)
        for at in scores
    }  # fmt: skip
    assert found.best_f1 == pytest.approx(max(f1.values()))
    assert f1[found.best_f1_threshold] == max(f1.values())
    kept = [hit for hit, score in zip(hits, scores, strict=True) if score >= found.threshold]
    assert found.precision == pytest.approx(sum(kept) / len(kept))
    assert found.recall == pytest.approx(sum(kept) / particles)


def test_a_threshold_and_an_overlap_can_be_given(here: Path) -> None:
    write_combined_star("picks.star", tables(), PIXEL)
    write_combined_star("truth.star", truth(), None)
    found = evaluate("picks.star", "truth.star", threshold=0.75, iou_threshold=0.5).metrics
    scores, hits, particles = by_hand(0.5)
    kept = [hit for hit, score in zip(hits, scores, strict=True) if score >= 0.75]
    assert sum(hits) > sum(by_hand(0.6)[1])
    assert (found.hits, found.threshold) == (sum(hits), 0.75)
    assert (found.precision, found.recall) == pytest.approx((sum(kept) / len(kept), sum(kept) / particles))


def _autopicks(folder: Path) -> str:
    for name, (xy, score) in PICKS.items():
        write_autopick_star(folder / f"{name}_autopick.star", xy, score)
    return str(folder)


def _boxes(folder: Path) -> str:
    for name, xy in PARTICLES.items():
        write_box(folder / f"{name}.box", xy, 20)
    return str(folder)


def _csv(name: str, table: dict[str, Particles]) -> str:
    write_csv(name, table)
    return name


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
@pytest.mark.parametrize("picks", [lambda suffix: _autopicks(Path("auto")), lambda suffix: "auto/*_autopick.star"])
@pytest.mark.parametrize("particles", [lambda suffix: _boxes(Path("boxes")), lambda suffix: "truth.star"])
def test_files_that_count_rows_alike_agree_whatever_the_micrographs(
    here: Path, picks: Callable, particles: Callable, suffix: str
) -> None:
    _autopicks(Path("auto"))
    write_combined_star("truth.star", truth(suffix), None)
    found = evaluate(picks(suffix), particles(suffix), pixel_size_angstrom=PIXEL)
    assert found.metrics.hits == sum(by_hand()[1])
    assert found.box_px == BOX


@pytest.mark.parametrize("suffix", [".mrc", ".mrc.gz"])
def test_a_csv_against_a_star_of_mrc_files(here: Path, suffix: str) -> None:
    write_combined_star("truth.star", truth(suffix), PIXEL)
    found = evaluate(_csv("picks.csv", tables(suffix=suffix)), "truth.star")
    assert found.metrics.hits == sum(by_hand()[1])


def flipped(table: dict[str, Particles], height: int) -> dict[str, Particles]:
    return {
        name: Particles(np.stack([each.xy[:, 0], height - 1 - each.xy[:, 1]], axis=1), each.score)
        for name, each in table.items()
    }


def test_rows_of_a_tiff_are_counted_from_one_end(here: Path) -> None:
    """A CSV counts stored rows, a STAR from the other end: the height decides, and is read from the micrograph."""
    heights = {"a": 101, "b": 101}
    (here / "mics").mkdir()
    for name, height in heights.items():
        tifffile.imwrite(here / "mics" / f"{name}.tif", np.zeros((height, 250), np.uint8))
    write_csv("picks.csv", tables(suffix=".tif"))
    write_combined_star("truth.star", flipped(truth(".tif"), 101), PIXEL)
    assert evaluate("picks.csv", "truth.star").metrics.hits == sum(by_hand()[1])
    write_csv("truth.csv", truth(".tif"))
    write_combined_star("picks.star", flipped(tables(suffix=".tif"), 101), PIXEL)
    assert evaluate("picks.star", "truth.csv").metrics.hits == sum(by_hand()[1])
    write_csv("same.csv", tables(suffix=".tif"))
    assert evaluate("same.csv", "truth.csv", pixel_size_angstrom=PIXEL).metrics.hits == sum(by_hand()[1])


def test_rows_of_a_tiff_that_is_not_there_cannot_be_compared(here: Path) -> None:
    write_csv("picks.csv", tables(suffix=".tif"))
    write_combined_star("truth.star", truth(".tif"), PIXEL)
    with pytest.raises(
        ParticlesError, match=r"picks\.csv and truth\.star count the rows of mics/a\.tif from opposite"
    ) as e:
        evaluate("picks.csv", "truth.star")
    assert "\n" not in str(e.value)


def test_particles_against_themselves_are_all_hits(here: Path) -> None:
    """One file given twice, as somebody does who tries the command out."""
    write_combined_star("picks.star", tables(), PIXEL)
    found = evaluate("picks.star", "picks.star").metrics
    assert (found.hits, found.precision, found.recall, found.ap) == (8, 1, 1, 1)
    assert found.auroc != found.auroc  # NaN: no false pick


def test_micrographs_without_picks_count_when_asked_for(here: Path) -> None:
    write_combined_star("picks.star", {"a.mrc": tables()["mics/a.mrc"]}, PIXEL)
    write_combined_star("truth.star", truth(), PIXEL)
    some = evaluate("picks.star", "truth.star")
    assert (some.compared, some.unpicked, some.metrics.particles) == (("a",), ("b",), 3)
    everything = evaluate("picks.star", "truth.star", all_micrographs=True)
    assert (everything.compared, everything.unpicked, everything.metrics.particles) == (("a", "b"), ("b",), 6)
    assert everything.metrics.hits == some.metrics.hits
    assert everything.metrics.ap == pytest.approx(some.metrics.ap / 2)


def test_a_micrograph_known_to_have_no_picks_is_compared(here: Path) -> None:
    write_autopick_star("auto/a_autopick.star", *PICKS["a"])
    write_autopick_star("auto/b_autopick.star", np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    write_combined_star("truth.star", truth(), PIXEL)
    found = evaluate("auto", "truth.star")
    assert (found.compared, found.unpicked, found.metrics.particles, found.metrics.picks) == (("a", "b"), (), 6, 4)


def test_no_pick_at_all_is_a_result_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_autopick_star("auto/a_autopick.star", np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    write_combined_star("truth.star", truth(), PIXEL)
    arguments = ["evaluate", "--picks", "auto", "--particles", "truth.star", "--diameter-angstrom", "40"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picks"], found["hits"], found["recall"], found["precision"], found["ap"]) == (0, 0, 0, None, 0)
    assert main(arguments) == 0


def test_the_command_prints_a_table_and_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_combined_star("picks.star", {"a.mrc": tables()["mics/a.mrc"]}, PIXEL)
    write_combined_star("truth.star", truth(), PIXEL)
    arguments = ["evaluate", "--picks", "picks.star", "--particles", "truth.star", "--diameter-angstrom", "40"]
    assert main(arguments) == 0
    table = capsys.readouterr()
    figures = evaluate("picks.star", "truth.star").metrics
    for label, value in (("ap", f"{figures.ap:.3f}"), ("auroc", f"{figures.auroc:.3f}"), ("picks", "4"), ("hits", "2")):
        assert any(line.split() == [label, value] for line in table.out.splitlines()), (label, table.out)
    assert "1 micrographs with particles have no picks and are left out" in table.err
    assert main([*arguments, "--json", "--all-micrographs"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert found == evaluate("picks.star", "truth.star", all_micrographs=True).as_dict()
    assert (found["unpicked_micrographs"], found["box_px"], found["micrographs"]) == (["b"], BOX, 2)
