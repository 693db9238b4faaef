"""Which version carried an alias when: every move of an alias is put on record as a tag of the registered model.

A tag is written under a key of its own, so that processes that move aliases at once never write over each other, and
before the alias moves: a move that was broken off is on record, one that took place is never missing.
"""

from __future__ import annotations

import getpass
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hydrapicker_registry.publish import point_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

ALIAS_MOVE_KEY = re.compile(r"(champion|challenger) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) UTC [0-9a-f]{4}")
"""What the keys of the tags are like that put a move on record."""

_TIME = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True)
class AliasMove:
    """A move of an alias.

    Attributes:
        alias: `champion` or `challenger`.
        version: Where to; None for taken away.
        when: In UTC.
        by: Login of who did it. HydraPicker's own server holds it to be true; elsewhere it is a hint, no proof.
        rollback: Whether it went back to an earlier champion.
    """

    alias: str
    version: int | None
    when: datetime
    by: str
    rollback: bool = False


@dataclass(frozen=True)
class AliasPeriod:
    """A time during which a version carried an alias.

    Attributes:
        alias: `champion` or `challenger`.
        since: In UTC.
        until: In UTC; None for still.
        by: Who gave it the alias.
    """

    alias: str
    since: datetime
    until: datetime | None
    by: str


def move_alias(
    client: MlflowClient, model: RegisteredModel, alias: str, version: int | None, rollback: bool = False
) -> None:
    """Put on record that an alias of a registered model moves, and move it; None takes it away."""
    current = model.aliases.get(alias)
    if (None if current is None else int(current)) == version:
        return
    key = f"{alias} {datetime.now(UTC):{_TIME}} UTC {secrets.token_hex(2)}"
    value = {"version": version, "by": user()} | ({"rollback": True} if rollback else {})
    client.set_registered_model_tag(model.name, key, json.dumps(value))
    if version is None:
        client.delete_registered_model_alias(model.name, alias)
    else:
        point_alias(client, model.name, alias, version)


def user() -> str:
    """Return the login at MLflow, or else on this machine."""
    from mlflow.utils.credentials import read_mlflow_creds

    try:
        return read_mlflow_creds().username or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def alias_moves(tags: Mapping[str, str]) -> tuple[AliasMove, ...]:
    """Return the moves among a registered model's tags, the oldest first; other tags are left aside."""
    moves = []
    for key, value in tags.items():
        match = ALIAS_MOVE_KEY.fullmatch(key)
        if match is None:
            continue
        try:
            said = json.loads(value)
            when = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
            version = None if said["version"] is None else int(said["version"])
            moves.append(AliasMove(match[1], version, when, str(said["by"]), bool(said.get("rollback"))))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # somebody's own tag that looks like ours
    return tuple(sorted(moves, key=lambda move: move.when))


def alias_periods(moves: Iterable[AliasMove], aliases: Mapping[str, int]) -> dict[int, tuple[AliasPeriod, ...]]:
    """Return per version when it carried which alias, as far as it is on record, the latest first.

    Parameters
    ----------
    moves
        Of :func:`alias_moves`.
    aliases
        Where the aliases point now. A last move that points elsewhere was broken off, and is left out.
    """
    periods: dict[int, list[AliasPeriod]] = {}
    moves = tuple(moves)
    for alias in sorted({move.alias for move in moves}):
        own = [move for move in moves if move.alias == alias]
        current = aliases.get(alias)
        if own[-1].version is not None and (current is None or int(current) != own[-1].version):
            own.pop()
        for i, move in enumerate(own):
            if move.version is not None:
                until = own[i + 1].when if i + 1 < len(own) else None
                periods.setdefault(move.version, []).append(AliasPeriod(alias, move.when, until, move.by))
    return {version: tuple(sorted(own, key=lambda p: p.since, reverse=True)) for version, own in periods.items()}


def previous_champion(moves: Iterable[AliasMove], current: int, usable: Iterable[int]) -> int | None:
    """Return the version that was champion before `current`, None when none is on record.

    Going back twice goes back two champions: what was rolled back is not in the way any more.

    Parameters
    ----------
    moves
        Of :func:`alias_moves`.
    current
        The champion now.
    usable
        The versions that may be champion: those that are there and not retired.
    """
    reigns: list[int] = []
    for move in moves:
        if move.alias != "champion" or move.version is None:
            continue
        if move.rollback and move.version in reigns:
            del reigns[_last(reigns, move.version) + 1 :]
        elif not reigns or reigns[-1] != move.version:
            reigns.append(move.version)
    if current in reigns:
        del reigns[_last(reigns, current) :]
    allowed = set(usable) - {current}
    return next((version for version in reversed(reigns) if version in allowed), None)


def _last(values: list[int], wanted: int) -> int:
    return len(values) - 1 - values[::-1].index(wanted)
