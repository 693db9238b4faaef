"""Validation: every dataset's own head and the generic head on whole micrographs nobody trained on.

While trunk and generic head are frozen, only the datasets' own heads change from one validation to the next: features
of micrographs, and what the generic head does on them, are kept.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from hydrapicker.evaluation.features import KeptFeatures
from hydrapicker.evaluation.heads import Judgement, judge
from hydrapicker.store.store import Dataset, StoredMicrograph
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.whole import stream_micrographs
from hydrapicker.training.recipe import Phase
from hydrapicker.training.record import Validation, gather, mean
from hydrapicker_core.bootstrap import MicrographPart
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.metrics import auroc, average_precision, pool
from hydrapicker_core.network import GENERIC, MultiHeadNetwork


@dataclass(frozen=True, eq=False)
class Unchanged:
    """What stays the same from one validation to the next while trunk and generic head are frozen.

    Attributes:
        features: By dataset and row of the micrograph.
        generic: What the generic head does, by the same.
    """

    features: KeptFeatures
    generic: dict[tuple[str, int], "_Figures"] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Figures:
    loss: float
    scored: MicrographPart

    @classmethod
    def of(cls, judgement: Judgement) -> "_Figures":
        return cls(judgement.loss, judgement.scored())


def validate(
    network: MultiHeadNetwork,
    phase: Phase,
    datasets: Mapping[str, Dataset],
    box_px: int,
    loss: LossConfig,
    rank: int,
    world: int,
    streaming: StreamingConfig,
    unchanged: Unchanged | None = None,
) -> Validation:
    """Judge all heads on the ``val`` micrographs, which the ranks share out; every rank gets the same answer.

    Args:
        network: Trunk and heads.
        phase: Which head a dataset's minibatches go through.
        datasets: With micrographs to validate on.
        box_px: Side of a particle's box in working pixels.
        loss: Weights of the losses.
        rank: This rank.
        world: Number of ranks.
        streaming: How micrographs are read.
        unchanged: Where trunk and generic head are frozen: kept from the last validation, for the next.
    """
    network.eval()
    todo = [(name, int(row)) for name, dataset in sorted(datasets.items()) for row in dataset.split("val")]
    mine = []
    micrographs = stream_micrographs(datasets, todo[rank::world], streaming)
    for micrograph, of in zip(micrographs, todo[rank::world], strict=True):
        figures = _judge(network, phase.head_for(of[0]), of, micrograph, box_px, loss, unchanged)
        mine += [(of[0], role, each.loss, each.scored) for role, each in figures.items()]
    losses: dict[tuple[str, str], list[float]] = defaultdict(list)
    scored = defaultdict(list)
    for name, role, value, parts in (entry for part in gather(mine, world) for entry in part):
        losses[name, role].append(value)
        scored[name, role].append(parts)
    heads_of: dict[str, dict[str, dict[str, float]]] = {}
    for name, role in sorted(losses):
        picks = pool(scored[name, role])
        values = {"loss": mean(losses[name, role]), "ap": average_precision(picks), "auroc": auroc(picks)}
        heads_of.setdefault(name, {})[role] = values
    own = mean([roles["own"]["loss"] for roles in heads_of.values()])
    return Validation(own, heads_of)


def _judge(
    network: MultiHeadNetwork,
    own: str,
    of: tuple[str, int],
    micrograph: StoredMicrograph,
    box_px: int,
    loss: LossConfig,
    unchanged: Unchanged | None,
) -> dict[str, _Figures]:
    """The ``own`` head of a dataset and the ``generic`` one on its micrograph `of`."""
    names = {own} if unchanged is not None and of in unchanged.generic else {own, GENERIC}
    heads = {name: network.head(name) for name in sorted(names)}
    if unchanged is None:
        judged = judge(network.trunk, heads, micrograph, box_px, loss)
        return {"own": _Figures.of(judged[own]), "generic": _Figures.of(judged[GENERIC])}
    judged = judge(network.trunk, heads, micrograph, box_px, loss, features=partial(unchanged.features.of, of))
    if of not in unchanged.generic:
        unchanged.generic[of] = _Figures.of(judged[GENERIC])
    return {"own": _Figures.of(judged[own]), "generic": unchanged.generic[of]}
