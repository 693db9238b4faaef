"""What is tried, in which order, and that a search which was killed goes on as the undisturbed one."""

import math
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydrapicker.tuning.config import SearchConfig, TuneConfig, demo
from hydrapicker.tuning.halving import Halving
from hydrapicker.tuning.proposals import METRIC, MODE, proposals, search_space

ALL = SearchConfig((0.01, 10), (1.0, 8.0), (1e-4, 1e-2), (8, 16), ("squared", "per-head"))


def searcher(config: TuneConfig) -> Any:
    made = proposals(config, at_once=2)
    assert made.set_search_properties(METRIC, MODE, search_space(config))
    return made


def tried(search: Any, numbers: range, best: float = 1.0) -> list[dict[str, Any]]:
    """Proposals, each answered by an AP that is highest at a lambda_bias of `best`."""
    seen = []
    for number in numbers:
        proposal = search.suggest(f"t{number}")
        seen.append(proposal)
        result = {METRIC: 1 / (1 + abs(best - proposal["lambda_bias"])), "training_iteration": 1}
        search.on_trial_result(f"t{number}", result)
        search.on_trial_complete(f"t{number}", result)
    return seen


def test_zero_first_then_the_config_s_own_then_optuna_s_within_the_range() -> None:
    config = replace(demo(), search=SearchConfig((0.05, 2.0)))
    seen = [proposal["lambda_bias"] for proposal in tried(searcher(config), range(20))]
    assert seen[:2] == [0.0, 0.1]
    assert all(0.05 <= value <= 2.0 for value in seen[2:])
    assert len(set(seen)) == 20
    assert all(value == float(f"{value:.3g}") for value in seen)


def test_proposals_go_where_answers_were_good() -> None:
    def late(best: float) -> float:
        seen = [math.log(proposal["lambda_bias"]) for proposal in tried(searcher(demo()), range(30), best)[-15:]]
        return math.exp(sum(seen) / len(seen))

    assert late(best=0.02) < 0.2 < 1 < late(best=8.0)


def test_everything_can_be_varied() -> None:
    config = replace(demo(), search=ALL)
    seen = tried(searcher(config), range(12))
    assert {tuple(proposal) for proposal in seen} == {
        ("lambda_bias", "lambda_cls", "learning_rate", "width", "bias_form")
    }
    assert seen[0] == {
        "lambda_bias": 0.0,
        "lambda_cls": 4.0,
        "learning_rate": 5e-4,
        "width": 12,
        "bias_form": "per-head",
    }, "zero is tried with all else as it was given"
    assert {proposal["width"] for proposal in seen[1:]} == {8, 16}, "the config's own width is none of the choices"
    assert {proposal["bias_form"] for proposal in seen[1:]} == {"squared", "per-head"}


def test_a_restored_search_proposes_what_the_undisturbed_one_would(tmp_path: Path) -> None:
    undisturbed = tried(searcher(demo()), range(8))
    first = searcher(demo())
    assert tried(first, range(4)) == undisturbed[:4]
    first.save(str(tmp_path / "state"))
    second = searcher(demo())
    second.restore(str(tmp_path / "state"))
    assert tried(second, range(4, 8)) == undisturbed[4:]


def halving(record: Path) -> Halving:
    return Halving(record, time_attr="epoch", metric=METRIC, mode=MODE, max_t=25, grace_period=10, reduction_factor=3)


def decisions(scheduler: Halving, reports: list[tuple[str, int, float]]) -> list[str]:
    controller = SimpleNamespace()
    made = []
    for trial_id, epoch, ap in reports:
        trial = SimpleNamespace(trial_id=trial_id)
        if trial_id not in scheduler._trial_info:
            scheduler.on_trial_add(controller, trial)
        made.append(scheduler.on_trial_result(controller, trial, {"epoch": epoch, METRIC: ap}))
    return made


def test_early_stopping_compares_with_what_was_reported_before_a_kill(tmp_path: Path) -> None:
    reports = [("a", 5, 0.3), ("a", 10, 0.5), ("b", 10, 0.6), ("a", 15, 0.9), ("b", 20, 0.9)]
    later = [("c", 5, 0.1), ("c", 10, 0.55), ("d", 10, 0.7), ("d", 25, 0.7)]
    undisturbed = decisions(halving(tmp_path / "one"), [*reports, *later])
    assert undisturbed == ["CONTINUE"] * 6 + ["STOP", "CONTINUE", "STOP"]

    killed = halving(tmp_path / "two")
    as_it_began = pickle.dumps(killed)
    decisions(killed, reports)
    restored = pickle.loads(as_it_began)  # noqa: S301 (what Ray Tune does)
    assert restored.set_search_properties(METRIC, MODE), "Ray says it to a restored search too"
    assert not restored.set_search_properties("other", MODE)
    assert decisions(restored, later) == undisturbed[len(reports) :]
