"""Registered heads on the same micrographs."""

from collections.abc import Callable, Sequence

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.heads import score_heads
from hydrapicker.picking.modules import build_modules
from hydrapicker.store.store import Dataset
from hydrapicker_core.metrics import ScoredPicks, summarise
from hydrapicker_registry.registry import LoadedHead


def measure(
    heads: Sequence[LoadedHead],
    dataset: Dataset,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> list[dict[str, float]]:
    """Figures of each head on a dataset's ``test`` micrographs, at the threshold its record recommends.

    Heads of one trunk are judged in one pass through it.

    Raises:
        InvalidInputError: When the dataset was prepared for boxes of another size, or has no test micrographs.
    """
    rows = dataset.split("test")
    if not len(rows):
        raise InvalidInputError(f"dataset {dataset.name} has no test micrographs: ingest it with --test-size")
    scored: dict[int, ScoredPicks] = {}
    by_trunk: dict[str, list[int]] = {}
    for i, loaded in enumerate(heads):
        box_px = loaded.head.metadata.input.box_px
        if box_px != dataset.box_px:
            raise InvalidInputError(
                f"dataset {dataset.name} has boxes of {dataset.box_px} px and head {loaded.version.dataset!r} takes "
                f"{box_px} px: ingest it with --box-px {box_px}"
            )
        by_trunk.setdefault(loaded.trunk.sha256, []).append(i)
    for group in by_trunk.values():
        built = {i: build_modules(heads[i].head, heads[i].trunk, heads[i].version.version) for i in group}
        trunk = built[group[0]][0]
        found = score_heads(trunk, {str(i): head for i, (_, head) in built.items()}, dataset, rows, progress)
        scored |= {int(i): picks for i, picks in found.items()}
    return [
        {
            name: float(value)
            for name, value in summarise(scored[i], len(rows), loaded.head.metadata.threshold).as_dict().items()
            if value is not None
        }
        for i, loaded in enumerate(heads)
    ]
