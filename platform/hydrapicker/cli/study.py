"""``hydrapicker study``."""

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse_with_file
from hydrapicker.study.config import StudyConfig


def run(arguments: list[str]) -> int:
    """Train what is to be compared, evaluate everything, and say where the report is."""
    config = parse_with_file(StudyConfig, "study", arguments, StudyConfig())
    from hydrapicker.study.study import run_study

    with progress_bar("study") as progress:
        report = run_study(config, say, progress)
    say(report.tables.read_text(encoding="utf-8"))
    say(f"{report.tables}; MLflow run {report.run_id}")
    return 0
