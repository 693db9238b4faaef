"""``hydrapicker heads suggest``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional

from hydrapicker.cli.console import print_table, progress_bar, say
from hydrapicker.cli.parse import parse
from hydrapicker.errors import InvalidInputError
from hydrapicker.store.labelled import Labelled

if TYPE_CHECKING:
    from hydrapicker.evaluation.suggest import Ranking
    from hydrapicker.store.store import Dataset
    from hydrapicker_registry.registry import LoadedHead


@dataclass(frozen=True)
class SuggestConfig:
    """Rank all champions on a few labelled micrographs by AP, the generic head among them.

    Attributes:
        dataset: Of the store, of which up to count training and validation micrographs are looked at; or else give
            micrographs.
        labelled: Micrographs and picks to look at instead; they are not kept.
        count: Most micrographs that are looked at.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
        json: Print JSON instead of a table.
    """

    dataset: Positional[str | None] = None
    labelled: Annotated[Labelled, OmitArgPrefixes] = field(default_factory=Labelled)
    count: int = 5
    store: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if bool(self.labelled) == (self.dataset is not None):
            raise InvalidInputError("give either a dataset in the store, or --micrographs with their --particles")
        if self.count < 1:
            raise InvalidInputError(f"count {self.count} is not positive: give at least 1")


def run(verb: str, arguments: list[str]) -> int:
    """Print heads by AP."""
    config = parse(SuggestConfig, f"heads {verb}", arguments)
    from hydrapicker.evaluation.suggest import few_rows, rank_heads
    from hydrapicker_registry.names import GENERIC
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.shipped.fallback import load_or_shipped

    registry = HeadRegistry()
    generic = load_or_shipped(registry, GENERIC)
    with _looked_at(config, generic) as dataset, progress_bar("suggest") as progress:
        rows = few_rows(dataset, config.count) if config.dataset else tuple(range(len(dataset)))[: config.count]
        ranking = rank_heads(registry, generic, dataset, rows, progress=progress)
    if config.json:
        say(json.dumps(_plain(ranking), indent=2))
        return 0
    table = [(s.head.dataset, s.head.version or "shipped", s.ap, s.particles) for s in ranking.suggestions]
    print_table(("head", "version", "AP", "particles"), table, f"on {len(rows)} labelled micrographs, IoU 0.6")
    tried = sum(not s.whole for s in ranking.suggestions)
    if tried:
        say(f"the last {tried} were looked at only in the part of each micrograph with the most particles")
    for head in ranking.left_out:
        say(f"left out, as it belongs to trunk version {head.trunk_version}: {head.dataset} version {head.version}")
    best = ranking.suggestions[0].head.dataset
    say(f"start from the first: hydrapicker contribute {config.dataset or 'NAME'} --init {best}")
    return 0


@contextmanager
def _looked_at(config: SuggestConfig, generic: "LoadedHead") -> "Iterator[Dataset]":
    from hydrapicker.store.store import Store

    if config.dataset is not None:
        yield Store(config.store).open(config.dataset)
        return
    with TemporaryDirectory(prefix="hydrapicker-suggest-") as folder:
        config.labelled.ingest("looked-at", folder, generic.head.metadata.input.box_px)
        yield Store(folder).open("looked-at")


def _plain(ranking: "Ranking") -> dict[str, object]:
    rows = [
        {
            "head": s.head.dataset,
            "version": s.head.version or None,  # None for the shipped one
            "ap": None if s.ap != s.ap else s.ap,  # JSON knows no NaN
            "micrographs": s.micrographs,
            "particles": s.particles,
            "whole_micrographs": s.whole,
        }
        for s in ranking.suggestions
    ]
    return {"heads": rows, "left_out": [{"head": h.dataset, "version": h.version} for h in ranking.left_out]}
