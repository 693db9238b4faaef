"""Registered heads on the same micrographs."""

from collections.abc import Callable, Mapping, Sequence

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.heads import pick_micrographs
from hydrapicker.picking.modules import build_modules
from hydrapicker.store.store import Dataset
from hydrapicker_core.metrics import MicrographResult, score_picks, summarise
from hydrapicker_registry.registry import LoadedHead

Progress = Callable[[int, int, str], None]


def measure(
    heads: Sequence[LoadedHead],
    dataset: Dataset,
    progress: Progress = lambda done, total, label: None,
) -> list[dict[str, float]]:
    """Figures of each head on a dataset's ``test`` micrographs, at the threshold its record recommends.

    Raises:
        InvalidInputError: As :func:`pick_tests`.
    """
    picked = pick_tests({str(i): head for i, head in enumerate(heads)}, dataset, progress)
    summaries = (
        summarise(score_picks(picked[str(i)]), len(picked[str(i)]), loaded.head.metadata.threshold)
        for i, loaded in enumerate(heads)
    )
    return [{name: float(v) for name, v in each.as_dict().items() if v is not None} for each in summaries]


def pick_tests(
    heads: Mapping[str, LoadedHead],
    dataset: Dataset,
    progress: Progress = lambda done, total, label: None,
) -> dict[str, list[MicrographResult]]:
    """What every head picks on each of a dataset's ``test`` micrographs, beside the particles, not judged yet.

    There is one pass for all heads of a trunk.

    Args:
        heads: By any names.
        dataset: Where the micrographs lie.
        progress: Told of every micrograph of each trunk's pass.

    Raises:
        InvalidInputError: When the dataset was prepared for boxes of another size, or has no test micrographs.
    """
    rows = dataset.split("test")
    if not len(rows):
        raise InvalidInputError(f"dataset {dataset.name} has no test micrographs: ingest it with --test-size")
    by_trunk: dict[str, list[str]] = {}
    for name, loaded in heads.items():
        box_px = loaded.head.metadata.input.box_px
        if box_px != dataset.box_px:
            raise InvalidInputError(
                f"dataset {dataset.name} has boxes of {dataset.box_px} px and head {loaded.version.dataset!r} takes "
                f"{box_px} px: ingest it with --box-px {box_px}"
            )
        by_trunk.setdefault(loaded.trunk.sha256, []).append(name)
    picked: dict[str, list[MicrographResult]] = {}
    for group in by_trunk.values():
        loads = {name: heads[name] for name in group}
        built = {name: build_modules(each.head, each.trunk, each.version.version) for name, each in loads.items()}
        trunk = built[group[0]][0]
        picked |= pick_micrographs(trunk, {name: head for name, (_, head) in built.items()}, dataset, rows, progress)
    return {name: picked[name] for name in heads}
