"""Rollback, retirement and history on a real MLflow database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import HeadNotFoundError, HeadPackage, HeadRegistry, TrunkPackage

Add = Callable[..., int]


@pytest.fixture
def add(registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: Callable[..., HeadPackage]) -> Add:
    """Register a version of a head."""
    registry.register_trunk(trunk, run_id)

    def one(name: str, ap: float, alias: str | None = None) -> int:
        return registry.register_head(make_head(trunk, name, ap=ap), run_id, alias)  # type: ignore[arg-type]

    return one


def test_back_to_the_champion_before_and_the_one_before_that(registry: HeadRegistry, add: Add) -> None:
    add("back", 0.1, "champion")
    add("back", 0.2, "challenger")
    add("back", 0.3, "champion")
    registry.promote("back", 2)
    assert registry.rollback("back").version == 3
    assert registry.load("back").head.metadata.metrics["ap"] == 0.3
    assert registry.rollback("back").version == 1
    with pytest.raises(HeadNotFoundError, match=r"no champion before version 1 on record.*promote back --version N"):
        registry.rollback("back")
    assert registry.resolve("back").version == 1


def test_history_tells_who_and_when(registry: HeadRegistry, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "nina")
    add("told", 0.1, "champion")
    add("told", 0.2, "challenger")
    registry.promote("told", 2)
    registry.promote("told", 2)  # nothing moves, and nothing is put on record
    newest, oldest = registry.history("told")
    assert (newest.version.version, newest.version.aliases) == (2, ("champion",))
    champion, challenger = newest.periods
    assert (champion.alias, champion.until, champion.by) == ("champion", None, "nina")
    assert challenger.alias == "challenger"
    assert challenger.until is not None, "a champion is no challenger any more"
    (before,) = oldest.periods
    assert (before.alias, before.until) == ("champion", champion.since)
    assert timedelta(0) <= champion.since - before.since < timedelta(minutes=1)
    assert abs(datetime.now(UTC) - champion.since) < timedelta(minutes=1)
    with pytest.raises(HeadNotFoundError, match="did you mean told"):
        registry.history("tolt")
    with pytest.raises(InvalidInputError):
        registry.history("told@champion")


def test_a_retired_head_is_hidden_but_kept(registry: HeadRegistry, add: Add) -> None:
    add("old", 0.1, "champion")
    add("old", 0.2, "challenger")
    registry.retire("old")
    assert "old" not in {head.dataset for head in registry.list_heads()}
    hidden = [head for head in registry.list_heads(retired=True) if head.dataset == "old"]
    assert [(head.version, head.retired) for head in hidden] == [(2, True), (1, True)]
    for name in ("old", "old@challenger"):
        with pytest.raises(HeadNotFoundError, match=r"'old' was retired: ask for version \d.*promote old --version"):
            registry.load(name)
    assert registry.load("old", version=1).head.metadata.metrics["ap"] == 0.1
    assert registry.load("old@2").head.metadata.metrics["ap"] == 0.2
    assert registry.promote("old", 1).retired is False
    assert registry.load("old").version.version == 1
    assert {head.version for head in registry.list_heads() if head.dataset == "old"} == {1, 2}


def test_a_retired_version_is_hidden_but_kept(registry: HeadRegistry, add: Add) -> None:
    add("one", 0.1, "champion")
    add("one", 0.2, "champion")
    add("one", 0.3, "challenger")
    with pytest.raises(InvalidInputError, match="version 2 is the champion: promote another"):
        registry.retire("one", 2)
    registry.retire("one", 3)
    registry.retire("one", 1)
    assert [head.version for head in registry.list_heads() if head.dataset == "one"] == [2]
    with pytest.raises(HeadNotFoundError, match="no challenger"):
        registry.load("one@challenger")
    assert registry.load("one", version=3).version.retired
    with pytest.raises(HeadNotFoundError, match="no champion before"):
        registry.rollback("one")
    assert registry.promote("one", 3).retired is False
    assert [head.version for head in registry.list_heads() if head.dataset == "one"] == [3, 2]


def test_what_retiring_refuses(registry: HeadRegistry, add: Add) -> None:
    add("generic", 0.1, "champion")
    with pytest.raises(InvalidInputError, match="new heads start from it"):
        registry.retire("generic")
    with pytest.raises(InvalidInputError):
        registry.retire("generic@1")  # which must not retire all of it
    with pytest.raises(HeadNotFoundError, match="no version 9"):
        registry.retire("generic", 9)
    assert not registry.resolve("generic").retired
