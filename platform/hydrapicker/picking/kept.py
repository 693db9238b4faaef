"""Picks as they are kept while a run goes on: a small file per micrograph, written whole or not at all.

``OUT/picked/options.json`` says how all of them were made, ``OUT/picked/<stem>.safetensors`` holds one micrograph's
picks from the lowest score up, with the name, size and time of the file they were made from. Everything else in OUT
is written from these.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import Particles, micrograph_stem
from hydrapicker.files.remote import RemoteFile
from hydrapicker.files.strict_json import read_strict_json, write_strict_json
from hydrapicker.picking.contrast import ContrastEvidence
from hydrapicker.storage.atomic import OutputError, atomic_write
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.strict import build, parse_object

__all__ = ["KeptMicrograph", "KeptPicks", "Origin", "PickingOptions", "claimed"]

_FOLDER, _OPTIONS, _SUFFIX, _LOCK = "picked", "options.json", ".safetensors", ".pick.lock"
_DETAILS = "micrograph"


@dataclass(frozen=True)
class PickingOptions:
    """All that picks depend on, but for the micrograph itself; by default values are filled in.

    Attributes:
        head: Name of the head.
        version: Its version in the registry; None for the head shipped with HydraPicker.
        head_sha256: Of the head's package: another registry may call another head the same.
        diameter_angstrom: The particle's diameter.
        pixel_size_angstrom: Of all micrographs; None: what their headers say.
        threshold: Least probability of a pick.
        least_score: Least probability of what is kept.
        min_distance_angstrom: Least distance between two picks.
        contrast: What particles are on the micrographs.
        exclude_edges_angstrom: How far from the edges the nearest pick may be.
        mask_contamination: Whether carbon and contaminants were masked.
    """

    head: str
    version: int | None
    head_sha256: str
    diameter_angstrom: float
    pixel_size_angstrom: float | None
    threshold: float
    least_score: float
    min_distance_angstrom: float
    contrast: Contrast
    exclude_edges_angstrom: float
    mask_contamination: bool


@dataclass(frozen=True)
class Origin:
    """A micrograph's file at the moment it was read.

    Attributes:
        name: As the user gave it, and as files of picks name it.
        place: Its absolute path, or its URL.
        bytes: Its size.
        modified: When it was written last, as exactly as its place tells.
    """

    name: str
    place: str
    bytes: int
    modified: str

    @classmethod
    def of(cls, file: Path | RemoteFile) -> "Origin":
        """The file as it is now; OSError where it is not there."""
        if isinstance(file, RemoteFile):
            return cls(str(file), file.url, file.bytes, file.modified)
        status = file.stat()
        return cls(str(file), str(file.absolute()), status.st_size, str(status.st_mtime_ns))

    @property
    def stem(self) -> str:
        """What its own files are called."""
        return micrograph_stem(self.name)


@dataclass(frozen=True, eq=False)
class KeptMicrograph:
    """One micrograph's picks.

    Attributes:
        origin: The file they were made from.
        height, width: Of the micrograph, in pixels.
        pixel_size_angstrom: Of the micrograph.
        diameter_angstrom: The diameter that was picked for.
        xy: float32 ``(n, 2)``, most confident first, y counting stored rows.
        score: float32 ``(n,)``.
        contrast: What speaks for its contrast, and for the other one; None where that was not looked at.
    """

    origin: Origin
    height: int
    width: int
    pixel_size_angstrom: float
    diameter_angstrom: float
    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    contrast: ContrastEvidence | None = None

    def particles(self, threshold: float = 0) -> Particles:
        """Those whose score is at least `threshold`, compared as float32 like the scores."""
        kept = int(np.count_nonzero(self.score >= np.float32(threshold)))
        return Particles(
            self.xy[:kept],
            self.score[:kept],
            self.pixel_size_angstrom,
            shape=(self.height, self.width),
            box_px=self.diameter_angstrom / self.pixel_size_angstrom,
        )


@dataclass(frozen=True)
class _Details:
    origin: Origin
    height: int
    width: int
    pixel_size_angstrom: float
    diameter_angstrom: float
    contrast: ContrastEvidence | None


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Be the only one to pick into a folder, for as long as this process lives; leaves no new empty folder behind.

    Raises:
        HydraPickerError: Somebody else is picking into it.
        OutputError: It cannot be made.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = _locked(out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{out}: cannot be written ({reason}); choose a folder you may write to") from error
    try:
        yield
    finally:
        with suppress(OSError):
            (out / _LOCK).unlink()
            for folder in made:
                folder.rmdir()
        os.close(handle)


def _locked(out: Path) -> int:
    """An open file that only this process has locked; the system unlocks it when the process ends, in any way.

    A file, and open for writing, for the sake of NFS.
    """
    while True:
        handle = os.open(out / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(out / _LOCK)):  # noqa: PTH116 (as fstat gives it)
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise HydraPickerError(
                f"{out}: another hydrapicker pick is at work in this folder: wait for it, end it, or give another --out"
            ) from error
        except FileNotFoundError:  # who had it has removed it, after we opened it
            pass
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


class KeptPicks:
    """The kept picks of one folder, all made with the same options."""

    def __init__(self, out: Path, options: PickingOptions, *, overwrite: bool = False) -> None:
        """Open what is kept in `out`, or begin; with `overwrite` what is kept is removed.

        Raises:
            InvalidInputError: Picks that were made with other options are there.
        """
        self.options = options
        self._folder = out / _FOLDER
        if overwrite:
            self._remove_all()
        elif (self._folder / _OPTIONS).exists():
            there = read_strict_json(self._folder / _OPTIONS, PickingOptions, "give --overwrite, or another --out")
            _check_same(out, there, options)

    def is_done(self, origin: Origin) -> bool:
        """Whether picks of this very file are kept.

        Raises:
            InvalidInputError: When picks of another micrograph of this name are.
        """
        kept = self._details(origin.stem)
        if kept is None:
            return False
        if kept.origin.name != origin.name and kept.origin.place != origin.place:
            raise InvalidInputError(
                f"{origin.name}: {self._folder.parent} has picks of {kept.origin.name}, another micrograph called "
                f"{origin.stem}: give another --out"
            )
        unmoved = (kept.origin.name, kept.origin.bytes, kept.origin.modified)
        return unmoved == (origin.name, origin.bytes, origin.modified)

    def keep(self, micrograph: KeptMicrograph) -> None:
        """Keep a micrograph's picks, in place of older ones; OutputError when that fails."""
        if not (self._folder / _OPTIONS).exists():
            write_strict_json(self._folder / _OPTIONS, self.options)
        details = _Details(**{field.name: getattr(micrograph, field.name) for field in fields(_Details)})
        text = json.dumps(asdict(details))
        with atomic_write(self._file(micrograph.origin.stem)) as temporary:
            temporary.write_bytes(save({"xy": micrograph.xy, "score": micrograph.score}, {_DETAILS: text}))

    def forget(self, stem: str) -> None:
        """Drop the picks of a micrograph."""
        with suppress(FileNotFoundError):
            self._file(stem).unlink()

    def written_at(self, stem: str) -> int:
        """When a micrograph's picks were kept, in nanoseconds."""
        return self._file(stem).stat().st_mtime_ns

    def stems(self) -> dict[str, str]:
        """The stem of every micrograph whose picks are kept, by its name, in the order of names."""
        kept = {each.origin.name: stem for stem in self._stems() if (each := self._details(stem)) is not None}
        return {name: kept[name] for name in sorted(kept)}

    def read(self, stem: str) -> KeptMicrograph:
        """One micrograph's picks."""
        details = self._details(stem)
        assert details is not None, stem
        with safe_open(self._file(stem), framework="numpy") as file:
            values = {field.name: getattr(details, field.name) for field in fields(details)}
            return KeptMicrograph(**values, xy=file.get_tensor("xy"), score=file.get_tensor("score"))

    def _details(self, stem: str) -> _Details | None:
        """What is known of a micrograph's picks; None where there are none, or a damaged file."""
        path = self._file(stem)
        try:
            with safe_open(path, framework="numpy") as file:
                details = parse_object((file.metadata() or {}).get(_DETAILS, ""), str(path))
                return build(_Details, details, str(path)) if {"xy", "score"} <= set(file.keys()) else None
        except (OSError, SafetensorError, PackageError):
            return None

    def _stems(self) -> list[str]:
        return [path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"[!.]*{_SUFFIX}")]

    def _file(self, stem: str) -> Path:
        return self._folder / f"{stem}{_SUFFIX}"

    def _remove_all(self) -> None:
        """The options last: at no time are picks there whose options are not."""
        try:
            for stem in self._stems():
                self._file(stem).unlink()
            (self._folder / _OPTIONS).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be removed ({error.strerror or error})") from error


def _check_same(out: Path, there: PickingOptions, given: PickingOptions) -> None:
    values = [(field.name, getattr(there, field.name), getattr(given, field.name)) for field in fields(given)]
    other = {name: (before, now) for name, before, now in values if before != now}
    if "head_sha256" not in other:
        other.pop("version", None)  # the very same head: the shipped one, and since then adopted by a registry
    if other.keys() > {"head_sha256"}:
        del other["head_sha256"]  # says nothing more
    if other.keys() > {"least_score"}:
        other.pop("least_score", None)
    words = ", ".join(f"{name} {before} and not {now}" for name, (before, now) in other.items())
    if other:
        raise InvalidInputError(
            f"{out}: holds picks made with {words}: give --overwrite to pick anew, or another --out"
        )
