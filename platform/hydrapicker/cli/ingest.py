"""``hydrapicker ingest``."""

from collections.abc import Mapping

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.store.config import IngestConfig

_SHOWN = 20


def run(arguments: list[str]) -> int:
    """Ingest a dataset and report what was stored and what was left out."""
    config = parse(IngestConfig, "ingest", arguments)
    from hydrapicker.store.ingest import ingest

    with progress_bar("ingest") as progress:
        report = ingest(config, progress)
    counts = ", ".join(f"{n} {split} ({report.particles[split]} particles)" for split, n in report.micrographs.items())
    state = "unchanged" if report.unchanged else "stored"
    say(f"{report.name} {report.version} {state}: {counts}")
    if report.continued_from:
        say(f"continued: {report.continued_from} micrographs had been stored before the interruption")
    _say_skipped(report.skipped)
    if report.dropped_outside:
        say(f"dropped {report.dropped_outside} particles that lie outside of their micrographs")
    for path in report.repaired:
        say(f"repaired: {path}")
    return 0


def _say_skipped(skipped: Mapping[str, str]) -> None:
    """Name what was left out, the first few of every reason."""
    for reason in sorted(set(skipped.values())):
        files = [file for file, why in skipped.items() if why == reason]
        for file in files[:_SHOWN]:
            say(f"left out, as {reason}: {file}")
        if len(files) > _SHOWN:
            say(f"left out, as {reason}: and {len(files) - _SHOWN} more")
