"""``hydrapicker train``."""

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse_preset
from hydrapicker.training.config import PRESETS, TrainConfig


def run(arguments: list[str]) -> int:
    """Train, register and print the heads."""
    config = parse_preset(TrainConfig, "train", arguments, PRESETS)
    from hydrapicker.training.train import train

    heads = train(config, say)
    rows = [
        (h.name, h.version, h.metrics.get("ap"), h.metrics.get("auroc"), h.generic_metrics.get("ap")) for h in heads
    ]
    print_table(("head", "version", "AP", "AUROC", "generic head's AP"), rows, "on test micrographs, IoU 0.6")
    return 0
