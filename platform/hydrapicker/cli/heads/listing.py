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
    """List the heads in the registry. Verbs: heads show, promote, rollback, retire, verify, export, import, compare.

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

    every = list_heads(retired=config.retired)
    heads = sorted(filter(config.shows, every), key=_SORT_KEYS[config.sort])
    if config.json:
        say(json.dumps([asdict(head) for head in heads], indent=2, default=str))
    elif not every:
        say("no heads in the registry yet: make some with hydrapicker train")
    elif not heads:
        say(f"none of the {len(every)} head versions in the registry is so")
    else:
        print_table(("head", "version", "alias", "trunk", "AP", "registered (UTC)", "contributor"), _rows(heads))
    return 0


def _rows(heads: "list[HeadVersion]") -> list[tuple[object, ...]]:
    return [
        (
            head.dataset,
            head.version,
            " ".join((*head.aliases, *(["retired"] if head.retired else []))) or None,
            head.trunk_version,
            head.ap,
            f"{head.registered:%Y-%m-%d %H:%M}",
            head.contributor,
        )
        for head in heads
    ]
