"""Particle files of any format, told by the suffix: one file, a folder of files, or a glob."""

import glob
from pathlib import Path

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.formats import FORMATS

__all__ = ["PARTICLE_SUFFIXES", "read_particles"]

_READERS = {suffix: form.read for form in FORMATS.values() for suffix in form.suffixes}
PARTICLE_SUFFIXES = tuple(_READERS)
"""Names that particle files end with."""

_ENDINGS = (
    "_autopick", "_manualpick", "_picks", "_picked", "_pick", "_particles", "_coordinates", "_coords", "_boxes",
)  # fmt: skip


def read_particles(path: str | Path) -> dict[str, Particles]:
    """Read particles by micrograph.

    Parameters
    ----------
    path : str or Path
        A file of any of :data:`~hydrapicker.files.formats.FORMATS`, for one micrograph or for many, a folder of
        such files, or a glob.

    Returns
    -------
    dict of str to Particles
        Keys are micrographs as the file names them; where it does not, the file's stem without endings such as
        ``_autopick``. :func:`~hydrapicker.files.matching.match_to_micrographs` finds the micrographs and brings y
        to stored rows; until then y is as ``Particles.convention`` says.

    Raises
    ------
    ParticlesError
        Nothing there, an unknown suffix, a file that cannot be used, a micrograph in two files.
    """
    path = Path(path).expanduser()
    found: dict[str, Particles] = {}
    source: dict[str, Path] = {}
    for file in _files(path):
        for name, particles in _READERS[file.suffix.lower()](file, _micrograph_of(file)).items():
            if name in found:
                raise ParticlesError(
                    f"{path}: micrograph {name} is in {source[name].name} and in {file.name}; give one of them"
                )
            found[name], source[name] = particles, file
    return found


def _files(path: Path) -> list[Path]:
    known = ", ".join(PARTICLE_SUFFIXES)
    if path.is_file():
        if path.suffix.lower() not in _READERS:
            raise ParticlesError(f"{path}: unknown suffix; particle files end in {known}")
        return [path]
    names = glob.glob(str(path), recursive=True)  # noqa: PTH207 (takes absolute patterns)
    inside = path.iterdir() if path.is_dir() else map(Path, names)
    files = [each for each in inside if each.suffix.lower() in _READERS and not each.name.startswith(".")]
    if not files:
        what = "no particle files there" if path.is_dir() else "no such particle file"
        raise ParticlesError(f"{path}: {what}; particle files end in {known}")
    return sorted(files)


def _micrograph_of(file: Path) -> str:
    stem = file.stem
    for ending in _ENDINGS:
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return stem
