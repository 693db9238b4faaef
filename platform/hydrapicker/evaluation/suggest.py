"""Which registered head does best on a few labelled micrographs: where a new head may start from."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.features import KeptFeatures
from hydrapicker.evaluation.heads import score_micrographs
from hydrapicker.evaluation.windows import judge_window, windows
from hydrapicker.picking.modules import build_modules
from hydrapicker.store.store import Dataset
from hydrapicker_core.metrics import ScoredPicks, average_precision, pool
from hydrapicker_core.network import GENERIC, Head
from hydrapicker_registry.reading import CHAMPION
from hydrapicker_registry.registry import HeadRegistry, LoadedHead
from hydrapicker_registry.versions import HeadVersion

Progress = Callable[[int, int, str], None]

FEW = 5
"""Micrographs that heads are ranked on."""

_FEW_HEADS = 5
"""So many, the generic one included, all look at whole micrographs."""

_CONTENDERS = 2
"""Of more heads, those that look at whole micrographs, the generic one included: ranking 30 then costs less than 1.5
times what it costs to judge one, at the paper's width."""

_FEATURES_GIB = 4.0
"""Features of micrographs that are kept in memory; at the paper's width five of 800 x 800 px take 1 GiB."""


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A head and how it does.

    Attributes:
        head: The champion of its name.
        ap: On what was looked at; NaN without particles.
        micrographs: How many were looked at.
        particles: That were looked at.
        whole: Whether at whole micrographs, or only at a window of each.
    """

    head: HeadVersion
    ap: float
    micrographs: int
    particles: int
    whole: bool


@dataclass(frozen=True, eq=False)
class Ranking:
    """Heads, the best first, and the champions that belong to another trunk and were left out."""

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
    progress: Progress = lambda done, total, label: None,
) -> Ranking:
    """Rank all champions of the generic head's trunk, in one pass through it for each micrograph.

    Many heads are first tried on a window of each micrograph, that with the most particles; the best of them and the
    generic head come first, ranked on whole micrographs, and the others follow, ranked on the windows.

    Args:
        registry: Where heads are.
        generic: The generic head, which is ranked too.
        dataset: Labelled micrographs.
        rows: Those looked at.
        without: Name of a head to leave out.
        progress: Called with (micrographs or heads done, in all, label).

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
    left_out = tuple(head for head in champions if head.trunk_sha256 != generic.trunk.sha256)
    look = _Look(registry, generic, dataset, tuple(rows))
    if len(others) < _FEW_HEADS:
        return Ranking(tuple(look.whole(others, progress)), left_out)
    tried = look.window(others, progress)
    contenders = [each.head for each in tried if each.head.dataset != GENERIC][: _CONTENDERS - 1]
    best = look.whole(contenders, progress)
    rest = [each for each in tried if each.head.dataset not in {other.head.dataset for other in best}]
    return Ranking((*best, *rest), left_out)


class _Look:
    """Looks at some micrographs with heads of one trunk, the generic one always among them."""

    def __init__(self, registry: HeadRegistry, generic: LoadedHead, dataset: Dataset, rows: tuple[int, ...]) -> None:
        self._registry, self._generic, self._dataset, self._rows = registry, generic, dataset, rows
        self._trunk, self._generic_head = build_modules(generic.head, generic.trunk, generic.version.version)
        self._kept = KeptFeatures(_FEATURES_GIB)

    def whole(self, heads: Sequence[HeadVersion], progress: Progress) -> list[Suggestion]:
        """Suggestions by the AP on whole micrographs, the best first."""
        modules = {GENERIC: self._generic_head} | {head.dataset: self._load(head) for head in heads}
        parts = score_micrographs(self._trunk, modules, self._dataset, self._rows, progress, self._kept)
        return self._suggestions(heads, {name: pool(each) for name, each in parts.items()}, whole=True)

    def window(self, heads: Sequence[HeadVersion], progress: Progress) -> list[Suggestion]:
        """Suggestions by the AP on a window of each micrograph; one head after the other is in memory."""
        looked = []
        for window in windows(self._trunk, self._dataset, self._rows, self._kept):
            looked.append(window)
            progress(len(looked), len(self._rows), self._dataset.name)
        scored = {}
        for done, head in enumerate((self._generic.version, *heads), start=1):
            module = self._generic_head if head.dataset == GENERIC else self._load(head)
            scored[head.dataset] = pool(judge_window(module, window, self._dataset.box_px) for window in looked)
            progress(done, len(heads) + 1, "heads tried")
        return self._suggestions(heads, scored, whole=False)

    def _load(self, head: HeadVersion) -> Head:
        loaded = self._registry.load(head.dataset, head.version)
        return build_modules(loaded.head, loaded.trunk, loaded.version.version)[1]

    def _suggestions(
        self, heads: Sequence[HeadVersion], scored: Mapping[str, ScoredPicks], whole: bool
    ) -> list[Suggestion]:
        suggestions = [
            Suggestion(head, average_precision(picks), len(self._rows), picks.particles, whole)
            for head in (self._generic.version, *heads)
            for picks in (scored[head.dataset],)
        ]
        return sorted(suggestions, key=lambda each: (-_or_worst(each.ap), each.head.dataset != GENERIC))


def _or_worst(ap: float) -> float:
    return -1.0 if math.isnan(ap) else ap
