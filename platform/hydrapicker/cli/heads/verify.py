"""``hydrapicker heads verify``."""

import json
import sys
from dataclasses import asdict, dataclass

from tyro.conf import Positional

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.errors import InvalidInputError


@dataclass(frozen=True)
class VerifyConfig:
    """Download heads and trunks anew and check all files, checksums, tags and code. Exit code 1 for damage.

    Tells too what was left by processes that died while they registered, a day ago or longer: nobody ever loads it.

    Attributes:
        name: Only the versions of this head; all heads and trunks when not given.
        clean: Remove what was left.
        json: Print JSON instead of lines.
    """

    name: Positional[str | None] = None
    clean: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.clean and self.name is not None:
            raise InvalidInputError("--clean looks at the whole registry: leave out the head's name")


def run(verb: str, arguments: list[str]) -> int:
    """Print what is wrong in the registry."""
    config = parse(VerifyConfig, f"heads {verb}", arguments)
    from hydrapicker_registry.leftovers import find_leftovers, remove_leftovers
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.verify import verify

    registry = HeadRegistry()
    with progress_bar("verify") as progress:
        findings = verify(registry, config.name, progress)
    left = () if config.name else find_leftovers(registry)
    if config.clean:
        remove_leftovers(registry, left)
    wrong = [finding for finding in findings if finding.problem]
    if config.json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in wrong:
            print(f"{finding.name} version {finding.version}: {finding.problem}", file=sys.stderr, flush=True)
        say(f"{len(findings) - len(wrong)} of {len(findings)} versions are intact")
        for each in left:
            done = "removed" if config.clean else "--clean removes it"
            say(f"left by a process that died: {each.name}, run {each.run_id}, {each.created:%Y-%m-%d %H:%M} ({done})")
    return 1 if wrong else 0
