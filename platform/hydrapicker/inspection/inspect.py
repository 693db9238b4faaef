"""``hydrapicker inspect``: a report of picks, or the final file by a choice made in one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, Particles, micrograph_stem, read_header, write_picks
from hydrapicker.files.formats import FormatName, format_of
from hydrapicker.files.locate import locate_micrographs
from hydrapicker.files.micrographs import is_tiff
from hydrapicker.inspection.choice import apply_choice, read_choice
from hydrapicker.inspection.report import ReportText, write_report
from hydrapicker.inspection.source import inspected, known_pixel_sizes
from hydrapicker.picking.source import PickSource


@dataclass(frozen=True)
class InspectConfig:
    """Look at picks in a browser, choose a threshold with one's eyes, and apply the choice.

    Attributes:
        picks: Folder that `hydrapicker pick` wrote, or a file, folder or quoted pattern of any picker's picks.
        out: The report (.html); with --apply the final picks (.star, or as --to says).
        micrographs: Files, folders or quoted patterns of the micrographs; by default where the picks name them.
        diameter_angstrom: The particle's diameter; by default the one that was picked with.
        pixel_size_angstrom: Of the micrographs; by default what the picks, or the micrographs' headers, say.
        most_micrographs: Of more micrographs the report shows so many, evenly spaced by name; a choice applies to all.
        apply: The choice.json that a report exported: write the picks it leaves instead of a report.
        to: With --apply, the format to write; by default the one that OUT ends like.
    """

    picks: Positional[Path]
    out: Path = Path("report.html")
    micrographs: tuple[str, ...] = ()
    diameter_angstrom: float | None = None
    pixel_size_angstrom: float | None = None
    most_micrographs: int = 1000
    apply: Path | None = None
    to: FormatName | None = None

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        if self.most_micrographs < 1:
            raise InvalidInputError(f"most_micrographs {self.most_micrographs} is not positive: give 1000")
        if self.apply is None and self.to is not None:
            raise InvalidInputError(f"to is {self.to}: it is for the picks of a choice, give --apply choice.json")
        if self.apply is None and self.out.suffix.lower() != ".html":
            raise InvalidInputError(f"out is {self.out}: a report ends in .html, give --out NAME.html")
        if self.apply is not None and self.to is None and format_of(self.out) is None:
            raise InvalidInputError(
                f"out is {self.out}: the picks of a choice end in .star, give --out NAME.star, or --to "
                f"{'|'.join(FORMATS)}"
            )


@dataclass(frozen=True)
class InspectReport:
    """What was written.

    Attributes:
        out: The file.
        size_bytes: Its size.
        micrographs: How many micrographs it shows (or, of a choice, has picks on or none left on).
        of: How many there are.
        picks: How many picks it holds.
        notes: What a user should know, a line each.
    """

    out: Path
    size_bytes: int
    micrographs: int
    of: int
    picks: int
    notes: tuple[str, ...] = field(default=())


def inspect(
    config: InspectConfig, progress: Callable[[int, int, str], None] = lambda done, total, label: None
) -> InspectReport:
    """Write a report.

    Raises:
        InvalidInputError: For picks that cannot be used, or when diameter or pixel size are not known.
        OutputError: When it cannot be written.
    """
    source = PickSource.read(config.picks).with_micrographs(config.micrographs)
    if not source.picks:
        raise InvalidInputError(f"{source.file}: names no micrograph, so there is nothing to look at")
    diameter = config.diameter_angstrom or (source.record.diameter_angstrom if source.record else None)
    if diameter is None:
        raise InvalidInputError(f"{source.file} does not state the particle's diameter: give --diameter-angstrom")
    shown = _evenly(sorted(source.picks), config.most_micrographs)
    total = len(source.picks)
    source = replace(source, picks={name: source.picks[name] for name in shown})
    micrographs, failed = inspected(source, config.micrographs, config.pixel_size_angstrom)
    failed |= write_report(config.out, micrographs, diameter, _text(source, diameter), progress)
    notes = [f"{name} is shown without its image: {reason}" for name, reason in failed.items()]
    lost = sum(each.path is None and each.name not in failed for each in micrographs)
    if lost:
        notes.append(f"{lost} micrographs are not where the picks name them, shown on grey: give --micrographs")
    notes += [hint] if (hint := source.hint()) else []
    picks = sum(len(each.xy) for each in micrographs)
    return InspectReport(config.out, config.out.stat().st_size, len(shown), total, picks, tuple(notes))


def apply(config: InspectConfig) -> InspectReport:
    """Write the picks that a choice leaves.

    Raises:
        InvalidInputError: For a choice or picks that cannot be used, or that do not fit together.
        OutputError: When the file cannot be written.
    """
    assert config.apply is not None
    choice = read_choice(config.apply)
    source = PickSource.read(config.picks)
    left = apply_choice(choice, _with_pixel_sizes(source, config))
    written = {name: each for name, each in left.items() if len(each.xy)}
    paths = locate_micrographs(written, source.file, config.micrographs)
    form = config.to or format_of(config.out)
    assert form is not None
    diameter = config.diameter_angstrom or (source.record.diameter_angstrom if source.record else None)
    final = {name: _complete(form, name, each, paths, diameter) for name, each in written.items()}
    write_picks(form, config.out, final)
    stems = {micrograph_stem(name) for name in source.picks}
    unknown = [name for name in choice.excluded_micrographs if micrograph_stem(name) not in stems]
    notes = (
        [f"{len(unknown)} micrographs of the choice are not mentioned by the picks ({unknown[0]})"] if unknown else []
    )
    picks = sum(len(each.xy) for each in final.values())
    return InspectReport(config.out, config.out.stat().st_size, len(left), len(source.picks), picks, tuple(notes))


def _with_pixel_sizes(source: PickSource, config: InspectConfig) -> dict[str, Particles]:
    """The picks, with the pixel sizes that their report had."""
    silent = [
        name for name, each in source.picks.items() if not (config.pixel_size_angstrom or each.pixel_size_angstrom)
    ]
    paths = locate_micrographs(silent, source.file, config.micrographs)
    headers = {name: read_header(path) for name, path in paths.items()}
    sizes = known_pixel_sizes(source.picks, headers, config.pixel_size_angstrom)
    return {name: replace(each, pixel_size_angstrom=sizes.get(name)) for name, each in source.picks.items()}


def _complete(
    form: FormatName, name: str, picks: Particles, paths: dict[str, Path], diameter_angstrom: float | None
) -> Particles:
    """With what the format needs and the micrograph or the record says."""
    spec = FORMATS[form]
    if spec.needs_box and diameter_angstrom is not None and picks.pixel_size_angstrom is not None:
        picks = replace(picks, box_px=diameter_angstrom / picks.pixel_size_angstrom)
    turned = picks.convention is not spec.convention and is_tiff(name)
    if not (turned or spec.needs_shape) or picks.shape is not None:
        return picks
    if name not in paths:
        raise InvalidInputError(
            f"{name} is not found, and its height is needed to count rows as {spec.program} does"
            f"{' for TIFF' if turned else ''}: give --micrographs"
        )
    header = read_header(paths[name])
    return replace(picks, shape=(header.height, header.width))


def _evenly(names: list[str], most: int) -> list[str]:
    if len(names) <= most:
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]


def _text(source: PickSource, diameter_angstrom: float) -> ReportText:
    record = source.record
    scores = [each.score for each in source.picks.values() if each.score is not None and len(each.score)]
    unscored = any(each.score is None and len(each.xy) for each in source.picks.values())
    title = source.file.parent.absolute().name if record else source.file.name
    if record is None:
        least = None if unscored else float(min((part.min() for part in scores), default=0.0))
        hint = "These picks have no scores." if unscored else "Starts with all picks of the file."
        return ReportText(title, f"particle diameter {diameter_angstrom:g} Å", least, None, hint, "")
    called = f"head {record.head} version {record.head_version}" if record.head_version else "shipped generic head"
    return ReportText(
        title,
        f"{called}, particle diameter {diameter_angstrom:g} Å",
        record.threshold,
        record.threshold,
        f"Picked with {record.threshold:.3g} (the line); scores from {record.least_score:g} up are here.",
        f"Picked with {record.min_distance_angstrom:g} Å; less changes nothing.",
    )
