"""Which micrograph a particle file means, and whether its particles lie inside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import ParticlesError
from hydrapicker.files.coordinates import Convention, Particles, from_program_convention
from hydrapicker.files.micrographs import MicrographHeader, micrograph_stem
from hydrapicker.files.remote import RemoteFile

__all__ = ["MAX_OUTSIDE", "MatchedParticles", "check_inside", "match_to_micrographs"]

MAX_OUTSIDE = 0.01
"""Particles outside their micrograph are dropped up to this share of all; beyond, the file is refused."""


@dataclass(frozen=True, eq=False)
class MatchedParticles:
    """Particles by micrograph file, y in stored rows, all inside.

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
    meant = _resolve(list(particles), headers, source)
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
    if particles.convention is Convention.STORED:
        return particles
    xy = from_program_convention(particles.xy, str(header.path), header.height)
    return replace(particles, xy=xy, convention=Convention.STORED)


def _resolve(
    names: Sequence[str], headers: Sequence[MicrographHeader], source: str | Path
) -> dict[str, MicrographHeader]:
    by_path = {str(header.path.absolute()): header for header in headers}
    by_name = _grouped((header.path.name, header) for header in headers)
    by_stem = _grouped((micrograph_stem(header.path.name), header) for header in headers)
    meant: dict[str, MicrographHeader] = {}
    unknown: list[str] = []
    for name in names:
        file = Path(name.rsplit("@", 1)[-1])
        exact = by_path.get(str(file.absolute()))
        found = [exact] if exact else by_name.get(file.name) or by_stem.get(micrograph_stem(name)) or []
        nearest = _sharing_most(file, found)
        if len(nearest) > 1:
            raise ParticlesError(
                f"{source}: {name} may mean {_some([str(header.path) for header in nearest])};"
                " name micrographs with their folder, or give them one by one"
            )
        if nearest:
            meant[name] = nearest[0]
        else:
            unknown.append(name)
    if unknown:
        raise ParticlesError(
            f"{source}: {len(unknown)} of {len(names)} micrographs it names are not among the {len(headers)} given"
            f" ({_some(unknown)}); give them too, or remove them from the file"
        )
    return _without_doubles(meant, source)


def _grouped(pairs: Iterable[tuple[str, MicrographHeader]]) -> dict[str, list[MicrographHeader]]:
    groups: dict[str, list[MicrographHeader]] = {}
    for key, header in pairs:
        groups.setdefault(key, []).append(header)
    return groups


def _sharing_most(file: Path, candidates: Sequence[MicrographHeader]) -> list[MicrographHeader]:
    """The candidates whose folders, from the file upwards, agree with the name's for longest."""

    def shared(header: MicrographHeader) -> int:
        pairs = zip(reversed(file.parts[:-1]), reversed(header.path.absolute().parts[:-1]), strict=False)
        return next((count for count, (a, b) in enumerate(pairs) if a != b), len(file.parts) - 1)

    best = max(map(shared, candidates), default=0)
    return [header for header in candidates if shared(header) == best]


def _without_doubles(meant: dict[str, MicrographHeader], source: str | Path) -> dict[str, MicrographHeader]:
    first: dict[Path | RemoteFile, str] = {}
    for name, header in meant.items():
        other = first.setdefault(header.path, name)
        if other != name:
            raise ParticlesError(f"{source}: {other} and {name} both mean {header.path}; name each micrograph once")
    return meant


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
