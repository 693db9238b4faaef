"""The formats of particles and picks: one line each, and one function that writes them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.box import read_box, write_box
from hydrapicker.files.cbox import read_cbox, write_cbox
from hydrapicker.files.coordinates import Convention, OnDemand, Particles, in_convention
from hydrapicker.files.cs import read_cs, write_cs
from hydrapicker.files.csv import read_csv, write_csv
from hydrapicker.files.micrographs import micrograph_stem
from hydrapicker.files.parquet import read_parquet, write_parquet
from hydrapicker.files.star import read_star, write_autopick_list, write_autopick_star, write_combined_star
from hydrapicker.files.topaz import write_topaz

__all__ = ["FORMATS", "Format", "FormatName", "file_of_one", "format_of", "write_picks", "write_picks_of_one"]


FormatName = Literal["star", "box", "cbox", "cs", "topaz", "csv", "parquet"]


@dataclass(frozen=True)
class Format:
    """A format of particle files.

    Attributes
    ----------
    program : str
        Whose format it is.
    suffixes : tuple of str
        Names that its files end with; what is written ends with the first.
    convention : Convention
        Which row has y = 0.
    read : callable of (path, name of the micrograph where the file does not say)
    write_all : callable of (path, particles by micrograph), or None
        Writes one file for all micrographs; None: the program wants a file per micrograph.
    write_one : callable of (path, name, particles), or None
        Writes one micrograph's file.
    one_ends : str
        What follows the micrograph's stem in the name of its own file.
    list_all : callable of (path, file by micrograph), or None
        Writes the list of the files of all micrographs, ``autopick.star``.
    needs_box, needs_shape, needs_score : bool
        Whether ``Particles.box_px``, ``shape`` and ``score`` have to be known.
    """

    program: str
    suffixes: tuple[str, ...]
    convention: Convention
    read: Callable[[Path, str], dict[str, Particles]]
    write_all: Callable[[Path, Mapping[str, Particles]], None] | None = None
    write_one: Callable[[Path, str, Particles], None] | None = None
    one_ends: str = ""
    list_all: Callable[[Path, Mapping[str, Path]], None] | None = None
    needs_box: bool = False
    needs_shape: bool = False
    needs_score: bool = False


def _write_autopick(path: Path, name: str, particles: Particles) -> None:
    write_autopick_star(path, particles.xy, particles.score)


def _write_box(path: Path, name: str, particles: Particles) -> None:
    write_box(path, particles.xy, max(1, round(particles.box_px or 0)))


_STORED, _PROGRAM = Convention.STORED, Convention.PROGRAM
FORMATS: dict[FormatName, Format] = {
    "star": Format(
        "RELION",
        (".star",),
        _PROGRAM,
        read_star,
        write_combined_star,
        _write_autopick,
        "_autopick.star",
        write_autopick_list,
    ),
    "box": Format("EMAN", (".box",), _PROGRAM, read_box, None, _write_box, ".box", needs_box=True),
    "cbox": Format(
        "crYOLO", (".cbox",), _PROGRAM, read_cbox, None, write_cbox, ".cbox", needs_box=True, needs_score=True
    ),
    "cs": Format("cryoSPARC", (".cs",), _STORED, read_cs, write_cs, needs_shape=True),
    "topaz": Format("Topaz", (".txt",), _STORED, read_csv, write_topaz),
    "csv": Format("HydraPicker", (".csv", ".tsv"), _STORED, read_csv, write_csv),
    "parquet": Format("HydraPicker", (".parquet",), _STORED, read_parquet, write_parquet),
}
"""Every format by its name."""

_ALL, _LIST, _ONES = "picks", "autopick.star", "micrographs"


def format_of(path: str | Path) -> FormatName | None:
    """The name of the format that ``path`` ends like, None for a folder or anything else."""
    suffix = Path(path).suffix.lower()
    return next((name for name, form in FORMATS.items() if suffix in form.suffixes), None)


def write_picks(form: FormatName, out: str | Path, particles: Mapping[str, Particles]) -> list[Path]:
    """Write the particles of all micrographs in one format, every file all or nothing.

    Parameters
    ----------
    form : FormatName
        One of :data:`FORMATS`.
    out : str or Path
        A file, where it ends like one of that format; else a folder: for a file per micrograph where the program takes
        such (RELION's in ``micrographs`` and their list ``autopick.star`` above), else for one file called ``picks``.
    particles : mapping of micrograph name to Particles
        y as ``Particles.convention`` says: the format turns it where it has to. Gone through a few times, one
        micrograph after the other: it need not hold them all in memory.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InvalidInputError
        What the format needs is not known, or a single file is named for several micrographs. Nothing is written.
    ParticlesError
        As :func:`~hydrapicker.files.coordinates.in_convention`.
    OutputError
        A file cannot be written.
    """
    spec, out = FORMATS[form], Path(out)
    for name, part in particles.items():  # refused before anything is written
        _ready(form, out, name, part)
    given = particles
    particles = OnDemand(given, lambda name: _ready(form, out, name, given[name]))
    if format_of(out) != form:
        return _write_into(form, out, particles)
    if spec.write_all is not None:
        spec.write_all(out, particles)
        return [out]
    if len(particles) != 1 or spec.write_one is None:
        raise InvalidInputError(
            f"{out}: {spec.program} has a file per micrograph, and there are {len(particles)}; give a folder"
        )
    ((name, part),) = particles.items()
    spec.write_one(out, name, part)
    return [out]


def write_picks_of_one(form: FormatName, folder: str | Path, name: str, particles: Particles) -> Path | None:
    """Write one micrograph's own file into ``folder``; None where the format has no such files.

    Raises
    ------
    InvalidInputError, ParticlesError, OutputError
        As :func:`write_picks`.
    """
    write_one, path = FORMATS[form].write_one, file_of_one(form, folder, name)
    if write_one is None or path is None:
        return None
    write_one(path, name, _ready(form, path, name, particles))
    return path


def _write_into(form: FormatName, folder: Path, particles: Mapping[str, Particles]) -> list[Path]:
    spec = FORMATS[form]
    if spec.write_one is None:
        assert spec.write_all is not None
        path = folder / f"{_ALL}{spec.suffixes[0]}"
        spec.write_all(path, particles)
        return [path]
    files = {name: _file_of_one(form, folder, name) for name in particles}
    first: dict[Path, str] = {}
    for name, path in files.items():
        if first.setdefault(path, name) != name:
            raise InvalidInputError(f"{path}: {first[path]} and {name} would be one file; write their folders apart")
    for name, path in files.items():
        spec.write_one(path, name, particles[name])
    if spec.list_all is None:
        return list(files.values())
    spec.list_all(folder / _LIST, files)
    return [*files.values(), folder / _LIST]


def _ready(form: FormatName, out: Path, name: str, part: Particles) -> Particles:
    """A micrograph's particles in the format's convention; refused where they lack what it needs."""
    spec = FORMATS[form]
    lacking = (
        "the size of the boxes (--diameter-angstrom or --box-px)"
        if spec.needs_box and part.box_px is None
        else f"the size of {name} in pixels (--micrographs)"
        if spec.needs_shape and part.shape is None
        else f"scores, and {name} has none"
        if spec.needs_score and part.score is None
        else None
    )
    if lacking:
        raise InvalidInputError(f"{out}: {spec.program}'s {spec.suffixes[0]} files need {lacking}")
    return in_convention(part, spec.convention, name)


def file_of_one(form: FormatName, folder: str | Path, name: str) -> Path | None:
    """Where a micrograph's own file lies in ``folder``; None where the format has no such files.

    Raises
    ------
    InvalidInputError
        No file can have that name.
    """
    return None if FORMATS[form].write_one is None else _file_of_one(form, Path(folder), name)


def _file_of_one(form: FormatName, folder: Path, name: str) -> Path:
    spec, stem = FORMATS[form], micrograph_stem(name)
    if not stem.isprintable() or stem in ("", ".", ".."):
        raise InvalidInputError(f"micrograph {name!r} has a name that no file can have; rename it")
    # Beside their list they would be in the way of whoever reads the folder as one of coordinates.
    return (folder if spec.list_all is None else folder / _ONES) / f"{stem}{spec.one_ends}"
