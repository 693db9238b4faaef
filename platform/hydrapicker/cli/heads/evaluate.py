"""``hydrapicker heads evaluate``."""

from dataclasses import dataclass
from pathlib import Path

from hydrapicker.cli.console import progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.errors import InvalidInputError
from hydrapicker_registry.names import validate_dataset_name


@dataclass(frozen=True)
class EvaluateHeadsConfig:
    """Make the paper's tables: own and generic heads on sources and targets, as Markdown, curves and an MLflow run.

    Attributes:
        datasets: Those evaluated; by default all that have a head and are in the store.
        against: Models to compare few-shot heads with, as NAME=TRACKING_URI of the registry that holds their heads of
            the targets: single-head=sqlite:///single.db
        out: Folder for tables.md and curves.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
    """

    datasets: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    out: Path = Path("heads-evaluation")
    store: str | None = None

    def __post_init__(self) -> None:
        _ = self.registries

    @property
    def registries(self) -> dict[str, str]:
        """Tracking URI by the model's name."""
        found = {}
        for each in self.against:
            name, separator, uri = each.partition("=")
            if not separator or not uri or name in ("own", "generic"):
                raise InvalidInputError(f"against {each!r}: give NAME=TRACKING_URI, as in single-head=sqlite:///one.db")
            validate_dataset_name(name)  # a metric's name in MLflow
            found[name] = uri
        return found


def run(verb: str, arguments: list[str]) -> int:
    """Write the tables, and print them."""
    config = parse(EvaluateHeadsConfig, f"heads {verb}", arguments)
    from hydrapicker.evaluation.tables import evaluate_heads
    from hydrapicker.evaluation.tables_report import log_tables, write_tables
    from hydrapicker.store.store import Store

    with progress_bar("evaluate") as progress:
        tables = evaluate_heads(Store(config.store), config.registries, config.datasets, progress)
    files = write_tables(config.out, tables)
    run = log_tables(tables, files)
    say(files["tables.md"].read_text(encoding="utf-8"))
    say(f"{files['tables.md']}; MLflow run {run.run_id}")
    return 0
