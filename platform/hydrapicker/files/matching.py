"""Which micrograph a particle file means, and whether its particles lie inside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Convention, Particles, in_convention
from hydrapicker.files.micrographs import MicrographHeader, micrograph_stem
from hydrapicker.files.remote import RemoteFile

__all__ = ["MAX_OUTSIDE", "MatchedParticles", "check_inside", "match_to_micrographs", "resolve_names"]

MAX_OUTSIDE = 0.01
"""Particles outside their micrograph are dropped up to this share of all; beyond, the file is refused."""


@dataclass(frozen=True, eq=False)
class MatchedParticles:
    """Particles by micrograph file, y in stored rows, all inside, with the micrographs' shapes.

    ``particles`` holds the micrographs that the file names; ``unlisted`` the given micrographs that it does not;
    ``outside`` is how many of ``total`` particles lay outside and were dropped.
    """

    particles: dict[Path | RemoteFile, Particles]
    unlisted: tuple[Path | RemoteFile, ...]
    outside: int
    total: int


def match_to_micrographs(
    particles: Mapping[str, Particles], headers: Sequence[MicrographHeader], source: str | Path
) -> MatchedParticles:
    """Find the micrograph that each name means, bring y to stored rows and drop the few particles outside.

    A name means the micrograph of the same path; else of the same file name; else of the same stem. Where folders
    hold equal names, the one that shares the longest end of the path is meant.

    Parameters
    ----------
    particles : mapping of str to Particles
        As :func:`~hydrapicker.files.particles.read_particles` gives them.
    headers : sequence of MicrographHeader
    source : str or Path
        The particle file, for messages.

    Raises
    ------
    ParticlesError
        A name that means no micrograph or several, two names for one micrograph, more than 1 % of all particles
        outside.
    """
    by_path = {header.path: header for header in headers}
    meant = {name: by_path[path] for name, path in resolve_names(list(particles), list(by_path), source).items()}
    stored = {name: _in_stored_rows(part, meant[name]) for name, part in particles.items()}
    inside = {name: check_inside(part.xy, meant[name]) for name, part in stored.items()}
    total = sum(len(mask) for mask in inside.values())
    outside = total - sum(int(mask.sum()) for mask in inside.values())
    if outside > MAX_OUTSIDE * total:
        name = next(name for name, mask in inside.items() if not mask.all())
        x, y = stored[name].xy[~inside[name]][0]
        raise ParticlesError(
            f"{source}: {outside} of {total} particles lie outside their micrographs (the first at x {x:g}, y {y:g} of"
            f" {name}, {meant[name].width} x {meant[name].height} pixels); give coordinates in pixels of these files"
        )
    matched = {
        meant[name].path: replace(
            part, xy=part.xy[inside[name]], score=None if part.score is None else part.score[inside[name]]
        )
        for name, part in stored.items()
    }
    unlisted = tuple(header.path for header in headers if header.path not in matched)
    return MatchedParticles(matched, unlisted, outside, total)


def check_inside(xy: NDArray[np.float32], header: MicrographHeader) -> NDArray[np.bool_]:
    """Which of ``xy`` (n, 2) lie on the micrograph, whose pixels reach half a pixel beyond their centres: (n,) bool."""
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    size = np.array([header.width, header.height])
    inside: NDArray[np.bool_] = np.all((xy >= -0.5) & (xy < size - 0.5), axis=1)
    return inside


def _in_stored_rows(particles: Particles, header: MicrographHeader) -> Particles:
    particles = replace(particles, shape=(header.height, header.width))
    return in_convention(particles, Convention.STORED, str(header.path))


def resolve_names(
    names: Sequence[str], paths: Sequence[Path | RemoteFile], source: str | Path
) -> dict[str, Path | RemoteFile]:
    """The micrograph that each name means, as :func:`match_to_micrographs` finds it, by the paths alone.

    Raises
    ------
    ParticlesError
        A name that means no micrograph or several, two names for one micrograph.
    """
    by_path = {str(path.absolute()): path for path in paths}
    by_name = _grouped((path.name, path) for path in paths)
    by_stem = _grouped((micrograph_stem(path.name), path) for path in paths)
    meant: dict[str, Path | RemoteFile] = {}
    unknown: list[str] = []
    for name in names:
        file = Path(name.rsplit("@", 1)[-1])
        exact = by_path.get(str(file.absolute()))
        found = [exact] if exact else by_name.get(file.name) or by_stem.get(micrograph_stem(name)) or []
        nearest = _sharing_most(file, found)
        if len(nearest) > 1:
            raise ParticlesError(
                f"{source}: {name} may mean {_some([str(path) for path in nearest])};"
                " name micrographs with their folder, or give them one by one"
            )
        if nearest:
            meant[name] = nearest[0]
        else:
            unknown.append(name)
    if unknown:
        raise ParticlesError(
            f"{source}: {len(unknown)} of {len(names)} micrographs it names are not among the {len(paths)} given"
            f" ({_some(unknown)}); give them too, or remove them from the file"
        )
    return _without_doubles(meant, source)


def _grouped(pairs: Iterable[tuple[str, Path | RemoteFile]]) -> dict[str, list[Path | RemoteFile]]:
    groups: dict[str, list[Path | RemoteFile]] = {}
    for key, path in pairs:
        groups.setdefault(key, []).append(path)
    return groups


def _sharing_most(file: Path, candidates: Sequence[Path | RemoteFile]) -> list[Path | RemoteFile]:
    """The candidates whose folders, from the file upwards, agree with the name's for longest."""

    def shared(path: Path | RemoteFile) -> int:
        pairs = zip(reversed(file.parts[:-1]), reversed(path.absolute().parts[:-1]), strict=False)
        return next((count for count, (a, b) in enumerate(pairs) if a != b), len(file.parts) - 1)

    best = max(map(shared, candidates), default=0)
    return [path for path in candidates if shared(path) == best]


def _without_doubles(meant: dict[str, Path | RemoteFile], source: str | Path) -> dict[str, Path | RemoteFile]:
    first: dict[Path | RemoteFile, str] = {}
    for name, path in meant.items():
        other = first.setdefault(path, name)
        if other != name:
            raise ParticlesError(f"{source}: {other} and {name} both mean {path}; name each micrograph once")
    return meant


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
