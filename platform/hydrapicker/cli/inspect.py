"""``hydrapicker inspect``."""

import sys

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse


def run(arguments: list[str]) -> int:
    """Write a report of picks, or with ``--apply`` the picks that a choice leaves."""
    from hydrapicker.inspection.inspect import InspectConfig, apply, inspect

    config = parse(InspectConfig, "inspect", arguments)
    if config.apply is not None:
        report = apply(config)
        say(f"{report.picks} picks on {report.micrographs} of {report.of} micrographs: {report.out}")
    else:
        with progress_bar("inspect") as progress:
            report = inspect(config, progress)
        shown = f"{report.micrographs} of {report.of}" if report.micrographs < report.of else f"{report.of}"
        say(f"{report.picks} picks on {shown} micrographs, {report.size_bytes / 1e6:.1f} MB: open {report.out}")
    for note in report.notes:
        print(f"hydrapicker inspect: {note}", file=sys.stderr)
    return 0
