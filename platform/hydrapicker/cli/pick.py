"""``hydrapicker pick``."""

import sys

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse


def run(arguments: list[str]) -> int:
    """Pick micrographs and sum up; exits with 1 when some could not be picked."""
    from hydrapicker.picking.pick import PickConfig, pick

    config = parse(PickConfig, "pick", arguments)
    with progress_bar("pick") as progress:
        report = pick(config, progress)
    total = sum(report.counts.values())
    written = ", ".join(map(str, report.written))
    say(f"{total} picks on {len(report.counts)} micrographs by {report.head}: {written}")
    for path, reason in report.failed.items():
        print(f"hydrapicker pick: left out {path.name}: {reason}", file=sys.stderr)
    return 1 if report.failed else 0
