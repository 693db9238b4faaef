"""``hydrapicker heads promote``, ``rollback`` and ``retire``."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from hydrapicker.cli.console import say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class PromoteConfig:
    """Make a version of a head the champion, which is loaded by default. A retired version is offered again by this.

    Attributes:
        name: The head.
        version: Which of its versions.
        alias: What to make it.
    """

    name: Positional[str]
    version: int
    alias: Literal["champion", "challenger"] = "champion"


@dataclass(frozen=True)
class RollbackConfig:
    """Make the champion before this one champion again; once more, and it is the one before that.

    Attributes:
        name: The head.
    """

    name: Positional[str]


@dataclass(frozen=True)
class RetireConfig:
    """No longer offer a head or one of its versions. Nothing is deleted: it still loads by its version's number.

    Attributes:
        name: The head.
        version: Only this version, which must not be the champion; the whole head when not given.
    """

    name: Positional[str]
    version: int | None = None


def run(verb: str, arguments: list[str]) -> int:
    """Move aliases."""
    return {"promote": _promote, "rollback": _rollback, "retire": _retire}[verb](arguments)


def _promote(arguments: list[str]) -> int:
    config = parse(PromoteConfig, "heads promote", arguments)
    from hydrapicker_registry.registry import HeadRegistry

    head = HeadRegistry().promote(config.name, config.version, config.alias)
    say(f"{head.dataset} version {head.version} is {config.alias}")
    return 0


def _rollback(arguments: list[str]) -> int:
    config = parse(RollbackConfig, "heads rollback", arguments)
    from hydrapicker_registry.registry import HeadRegistry

    head = HeadRegistry().rollback(config.name)
    say(f"{head.dataset} version {head.version} is champion again")
    return 0


def _retire(arguments: list[str]) -> int:
    config = parse(RetireConfig, "heads retire", arguments)
    from hydrapicker_registry.registry import HeadRegistry

    HeadRegistry().retire(config.name, config.version)
    what = config.name if config.version is None else f"{config.name} version {config.version}"
    say(f"{what} is retired: it still loads by its version's number, and heads promote {config.name} offers it again")
    return 0
