"""``hydrapicker heads adopt``."""

from dataclasses import dataclass

from hydrapicker.cli.console import say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class AdoptConfig:
    """Register the trunk and generic head shipped with HydraPicker: as champion, or as challenger of another one."""


def run(verb: str, arguments: list[str]) -> int:
    """Put what is shipped into the registry."""
    parse(AdoptConfig, f"heads {verb}", arguments)
    from hydrapicker.training.adoption import adopt_shipped
    from hydrapicker_registry.versions import shipped_name

    adopted = adopt_shipped()
    state = adopted.alias or "neither champion nor challenger"
    if not adopted.registered:
        say(f"{shipped_name()} is in the registry already, as generic version {adopted.version} ({state})")
    else:
        say(f"adopted {shipped_name()}: generic version {adopted.version}, {adopted.alias}")
    if adopted.alias != "champion":
        say(
            f"make it champion with `hydrapicker heads promote generic --version {adopted.version}`; heads of another "
            "trunk keep working, and are refitted with `hydrapicker heads rebase`"
        )
    return 0
