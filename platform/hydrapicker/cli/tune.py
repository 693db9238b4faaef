"""``hydrapicker tune``."""

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse_preset
from hydrapicker.tuning.config import PRESETS, TuneConfig


def run(arguments: list[str]) -> int:
    """Search, and print the trials and the command that trains with the best."""
    config = parse_preset(TuneConfig, "tune", arguments, PRESETS)
    from hydrapicker.tuning.outcome import table
    from hydrapicker.tuning.settings import searched
    from hydrapicker.tuning.tune import tune

    with progress_bar("trials") as show:
        result = tune(config, say, show)
    columns, rows = table(result.outcomes, searched(config.search))
    print_table(columns, rows, "AP at IoU 0.6")
    say(result.finding)
    say(f"plot: {result.figure}")
    say("to train with it:")
    say(result.command)
    return 0
