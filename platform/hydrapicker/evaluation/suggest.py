"""Which registered head does best on a few labelled micrographs: where a new head may start from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.heads import score_heads
from hydrapicker.picking.modules import build_modules
from hydrapicker.store.store import Dataset
from hydrapicker_core.metrics import average_precision
from hydrapicker_core.network import GENERIC
from hydrapicker_registry.reading import CHAMPION
from hydrapicker_registry.registry import HeadRegistry, LoadedHead
from hydrapicker_registry.versions import HeadVersion

FEW = 5
"""Micrographs that heads are ranked on."""


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A head and how it does.

    Attributes:
        head: The champion of its name.
        ap: On the micrographs looked at; NaN without particles.
        micrographs: How many those are.
        particles: On them.
    """

    head: LoadedHead
    ap: float
    micrographs: int
    particles: int


@dataclass(frozen=True, eq=False)
class Ranking:
    """Heads by AP, the best first, and the champions that belong to another trunk and were left out."""

    suggestions: tuple[Suggestion, ...]
    left_out: tuple[HeadVersion, ...]


def few_rows(dataset: Dataset, count: int = FEW) -> tuple[int, ...]:
    """The first few training and then validation micrographs: test micrographs are for judging what comes of it."""
    return tuple(int(row) for split in ("train", "val") for row in dataset.split(split))[:count]


def rank_heads(
    registry: HeadRegistry,
    generic: LoadedHead,
    dataset: Dataset,
    rows: Sequence[int],
    without: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> Ranking:
    """Rank all champions of the generic head's trunk, in one pass through it for each micrograph.

    Args:
        registry: Where heads are.
        generic: The generic head, which is ranked too.
        dataset: Labelled micrographs.
        rows: Those looked at.
        without: Name of a head to leave out.
        progress: Called with (micrographs done, micrographs in all, label).

    Raises:
        InvalidInputError: When the dataset was prepared for boxes of another size.
    """
    box_px = generic.head.metadata.input.box_px
    if dataset.box_px != box_px:
        raise InvalidInputError(
            f"dataset {dataset.name} has boxes of {dataset.box_px} px and the heads take {box_px} px: ingest it with "
            f"--box-px {box_px}"
        )
    champions = [head for head in registry.list_heads() if CHAMPION in head.aliases and head.dataset != without]
    others = [head for head in champions if head.trunk_sha256 == generic.trunk.sha256 and head.dataset != GENERIC]
    loaded = {head.dataset: registry.load(head.dataset, head.version) for head in others} | {GENERIC: generic}
    modules = {name: build_modules(head.head, head.trunk, head.version.version) for name, head in loaded.items()}
    heads = {name: head for name, (_, head) in modules.items()}
    scored = score_heads(modules[GENERIC][0], heads, dataset, rows, progress)
    suggestions = [
        Suggestion(loaded[name], average_precision(picks), len(rows), picks.particles) for name, picks in scored.items()
    ]
    suggestions.sort(key=lambda each: (-_or_worst(each.ap), each.head.version.dataset != GENERIC))
    left_out = tuple(head for head in champions if head.trunk_sha256 != generic.trunk.sha256)
    return Ranking(tuple(suggestions), left_out)


def _or_worst(ap: float) -> float:
    return -1.0 if math.isnan(ap) else ap
