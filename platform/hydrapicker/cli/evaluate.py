"""``hydrapicker evaluate``."""

import json
import sys

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse


def run(arguments: list[str]) -> int:
    """Compare picks with particles and print the figures."""
    from hydrapicker.evaluation.picks import EvaluateConfig, evaluate_picks

    config = parse(EvaluateConfig, "evaluate", arguments)
    evaluation = evaluate_picks(config)
    if evaluation.unpicked and not config.all_micrographs:
        print(
            f"hydrapicker evaluate: {len(evaluation.unpicked)} micrographs with particles have no picks and are left "
            "out; --all-micrographs counts their particles as missed",
            file=sys.stderr,
        )
    if config.json:
        say(json.dumps(evaluation.as_dict(), indent=2))
    else:
        rows = [(name.replace("_", " "), value) for name, value in evaluation.metrics.as_dict().items()]
        print_table((f"at IoU {config.iou_threshold:g}", ""), rows)
    return 0
