"""Who is champion is decided by one process at a time."""

import random
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from registry_worker import become_champion, die_with_a_claim

from hydrapicker_registry import ChampionChangedError, HeadPackage, HeadRegistry, TrunkPackage, claim, history

MakeHead = Callable[..., HeadPackage]

PROCESSES, EACH = 4, 6


@pytest.fixture
def register(registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead) -> Callable[..., None]:
    """Register versions of a head, whose APs are in no order."""
    registry.register_trunk(trunk, run_id)

    def of(name: str, count: int = 3) -> None:
        for ap in random.Random(3).sample(range(count), count):
            registry.register_head(make_head(trunk, name, ap=ap / 100), run_id)

    return of


def test_no_champion_is_worse_than_the_one_before(
    registry: HeadRegistry, register: Callable[..., None], processes: ForkServerContext, tmp_path: Path
) -> None:
    """Each promotion is made against the champion of that moment, whoever else is promoting."""
    register("crowd", PROCESSES * EACH)
    numbers = [head.version for head in registry.versions("crowd")]
    barrier = processes.Barrier(PROCESSES)
    started = [
        processes.Process(
            target=become_champion,
            args=(registry.tracking_uri, str(tmp_path / "cache"), "crowd", numbers[first::PROCESSES], barrier.wait),
        )
        for first in range(PROCESSES)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * PROCESSES
    ap = {head.version: head.ap for head in registry.versions("crowd")}
    model = registry.client.get_registered_model("hydrapicker.head.crowd")
    moves = [move for move in history.alias_moves(model.tags) if move.alias == "champion"]
    reigns = [ap[move.version] for move in moves if move.version is not None]
    assert reigns == sorted(reigns)  # type: ignore[type-var]  # all have one
    assert len(reigns) > 1
    assert ap[registry.resolve("crowd").version] == max(ap.values())  # type: ignore[type-var]  # the same
    assert not [tag for tag in model.tags if tag.startswith("claim")], "none is left behind"


def test_a_champion_is_succeeded_as_who_it_was_taken_for(registry: HeadRegistry, register: Callable[..., None]) -> None:
    register("pair")
    assert registry.succeed("pair", 1, None).aliases == ("champion",)
    for wrong in (None, 2):
        with pytest.raises(ChampionChangedError, match="head 'pair': version 1 is champion now"):
            registry.succeed("pair", 3, wrong)
    assert registry.resolve("pair").version == 1
    assert registry.succeed("pair", 3, 1).version == 3
    registry.retire("pair")
    with pytest.raises(ChampionChangedError, match="no version is champion now"):
        registry.succeed("pair", 2, 3)
    assert registry.succeed("pair", 2, None).version == 2


def test_a_process_that_died_with_a_claim_is_waited_for_and_then_not_in_the_way(
    registry: HeadRegistry,
    register: Callable[..., None],
    processes: ForkServerContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register("dead")
    process = processes.Process(target=die_with_a_claim, args=(registry.tracking_uri, str(tmp_path / "cache"), "dead"))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    monkeypatch.setattr(claim, "_DEAD_SECONDS", 1.0)
    assert registry.promote("dead", 1).aliases == ("champion",)
    tags = registry.client.get_registered_model("hydrapicker.head.dead").tags
    assert not [tag for tag in tags if tag.startswith("claim")]


def test_who_took_too_long_moves_nothing(
    registry: HeadRegistry, register: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("slow")
    monkeypatch.setattr(claim, "_DEAD_SECONDS", -1.0)
    with pytest.raises(Exception, match="MLflow took too long to answer"):
        registry.promote("slow", 1)
    assert "champion" not in registry.client.get_registered_model("hydrapicker.head.slow").aliases
