"""``hydrapicker heads rebase``."""

from hydrapicker.cli.console import say
from hydrapicker.cli.contribute import show
from hydrapicker.cli.parse import parse_with_file
from hydrapicker.errors import InvalidInputError


def run(verb: str, arguments: list[str]) -> int:
    """Refit a head that is behind on the newest trunk, from its dataset in the store, as a contribution."""
    import tyro

    from hydrapicker.training.contribute import ContributeConfig, contribute
    from hydrapicker_registry.names import GENERIC
    from hydrapicker_registry.registry import HeadRegistry

    what = "Refits a head that is behind on the champion generic head's trunk, from its dataset in the store."
    config = parse_with_file(ContributeConfig, f"heads {verb}", arguments, ContributeConfig(tyro.MISSING), what)
    registry = HeadRegistry()
    head, generic = registry.resolve(config.dataset), registry.resolve(GENERIC)
    if head.trunk_sha256 == generic.trunk_sha256:
        raise InvalidInputError(
            f"head {head.dataset} version {head.version} is not behind: trunk version {head.trunk_version} is the "
            "generic head's too; give more data to `hydrapicker contribute` for a better head"
        )
    say(f"{head.dataset}: from trunk version {head.trunk_version} to version {generic.trunk_version}")
    show(contribute(config, say))
    return 0
