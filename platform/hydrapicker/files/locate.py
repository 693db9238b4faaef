"""Where the micrographs lie that a pick or particle file names."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.micrographs import MICROGRAPH_SUFFIXES, find_micrographs, micrograph_stem

__all__ = ["locate_micrographs"]


def locate_micrographs(names: Iterable[str], named_in: Path, given: Sequence[str] = ()) -> dict[str, Path]:
    """Find the files of micrographs; names without a file are left out.

    Parameters
    ----------
    names : iterable of str
        As a file names them: a path, or only a stem.
    named_in : Path
        The file (or folder) that names them. Names are taken relative to the current folder, to this file's own and
        to those above it, as RELION's are relative to the project's.
    given : sequence of str
        Files, folders and globs to look in instead, by stem.

    Raises
    ------
    InvalidInputError
        As :func:`~hydrapicker.files.micrographs.find_micrographs`, or two of the files given have the stem of a name.
    """
    if given:
        return _among(names, find_micrographs(given))
    folders = [Path(), *(named_in.absolute() / "file").parents]
    found: dict[str, Path] = {}
    for name in names:
        file = name.rsplit("@", 1)[-1]
        if not file.lower().endswith(MICROGRAPH_SUFFIXES):
            continue  # a stem is no file's name
        path = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if path is not None:
            found[name] = path
    return found


def _among(names: Iterable[str], paths: Sequence[Path]) -> dict[str, Path]:
    by_stem: dict[str, list[Path]] = {}
    for path in paths:
        by_stem.setdefault(micrograph_stem(path), []).append(path)
    found: dict[str, Path] = {}
    for name in names:
        candidates = by_stem.get(micrograph_stem(name), [])
        exact = [path for path in candidates if path.absolute() == Path(name).absolute()]
        candidates = exact or candidates
        if len(candidates) > 1:
            raise InvalidInputError(
                f"{name} may be {candidates[0]} or {candidates[1]}: give the micrographs of one folder at a time"
            )
        if candidates:
            found[name] = candidates[0]
    return found
