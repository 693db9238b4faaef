"""``hydrapicker heads``."""

import json
from dataclasses import asdict, dataclass

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse


@dataclass(frozen=True)
class HeadsConfig:
    """List the heads in the registry: name, version, alias, trunk, AP, date.

    Attributes:
        json: Print JSON instead of a table.
    """

    json: bool = False


def run(arguments: list[str]) -> int:
    """Print the table of heads."""
    config = parse(HeadsConfig, "heads", arguments)
    from hydrapicker.sdk import list_heads

    heads = list_heads()
    if config.json:
        say(json.dumps([asdict(head) for head in heads], indent=2, default=str))
    elif not heads:
        say("no heads in the registry yet: make some with hydrapicker train")
    else:
        rows = [
            (h.dataset, h.version, " ".join(h.aliases) or None, h.trunk_version, h.ap, f"{h.registered:%Y-%m-%d %H:%M}")
            for h in heads
        ]
        print_table(("head", "version", "alias", "trunk", "AP", "registered (UTC)"), rows)
    return 0
