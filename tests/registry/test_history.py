"""Which version was champion when, from moves in every order and with moves that were broken off."""

from datetime import UTC, datetime, timedelta

import pytest

from hydrapicker_registry.history import AliasMove, alias_moves, alias_periods, previous_champion

START = datetime(2026, 1, 31, tzinfo=UTC)


def moves(*steps: int | str) -> list[AliasMove]:
    """`3`: version 3 was promoted; `"<2"`: rolled back to version 2; one a minute."""
    return [
        AliasMove("champion", int(str(step).lstrip("<")), START + timedelta(minutes=i), "me", str(step).startswith("<"))
        for i, step in enumerate(steps)
    ]


@pytest.mark.parametrize(
    ("steps", "current", "usable", "expected"),
    [
        ((1,), 1, (1, 2), None),
        ((1, 2), 2, (1, 2), 1),
        ((1, 2, 3), 3, (1, 2, 3), 2),
        ((1, 2, 3, "<2"), 2, (1, 2, 3), 1),  # back twice goes back twice
        ((1, 2, 3, "<2", "<1"), 1, (1, 2, 3), None),
        ((1, 2, 3, "<2", 4), 4, (1, 2, 3, 4), 2),  # what was rolled back is not come back to
        ((1, 2, 1), 1, (1, 2), 2),
        ((1, 2, 3), 3, (1, 3), 1),  # version 2 was retired
        ((1, 2, 3), 2, (1, 2, 3), 1),  # the move to 3 was broken off
        ((1, 2), 5, (1, 2, 5), 2),  # somebody moved the alias in MLflow's own pages
        ((), 2, (1, 2), None),
        ((1, 1, 1), 1, (1,), None),
    ],
)
def test_the_champion_before(steps: tuple, current: int, usable: tuple, expected: int | None) -> None:
    assert previous_champion(moves(*steps), current, usable) == expected


def test_challengers_and_what_was_taken_away_are_no_champions() -> None:
    others = [AliasMove("challenger", 7, START, "me"), AliasMove("champion", None, START, "me")]
    assert previous_champion([*moves(1), *others, *moves(2)], 2, (1, 2, 7)) == 1


def test_periods_end_where_the_next_begins() -> None:
    first, second = moves(1, 2)
    challenger = AliasMove("challenger", 2, START - timedelta(minutes=1), "you")
    gone = AliasMove("challenger", None, START + timedelta(minutes=3), "you")
    periods = alias_periods([challenger, first, second, gone], {"champion": 2})
    assert [(p.alias, p.since, p.until, p.by) for p in periods[2]] == [
        ("champion", second.when, None, "me"),
        ("challenger", challenger.when, gone.when, "you"),
    ]
    assert [(p.since, p.until) for p in periods[1]] == [(first.when, second.when)]
    assert alias_periods([], {}) == {}


def test_a_last_move_that_did_not_take_place_is_left_out() -> None:
    assert [p.until for p in alias_periods(moves(1, 2), {"champion": 1})[1]] == [None]
    assert 2 not in alias_periods(moves(1, 2), {"champion": 1})


def test_other_tags_are_left_aside() -> None:
    good = {"champion 2026-01-31 00:01:00.000000 UTC ab12": '{"version": 2, "by": "me"}'}
    older = {"champion 2026-01-31 00:00:00.000000 UTC ab12": '{"version": 1, "by": "me", "rollback": true}'}
    bad = {
        "note": "x",
        "champion": "3",
        "champion 2026-01-31 00:01:00.000000 UTC ab13": "not JSON",
        "champion 2026-01-31 00:01:00.000000 UTC ab14": "[1]",
        "champion 2026-99-31 00:01:00.000000 UTC ab15": '{"version": 2, "by": "me"}',
        "champion 2026-01-31 00:01:00.000000 UTC ab16": '{"by": "me"}',
    }
    assert [(m.version, m.rollback) for m in alias_moves(good | bad | older)] == [(1, True), (2, False)]
