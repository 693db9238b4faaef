"""``hydrapicker pick``."""

import sys

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse

_SHOWN = 20


def run(arguments: list[str]) -> int:
    """Pick micrographs and sum up; exits with 1 when some could not be picked."""
    from hydrapicker.picking.pick import PickConfig, pick

    config = parse(PickConfig, "pick", arguments)
    with progress_bar("pick") as progress:
        report = pick(config, progress, say, _notice)
    summary = report.summary
    if report.skipped:
        say(f"{report.skipped} micrographs had been picked before (--overwrite picks them anew)")
    written = ", ".join(map(str, report.written))
    say(f"{summary.picks} picks on {summary.micrographs} micrographs by {report.head}: {written}")
    say(f"per micrograph {summary.median:g} (median), {summary.fewest} to {summary.most}")
    if report.contrast_doubt:
        _notice(report.contrast_doubt)
    _warn("odd", summary.odd)
    _warn("left out", [f"{name}: {reason}" for name, reason in report.failed.items()])
    return 1 if report.failed else 0


def _notice(line: str) -> None:
    print(f"hydrapicker pick: {line}", file=sys.stderr, flush=True)


def _warn(what: str, lines: list[str] | tuple[str, ...]) -> None:
    for line in lines[:_SHOWN]:
        print(f"hydrapicker pick: {what} {line}", file=sys.stderr)
    if len(lines) > _SHOWN:
        print(f"hydrapicker pick: {what}: and {len(lines) - _SHOWN} more", file=sys.stderr)
