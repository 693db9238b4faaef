"""``hydrapicker contribute``."""

from typing import TYPE_CHECKING

from hydrapicker.cli.console import print_table, say
from hydrapicker.cli.parse import parse_with_file

if TYPE_CHECKING:
    from hydrapicker.training.registration import RegisteredHead


def run(arguments: list[str]) -> int:
    """Train a head for one dataset, register it and print how it compares with the generic head."""
    import tyro

    from hydrapicker.training.contribute import ContributeConfig, contribute

    config = parse_with_file(ContributeConfig, "contribute", arguments, ContributeConfig(tyro.MISSING))
    show(contribute(config, say))
    return 0


def show(head: "RegisteredHead") -> None:
    """Print a contributed head beside the generic one."""
    state = "champion" if head.champion else "not champion"
    rows = [
        (f"{head.name} version {head.version} ({state})", head.metrics.get("ap"), head.metrics.get("auroc")),
        ("generic (zero-shot)", head.generic_metrics.get("ap"), head.generic_metrics.get("auroc")),
    ]
    print_table(("head", "AP", "AUROC"), rows, "on test micrographs, IoU 0.6")
