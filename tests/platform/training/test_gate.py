"""The gate against picks made by hand, whose AP is known without any code."""

import json
import math

import numpy as np
import pytest

from hydrapicker.training.gate import Decision, Rival, decide
from hydrapicker_core.bootstrap import MicrographPart


def part(hits: str, particles: int) -> MicrographPart:
    """A micrograph whose picks, the most confident first, are hits (x) or not (.)."""
    return np.linspace(0.9, 0.1, len(hits)), np.array([mark == "x" for mark in hits], np.bool_), particles


ALL = [part("xx", 2), part("xx", 2), part("xx", 2)]  # AP 1
HALF = [part("x", 2), part("x", 2), part("x", 2)]  # AP 0.5
NONE = [part("..", 2), part("..", 2), part("..", 2)]  # AP 0


def test_better_than_the_generic_head_passes_with_the_margin_on_record() -> None:
    decision = decide(ALL, [Rival("generic", 4, HALF)])
    assert decision.passed
    assert decision.ap == pytest.approx(1.0)
    figures = decision.metrics()
    assert figures["gate_passed"] == 1
    assert figures["gate_generic_version"] == 4
    assert figures["gate_generic_ap"] == pytest.approx(0.5)
    # Every micrograph has the same picks, so whichever are drawn the margin is the same.
    for name in ("gate_margin", "gate_margin_low", "gate_margin_high", "gate_generic_margin"):
        assert figures[name] == pytest.approx(0.5), name


def test_as_good_passes_and_worse_does_not() -> None:
    assert decide(HALF, [Rival("generic", 1, HALF)]).passed
    failed = decide(HALF, [Rival("generic", 1, ALL)])
    assert not failed.passed
    assert failed.metrics()["gate_passed"] == 0
    assert str(failed) == "AP 0.500 on 3 test micrographs: -0.500 [-0.500, -0.500] over the generic head (AP 1.000)"


def test_every_rival_counts_and_the_least_margin_is_named() -> None:
    decision = decide(HALF, [Rival("generic", 1, NONE), Rival("champion", 7, ALL)])
    assert not decision.passed
    figures = decision.metrics()
    assert figures["gate_margin"] == figures["gate_champion_margin"] == pytest.approx(-0.5)
    assert figures["gate_generic_margin"] == pytest.approx(0.5)
    assert "champion version 7 (AP 1.000)" in str(decision)
    assert decide(HALF, [Rival("generic", 1, NONE), Rival("champion", 7, HALF)]).passed


def test_the_estimate_decides_also_where_the_interval_holds_zero() -> None:
    new = [part("xx", 2), part("x", 2), part("x.", 2)]
    generic = [part("x", 2), part("xx", 2), part("x", 2)]
    below = decide(new, [Rival("generic", 1, generic)])
    above = decide(generic, [Rival("generic", 1, new)])
    (margin,), (other,) = below.margins, above.margins
    assert margin.interval.low < 0 < margin.interval.high
    assert margin.interval.estimate == pytest.approx(-other.interval.estimate)
    assert margin.interval.estimate != 0
    assert below.passed == (margin.interval.estimate > 0)
    assert above.passed != below.passed


def test_what_cannot_be_measured_does_not_pass() -> None:
    unmeasured = decide(ALL, [Rival("generic", 1, NONE), Rival("champion", 2, None)])
    assert not unmeasured.passed
    assert "no margin over champion version 2" in str(unmeasured)
    assert "gate_margin" not in unmeasured.metrics(), "the least margin is one nobody knows"
    no_particles = [part(".", 0), part("", 0)]
    assert not decide(no_particles, [Rival("generic", 1, no_particles)]).passed
    assert not decide([], [Rival("generic", 1, [])]).passed


def test_one_micrograph_has_a_margin_and_no_interval() -> None:
    decision = decide(ALL[:1], [Rival("generic", 1, HALF[:1])])
    assert decision.passed
    assert str(decision) == "AP 1.000 on 1 test micrograph: +0.500 over the generic head (AP 0.500)"
    assert "gate_margin_low" not in decision.metrics()


@pytest.mark.parametrize(
    "rivals", [[Rival("generic", 1, HALF)], [Rival("generic", 2, ALL), Rival("champion", 3, None)]]
)
def test_a_decision_is_read_back_from_what_a_package_keeps(rivals: list[Rival]) -> None:
    decision = decide(ALL, rivals)
    kept = {"ap": decision.ap, "micrographs": 3.0, **decision.metrics()}
    assert all(map(math.isfinite, kept.values()))
    again = Decision.on_record(json.loads(json.dumps(kept)))
    assert str(again) == str(decision)
    assert again is not None
    assert again.passed == decision.passed
    assert Decision.on_record({"ap": 0.5}) is None
