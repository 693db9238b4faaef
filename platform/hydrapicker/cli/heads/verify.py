"""``hydrapicker heads verify``."""

import json
import sys
from dataclasses import asdict, dataclass

from tyro.conf import Positional

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class VerifyConfig:
    """Download heads and trunks anew and check all files, checksums, tags and code. Exit code 1 for damage.

    Attributes:
        name: Only the versions of this head; all heads and trunks when not given.
        json: Print JSON instead of lines.
    """

    name: Positional[str | None] = None
    json: bool = False


def run(verb: str, arguments: list[str]) -> int:
    """Print what is wrong in the registry."""
    config = parse(VerifyConfig, f"heads {verb}", arguments)
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.verify import verify

    with progress_bar("verify") as progress:
        findings = verify(HeadRegistry(), config.name, progress)
    wrong = [finding for finding in findings if finding.problem]
    if config.json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in wrong:
            print(f"{finding.name} version {finding.version}: {finding.problem}", file=sys.stderr, flush=True)
        say(f"{len(findings) - len(wrong)} of {len(findings)} versions are intact")
    return 1 if wrong else 0
