"""``hydrapicker convert``."""

import sys

from hydrapicker.cli.console import say
from hydrapicker.cli.parse import parse


def run(arguments: list[str]) -> int:
    """Convert and say what was written."""
    from hydrapicker.files.convert import ConvertConfig, convert

    report = convert(config := parse(ConvertConfig, "convert", arguments))
    if report.outside:
        say(f"left out {report.outside} particles that lie outside of their micrographs")
    if report.taken_as_mrc:
        names = ", ".join(report.taken_as_mrc[:3])
        print(
            f"hydrapicker convert: {len(report.taken_as_mrc)} micrographs are named without a suffix ({names}) and "
            "taken as MRC; give --micrographs if they are TIFF",
            file=sys.stderr,
        )
    where = report.written[0] if len(report.written) == 1 else f"{len(report.written)} files in {config.out}"
    say(f"{sum(report.counts.values())} particles on {len(report.counts)} micrographs: {where}")
    return 0
