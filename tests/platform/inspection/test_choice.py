"""A choice read strictly and applied, against loops that do it pick by pick."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import Particles
from hydrapicker.inspection.choice import Choice, apply_choice, far_apart, read_choice

GOOD = {"format_version": 1, "threshold": 0.5, "min_distance_angstrom": 10, "excluded_micrographs": ["b.mrc"]}


def some_picks(seed: int, count: int = 60) -> Particles:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 100, (count, 2)).astype(np.float32)
    return Particles(xy, rng.random(count).round(1).astype(np.float32), 2.0)


def by_hand(picks: Particles, threshold: float, distance_px: float) -> list[tuple[float, float, float]]:
    kept: list[tuple[float, float, float]] = []
    rows = [(float(x), float(y), float(s)) for (x, y), s in zip(picks.xy, picks.score, strict=True)]
    for x, y, s in sorted(rows, key=lambda row: -row[2]):
        if s >= np.float32(threshold) and all((x - a) ** 2 + (y - b) ** 2 >= distance_px**2 for a, b, _ in kept):
            kept.append((x, y, s))
    return kept


def rows_of(picks: Particles) -> list[tuple[float, float, float]]:
    return [(float(x), float(y), float(s)) for (x, y), s in zip(picks.xy, picks.score, strict=True)]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 2.0])
@pytest.mark.parametrize("distance", [0.0, 15.0, 40.0])
def test_a_choice_leaves_what_a_loop_leaves(threshold: float, distance: float) -> None:
    picks = {"a.mrc": some_picks(0), "b.mrc": some_picks(1), "c.mrc": some_picks(2, 0)}
    left = apply_choice(Choice(threshold, distance, ()), picks)
    assert list(left) == list(picks)
    for name, each in left.items():
        assert rows_of(each) == by_hand(picks[name], threshold, distance / 2.0)
        assert each.pixel_size_angstrom == 2.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.floats(0, 30), st.floats(0, 1))
def test_threshold_and_distance_may_come_in_either_order(seed: int, distance: float, threshold: float) -> None:
    picks = {"a": some_picks(seed, 40)}
    one = apply_choice(Choice(threshold, 0, ()), apply_choice(Choice(None, distance, ()), picks))
    other = apply_choice(Choice(None, distance, ()), apply_choice(Choice(threshold, 0, ()), picks))
    assert (
        rows_of(one["a"]) == rows_of(other["a"]) == rows_of(apply_choice(Choice(threshold, distance, ()), picks)["a"])
    )


def test_a_threshold_keeps_the_score_that_it_is_written_like() -> None:
    """0.35 as float32 is a little less than 0.35."""
    score = np.array([0.35, 0.34999], np.float32)
    assert float(score[0]) < 0.35
    left = apply_choice(Choice(0.35, 0, ()), {"a": Particles(np.zeros((2, 2), np.float32), score)})
    assert len(left["a"].xy) == 1


def test_micrographs_are_left_out_by_name_or_else_by_stem() -> None:
    picks = {"x/a.mrc": some_picks(0), "y/a.mrc": some_picks(1), "b": some_picks(2), "c.mrc": some_picks(3)}
    assert list(apply_choice(Choice(None, 0, ("x/a.mrc",)), picks)) == ["y/a.mrc", "b", "c.mrc"]
    assert list(apply_choice(Choice(None, 0, ("mics/b.mrc",)), picks)) == ["x/a.mrc", "y/a.mrc", "c.mrc"]
    assert list(apply_choice(Choice(None, 0, ("nowhere.mrc",)), picks)) == list(picks)


def test_picks_without_scores_go_by_their_order() -> None:
    picks = {"a": Particles(np.array([[0, 0], [1, 0], [9, 9]], np.float32), None, 1.0)}
    left = apply_choice(Choice(None, 5, ()), picks)["a"]
    assert (left.xy.tolist(), left.score) == ([[0, 0], [9, 9]], None)
    with pytest.raises(InvalidInputError, match="no scores"):
        apply_choice(Choice(0.5, 0, ()), picks)


def test_a_distance_needs_a_pixel_size() -> None:
    picks = Particles(np.array([[0, 0], [3, 0]], np.float32), np.ones(2, np.float32))
    with pytest.raises(InvalidInputError, match="--pixel-size-angstrom"):
        apply_choice(Choice(None, 4, ()), {"a": picks})
    for pixel_size, count in ((1.0, 1), (1.4, 2)):
        known = {"a": replace(picks, pixel_size_angstrom=pixel_size)}
        assert len(apply_choice(Choice(None, 4, ()), known)["a"].xy) == count
    assert far_apart(np.zeros((0, 2), np.float32), 3.0).shape == (0,)


def test_a_choice_is_read(tmp_path: Path) -> None:
    (tmp_path / "choice.json").write_text(json.dumps(GOOD))
    assert read_choice(tmp_path / "choice.json") == Choice(0.5, 10.0, ("b.mrc",))
    (tmp_path / "choice.json").write_text(json.dumps(GOOD | {"threshold": None}))
    assert read_choice(tmp_path / "choice.json").threshold is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[1]", "no JSON object"),
        (json.dumps(GOOD | {"format_version": 2}), "format_version '2'"),
        (json.dumps(GOOD | {"format_version": True}), "format_version"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "format_version"}), "no format_version"),
        (json.dumps(GOOD | {"colour": 1}), "unknown colour"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "threshold"}), "lacks threshold"),
        (json.dumps(GOOD | {"threshold": "0.5"}), "threshold"),
        (json.dumps(GOOD | {"threshold": True}), "threshold"),
        (json.dumps(GOOD | {"threshold": math.nan}), "NaN"),
        (json.dumps(GOOD | {"min_distance_angstrom": -1}), "not a distance"),
        (json.dumps(GOOD | {"excluded_micrographs": "b.mrc"}), "excluded_micrographs"),
        (json.dumps(GOOD | {"excluded_micrographs": [3]}), "excluded_micrographs"),
        (json.dumps(GOOD)[:-1] + ', "threshold": 0.1}', "twice"),
        ("[" * 100000, "not valid JSON"),
    ],
)
def test_what_is_no_choice_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "choice.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=words) as caught:
        read_choice(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_choice(tmp_path / "none.json")
