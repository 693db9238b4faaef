"""What an evaluation leaves in a folder: curves, figures as JSON, and micrographs with every hit and miss drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import MicrographError
from hydrapicker.evaluation.figures import detection_curves
from hydrapicker.evaluation.judged import Evaluation, JudgedMicrograph
from hydrapicker.evaluation.picks import Comparison
from hydrapicker.files import Convention, from_program_convention, read_micrograph
from hydrapicker.files.locate import locate_micrographs
from hydrapicker.picking.overlay import Marks, Shape, draw_marks
from hydrapicker.storage.atomic import atomic_write
from hydrapicker_core.hits import NO_PARTICLE

HIT_COLOUR = (64, 224, 128)
FALSE_COLOUR = (255, 96, 48)
MISSED_COLOUR = (88, 176, 255)


def write_report(
    out: Path,
    comparison: Comparison,
    micrographs: tuple[str, ...],
    title: str,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> tuple[int, dict[str, str]]:
    """Write curves.png, evaluation.json and overlays (in a folder per picker where there are several).

    Args:
        out: The folder.
        comparison: What was found.
        micrographs: Where to look for the micrographs; empty: where the files name them.
        title: Of the curves.
        progress: Told of every micrograph drawn.

    Returns:
        How many micrographs were found and drawn, and why others could not be, by name.
    """
    pooled = {name: each.pooled() for name, each in comparison.pickers.items()}
    with atomic_write(out / "curves.png") as temporary:
        temporary.write_bytes(detection_curves(pooled, title))
    with atomic_write(out / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(comparison.as_dict(), indent=2) + "\n", encoding="utf-8")
    found = _found(comparison, micrographs)
    failed: dict[str, str] = {}
    for done, (stem, path) in enumerate(found.items()):
        progress(done, len(found), path.name)
        try:
            _draw(out / "overlays", comparison, stem, path)
        except MicrographError as error:
            failed[stem] = str(error)
    return len(found) - len(failed), failed


def _draw(out: Path, comparison: Comparison, stem: str, path: Path) -> None:
    image = read_micrograph(path).image
    program = comparison.particles.by_stem[stem].convention is Convention.PROGRAM
    for name, evaluation in comparison.pickers.items():
        judged = next(each for each in evaluation.micrographs if each.stem == stem)
        marks = outcome_marks(judged, evaluation.threshold, (path, image.shape[0]) if program else None)
        folder = out / name if len(comparison.pickers) > 1 else out
        draw_marks(folder / f"{stem}.png", image, marks, evaluation.box_px, evaluation.pixel_size_angstrom)


def outcome_marks(
    judged: JudgedMicrograph, threshold: float, program_rows_of: tuple[Path, int] | None = None
) -> list[Marks]:
    """Hits as green circles, false picks as orange circles, missed particles as blue squares.

    Args:
        judged: A micrograph.
        threshold: Picks below are not drawn, and a particle hit only by such a pick is missed.
        program_rows_of: The micrograph's path and height where y counts RELION's rows; None where stored ones.
    """
    kept = judged.kept(threshold)
    hits = kept & (judged.matched != NO_PARTICLE)
    missed = np.ones(len(judged.result.particles), np.bool_)
    missed[judged.matched[hits]] = False

    def stored(xy: NDArray[np.float32]) -> NDArray[np.float32]:
        return xy if program_rows_of is None else from_program_convention(xy, *program_rows_of)

    return [
        Marks(stored(judged.result.particles[missed]), MISSED_COLOUR, Shape.SQUARE),
        Marks(stored(judged.result.picks[kept & ~hits]), FALSE_COLOUR, Shape.CIRCLE),
        Marks(stored(judged.result.picks[hits]), HIT_COLOUR, Shape.CIRCLE),
    ]


def _found(comparison: Comparison, given: tuple[str, ...]) -> dict[str, Path]:
    """The compared micrographs that are there, by stem."""
    any_picker: Evaluation = next(iter(comparison.pickers.values()))
    found: dict[str, Path] = {}
    for file in (comparison.particles, *comparison.files.values()):
        stems = {file.names[stem]: stem for stem in any_picker.compared if stem in file.names and stem not in found}
        found |= {stems[name]: path for name, path in locate_micrographs(stems, file.path, given).items()}
    return {stem: found[stem] for stem in any_picker.compared if stem in found}
