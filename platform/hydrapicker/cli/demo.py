"""``hydrapicker demo``."""

import sys
from pathlib import Path

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse


def run(arguments: list[str]) -> int:
    """Run the demo, print its table and say what it left."""
    from hydrapicker.demo import DemoConfig, run_demo
    from hydrapicker_registry.connection import without_login

    result = run_demo(parse(DemoConfig, "demo", arguments), say)
    figures = ("ap", "auroc")
    rows = [
        (
            f"{head.name} (new: zero-shot, few-shot)" if head.name == result.new else head.name,
            *(head.generic_metrics.get(name) for name in figures),
            *(head.metrics.get(name) for name in figures),
        )
        for head in result.heads
    ]
    columns = ("dataset", "generic head's AP", "AUROC", "own head's AP", "AUROC")
    print_table(columns, rows, "\nOn test micrographs nobody trained on, at IoU 0.6")
    say("\nPicks drawn on these micrographs:")
    for folder in result.overlays:
        say(f"  {folder}")
    name = result.heads[0].name
    say(f"A head in Python: from hydrapicker import load_head; load_head('{name}').pick('micrograph.mrc')")
    if result.tracking_uri.startswith("http"):
        say(f"MLflow's pages: {without_login(result.tracking_uri)}")
    else:
        mlflow = Path(sys.executable).parent / "mlflow"
        say(f"MLflow's pages, at http://127.0.0.1:5000: {mlflow} ui --backend-store-uri {result.tracking_uri}")
    return 0
