"""``hydrapicker heads``."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse

if TYPE_CHECKING:
    from hydrapicker_registry.versions import HeadVersion

Column = Literal["name", "version", "trunk", "ap", "auroc", "registered"]

_SORT_KEYS: dict[str, Callable[["HeadVersion"], Any]] = {
    "name": lambda head: (head.dataset.casefold(), -head.version),
    "version": lambda head: -head.version,
    "trunk": lambda head: -head.trunk_version,
    "ap": lambda head: -1 if head.ap is None else -head.ap,
    "auroc": lambda head: -1 if head.auroc is None else -head.auroc,
    "registered": lambda head: -head.registered.timestamp(),
}


@dataclass(frozen=True)
class HeadsConfig:
    """List the heads in the registry; one behind has another trunk than the champion generic head.

    Verbs: heads show, promote, rollback, retire, verify, export, import, compare, evaluate, suggest, rebase, adopt.

    Attributes:
        name: Only heads of this name; * and ? stand for others, upper and lower case are one.
        contributor: Only heads whose contributor's name holds this.
        trunk: Only heads of this version of the trunk.
        alias: Only champions, or only challengers.
        sort: By name, or highest, newest or latest first.
        retired: Also what is no longer offered.
        json: Print JSON instead of a table.
    """

    name: str | None = None
    contributor: str | None = None
    trunk: int | None = None
    alias: Literal["champion", "challenger"] | None = None
    sort: Column = "name"
    retired: bool = False
    json: bool = False

    def shows(self, head: "HeadVersion") -> bool:
        """Whether a head is asked for."""
        wanted = (
            self.name is None or fnmatchcase(head.dataset.casefold(), self.name.casefold()),
            self.contributor is None or self.contributor.casefold() in (head.contributor or "").casefold(),
            self.trunk is None or head.trunk_version == self.trunk,
            self.alias is None or self.alias in head.aliases,
        )
        return all(wanted)


def run(arguments: list[str]) -> int:
    """Print the table of heads."""
    config = parse(HeadsConfig, "heads", arguments)
    from hydrapicker.sdk import list_heads
    from hydrapicker_registry.names import GENERIC
    from hydrapicker_registry.trunks import is_behind, newest_trunk
    from hydrapicker_registry.versions import shipped_name

    every = list_heads(retired=config.retired)
    newest = newest_trunk(every)
    shown = sorted(filter(config.shows, every), key=_SORT_KEYS[config.sort])
    heads = [(head, is_behind(head, newest)) for head in shown]
    columns = ("head", "version", "alias", "trunk", "AP", "registered (UTC)", "contributor")
    if config.json:
        say(json.dumps([{**asdict(head), "behind": behind} for head, behind in heads], indent=2, default=str))
    elif not every:
        say("no heads in the registry yet: make some with hydrapicker train or hydrapicker contribute")
    elif not heads:
        say(f"none of the {len(every)} head versions in the registry is so")
    else:
        print_table(columns, [_row(head, behind) for head, behind in heads])
    if not config.json and not any(head.dataset == GENERIC for head in every):
        say(f"hydrapicker pick --head generic takes {shipped_name()}: see hydrapicker heads show generic")
    return 0


def _row(head: "HeadVersion", behind: bool) -> tuple[object, ...]:
    return (
        head.dataset,
        head.version,
        " ".join((*head.aliases, *(["retired"] if head.retired else []))) or None,
        f"{head.trunk_version} (behind)" if behind else head.trunk_version,
        head.ap,
        f"{head.registered:%Y-%m-%d %H:%M}",
        head.contributor,
    )
