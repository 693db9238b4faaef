"""Which trial is best, and how trials are told."""

import csv
import io

import pytest

from hydrapicker.training.config import demo
from hydrapicker.tuning.outcome import Outcome, as_csv, best_of, table
from hydrapicker.tuning.settings import Settings


def outcome(number: int, lambda_bias: float, ap: float | None, complete: bool = True, failure: str = "") -> Outcome:
    settings = Settings.of(demo(), {"lambda_bias": lambda_bias})
    generic = {} if ap is None else {"cross": ap}
    return Outcome(number, settings, 25 if complete else 10, complete, ap, ap, generic, {}, failure)


TRIALS = [
    outcome(1, 0.0, 0.5, complete=False),
    outcome(2, 0.1, 0.6),
    outcome(3, 3.0, 0.9, complete=False),
    outcome(4, 0.02, None, complete=False, failure="the gradient is no finite number any more"),
    outcome(5, 0.0012, 0.6),
]


def test_the_best_is_complete_and_the_first_of_equals() -> None:
    assert best_of(TRIALS) is TRIALS[1], "not the one that was stopped while it was ahead"
    assert best_of([]) is None
    assert best_of([TRIALS[0], TRIALS[3]]) is None
    assert best_of([outcome(1, 0.0, 0.0)]) is not None, "an AP of 0 is an AP"


def test_the_table_is_sorted_and_marks_the_best() -> None:
    columns, rows = table(TRIALS, ("lambda_bias",))
    assert columns[:2] == ("trial", "lambda_bias")
    assert [row[1] for row in rows] == ["0", "0.0012", "0.02", "0.1", "3"]
    assert [row[-1] for row in rows] == ["", "", "", "best", ""]
    assert [row[-2] for row in rows] == [
        "stopped at epoch 10",
        "complete",
        "the gradient is no finite number any more",
        "complete",
        "stopped at epoch 10",
    ]
    assert table([], ("lambda_bias",))[1] == []


def test_csv_holds_every_figure_as_it_is() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TRIALS, ("lambda_bias", "width")))))
    assert [int(row["trial"]) for row in rows] == [1, 2, 3, 4, 5]
    assert float(rows[4]["lambda_bias"]) == 0.0012
    assert rows[0]["width"] == str(demo().network.width)
    assert float(rows[1]["generic_ap.cross"]) == 0.6
    assert rows[3]["generic_ap"] == "", "a trial that came to nothing has no AP"


def test_settings_go_into_a_config_and_come_out_again() -> None:
    given = {"lambda_bias": 0.5, "lambda_cls": 2.0, "learning_rate": 1e-3, "width": 8, "bias_form": "squared"}
    settings = Settings.of(demo(), given)
    assert Settings.of(settings.applied_to(demo())) == settings
    assert settings.applied_to(demo()).stage1 == demo().stage1
    assert Settings.of(demo()).applied_to(demo()) == demo()
    with pytest.raises(TypeError):
        Settings.of(demo(), {"unknown": 1})
