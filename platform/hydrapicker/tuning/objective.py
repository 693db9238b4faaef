"""What a trial is judged by: its generic head on datasets that nobody trained on, its own heads on their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.heads import score_heads
from hydrapicker.store.store import Dataset
from hydrapicker.training.record import mean
from hydrapicker_core.metrics import average_precision
from hydrapicker_core.network import GENERIC, MultiHeadNetwork


@dataclass(frozen=True)
class Scores:
    """AP of a network's heads, at IoU 0.6.

    Attributes:
        generic: Of the generic head, per target, on all of its ``val`` and ``test`` micrographs.
        own: Of the own heads, per source, on its ``val`` micrographs; the same head for all where there is but one.
    """

    generic: Mapping[str, float]
    own: Mapping[str, float]

    @property
    def objective(self) -> float:
        """What is to be made large: the generic head's AP, averaged over the targets."""
        return mean(list(self.generic.values()))

    @property
    def own_ap(self) -> float:
        """The own heads' AP, averaged over the sources."""
        return mean(list(self.own.values()))


def held_out(target: Dataset) -> list[int]:
    """Rows of a target's micrographs that judge: ``val`` and ``test``; its ``train`` ones are left to contributions."""
    return [int(row) for row in chain(target.split("val"), target.split("test"))]


def check_targets(targets: Mapping[str, Dataset]) -> None:
    """Refuse, with :class:`InvalidInputError`, datasets that cannot judge."""
    if not targets:
        raise InvalidInputError("no datasets to judge the generic head on: give their names with --targets")
    for name, target in targets.items():
        if not any(target.rows.particle_counts[row] for row in held_out(target)):
            raise InvalidInputError(
                f"target {name} has no particles on val and test micrographs: ingest it with labelled ones"
            )


def judge_trial(network: MultiHeadNetwork, sources: Mapping[str, Dataset], targets: Mapping[str, Dataset]) -> Scores:
    """Judge a network, which is put in evaluation mode."""
    generic = {
        name: average_precision(
            score_heads(network.trunk, {GENERIC: network.generic}, target, held_out(target))[GENERIC]
        )
        for name, target in targets.items()
    }
    own = {}
    for name, source in sources.items():
        head = name if name in network.datasets else GENERIC  # stage 1's network has one head for all
        own[name] = average_precision(
            score_heads(network.trunk, {head: network.head(head)}, source, source.split("val"))[head]
        )
    return Scores(generic, own)
