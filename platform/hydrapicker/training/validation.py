"""Validation: every dataset's own head and the generic head on whole micrographs nobody trained on."""

from collections import defaultdict
from collections.abc import Mapping

from hydrapicker.evaluation.heads import judge
from hydrapicker.store.store import Dataset
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.whole import stream_micrographs
from hydrapicker.training.recipe import Phase
from hydrapicker.training.record import Validation, gather, mean
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.metrics import auroc, average_precision, pool
from hydrapicker_core.network import GENERIC, MultiHeadNetwork


def validate(
    network: MultiHeadNetwork,
    phase: Phase,
    datasets: Mapping[str, Dataset],
    box_px: int,
    loss: LossConfig,
    rank: int,
    world: int,
    streaming: StreamingConfig,
) -> Validation:
    """Judge all heads on the ``val`` micrographs, which the ranks share out; every rank gets the same answer."""
    network.eval()
    todo = [(name, row) for name, dataset in sorted(datasets.items()) for row in dataset.split("val")]
    mine = []
    micrographs = stream_micrographs(datasets, todo[rank::world], streaming)
    for (name, _), micrograph in zip(todo[rank::world], micrographs, strict=True):
        names = {"own": phase.head_for(name), "generic": GENERIC}
        heads = {head: network.head(head) for head in set(names.values())}
        judged = judge(network.trunk, heads, micrograph, box_px, loss)
        mine += [(name, role, judged[head].loss, judged[head].scored()) for role, head in names.items()]
    losses: dict[tuple[str, str], list[float]] = defaultdict(list)
    scored = defaultdict(list)
    for name, role, value, parts in (entry for part in gather(mine, world) for entry in part):
        losses[name, role].append(value)
        scored[name, role].append(parts)
    heads_of: dict[str, dict[str, dict[str, float]]] = {}
    for name, role in sorted(losses):
        picks = pool(scored[name, role])
        figures = {"loss": mean(losses[name, role]), "ap": average_precision(picks), "auroc": auroc(picks)}
        heads_of.setdefault(name, {})[role] = figures
    own = mean([roles["own"]["loss"] for roles in heads_of.values()])
    return Validation(own, heads_of)
