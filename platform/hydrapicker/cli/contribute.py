"""``hydrapicker contribute``."""

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse_with_file


def run(arguments: list[str]) -> int:
    """Train a head for one dataset, register it and print how it compares with the generic head."""
    import tyro

    from hydrapicker.training.contribute import ContributeConfig, contribute

    config = parse_with_file(ContributeConfig, "contribute", arguments, ContributeConfig(tyro.MISSING))
    head = contribute(config, say)
    rows = [
        (f"{head.name} version {head.version} (few-shot)", head.metrics.get("ap"), head.metrics.get("auroc")),
        ("generic (zero-shot)", head.generic_metrics.get("ap"), head.generic_metrics.get("auroc")),
    ]
    print_table(("head", "AP", "AUROC"), rows, "on test micrographs, IoU 0.6")
    return 0
