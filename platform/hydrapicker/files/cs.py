"""Particles in cryoSPARC's ``.cs`` files: a numpy structured array with a row per particle, never a pickle.

``location/center_x_frac`` and ``location/center_y_frac`` are the pixel's column and row, counted from the first stored
row, over the width and height in ``location/micrograph_shape`` (height, width): cryoSPARC's own example takes picks
over without turning them (cryosparc-tools, ``docs/examples/cryolo.ipynb``: ``center_y_frac = rlnCoordinateY / height``
on MRC files). It does not turn TIFF files round, where RELION does (pyem, issue 22). So y is the same number as
RELION's times 1 / height for MRC; what is known as the flip between the two programs is that cryoSPARC's *motion
correction* stores rows in the other order than RELION's and MotionCor's do (pyem, issues 81 and 133): use
``hydrapicker convert --flip-y`` to go from the micrographs of one to those of the other.

Imported files carry their 64-bit id as 21 digits in front of their name
(``J1/imported/015762140416835289736_x.mrc``); where a name has one, it is written as ``location/micrograph_uid``, by
which cryoSPARC finds the exposure.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Convention, Particles
from hydrapicker.files.tables import particles_by_micrograph
from hydrapicker.storage.atomic import atomic_write

__all__ = ["read_cs", "write_cs"]

_NAME, _SHAPE, _PIXEL_SIZE = "location/micrograph_path", "location/micrograph_shape", "location/micrograph_psize_A"
_X, _Y, _SCORE = "location/center_x_frac", "location/center_y_frac", "pick_stats/ncc_score"
_MAGIC, _COMPRESSED_MAGIC = b"\x93NUMPY", b"CSDAT"
_UID_PREFIX = re.compile(r"(\d{21})_")
_MOST_PIXELS_PER_SIDE = 2**20
# What numpy raises on damaged headers.
_DAMAGE = (
    OSError, ValueError, TypeError, SyntaxError, KeyError, IndexError, ArithmeticError, EOFError, MemoryError,
    RuntimeError, TokenError,
)  # fmt: skip


def read_cs(path: Path, unnamed: str) -> dict[str, Particles]:
    """Read particles by micrograph; ``pick_stats/ncc_score`` as score where it is there.

    Parameters
    ----------
    path : Path
    unnamed : str
        Not used: the format names every micrograph.

    Raises
    ------
    ParticlesError
        Not a ``.cs`` file, no locations in it, entries that are not finite numbers.
    """
    import pandas as pd

    rows = _rows(path)
    shapes = rows[_SHAPE].astype(np.int64)
    names = _decoded(path, rows[_NAME])
    table = pd.DataFrame({_NAME: np.array(names, dtype=object)})
    for axis, column in ((1, _X), (0, _Y)):
        table[column] = rows[column].astype(np.float64) * shapes[:, axis]
    if (shapes < 1).any() or (shapes > _MOST_PIXELS_PER_SIDE).any():
        raise ParticlesError(f"{path}: {_SHAPE} holds sizes from {shapes.min()} to {shapes.max()}; write it again")
    if _SCORE in (rows.dtype.names or ()):
        table[_SCORE] = _number(path, rows, _SCORE)
    sizes = _number(path, rows, _PIXEL_SIZE) if _PIXEL_SIZE in (rows.dtype.names or ()) else None
    columns = (_NAME, _X, _Y, _SCORE if _SCORE in table else None)
    found = particles_by_micrograph(path, table, columns, unnamed, Convention.STORED, sizes)
    shape: dict[str, tuple[int, int]] = {}
    for name, (height, width) in zip(names, shapes.tolist(), strict=True):
        shape.setdefault(name, (height, width))
    return {name: replace(part, shape=shape[name]) for name, part in found.items()}


def write_cs(path: str | Path, particles: Mapping[str, Particles]) -> None:
    """Write the particles of all micrographs, and beside them the ``.csg`` for *Import Result Group*.

    The same particles give the same ``.cs``: ids are hashes of the micrograph's name and of the particle's place.

    Parameters
    ----------
    path : str or Path
    particles : mapping of micrograph name to Particles
        With ``shape``, y counting stored rows. Scores for all micrographs or for none.

    Raises
    ------
    InvalidInputError
        Shapes that are not known; some micrographs have scores and some have none.
    OutputError
        A file cannot be written.
    """
    path = Path(path)
    found = [(part.score is not None, part.pixel_size_angstrom, len(part.xy)) for part in particles.values()]
    with_score = {scored for scored, _, _ in found}
    if len(with_score) > 1:
        raise InvalidInputError(f"{path}: some micrographs have scores and some have none; give them for all or none")
    known = [pixel_size is not None for _, pixel_size, _ in found]
    dtype = _dtype(particles, scores=with_score != {False}, pixel_sizes=all(known))
    count = sum(rows for _, _, rows in found)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        # As np.save writes it, but without ever holding all rows.
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        for name, part in particles.items():
            file.write(_part(path, name, part, dtype).tobytes())
    slots = ["location", *(["pick_stats"] if with_score != {False} else [])]
    with atomic_write(path.with_suffix(".csg")) as temporary:
        temporary.write_text(_group(path.name, count, slots), encoding="utf-8")


def _rows(path: Path) -> NDArray[Any]:
    """The array in the file, mapped into memory: nothing is allocated for what a header claims."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.endswith(_COMPRESSED_MAGIC):
            raise ParticlesError(
                f"{path}: in cryoSPARC's compressed form; export the group in cryoSPARC and give its .cs"
            )
        if magic != _MAGIC:
            raise ParticlesError(f"{path}: not a .cs file (not a numpy array); write it again")
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except ParticlesError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise ParticlesError(f"{path}: not a .cs file, or a damaged one ({reason}); write it again") from error
    fields = rows.dtype.fields or {}
    wanted = {_NAME: ("SU", ()), _SHAPE: ("iu", (2,)), _X: ("f", ()), _Y: ("f", ())}
    for name, (kinds, shape) in wanted.items():
        if (
            rows.ndim != 1
            or name not in fields
            or fields[name][0].base.kind not in kinds
            or fields[name][0].shape != shape
        ):
            given = ", ".join(list(fields)[:8])
            raise ParticlesError(f"{path}: no field {name} as cryoSPARC writes it; give particle locations ({given})")
    return np.asarray(rows)


def _decoded(path: Path, names: NDArray[Any]) -> list[str]:
    if names.dtype.kind == "U":
        return [str(name).strip() for name in names]
    try:
        return [bytes(name).decode("utf-8").strip() for name in names]
    except UnicodeDecodeError as error:
        raise ParticlesError(f"{path}: {_NAME} holds what is no text; write it again") from error


def _number(path: Path, rows: NDArray[Any], name: str) -> NDArray[np.float64]:
    if rows.dtype[name].kind not in "fiu" or rows.dtype[name].shape:
        raise ParticlesError(f"{path}: {name} holds no numbers; write it again")
    return rows[name].astype(np.float64)


def _dtype(particles: Mapping[str, Particles], *, scores: bool, pixel_sizes: bool) -> np.dtype[Any]:
    longest = max((len(name.encode("utf-8")) for name in particles), default=1)
    fields: list[Any] = [
        ("uid", "<u8"),
        ("location/micrograph_uid", "<u8"),
        ("location/exp_group_id", "<u4"),
        (_NAME, f"S{max(longest, 1)}"),
        (_SHAPE, "<u4", (2,)),
        (_X, "<f4"),
        (_Y, "<f4"),
    ]
    if pixel_sizes:
        fields.append((_PIXEL_SIZE, "<f4"))
    if scores:  # the power of a correlation and the template are no matter of ours: 0, as in cryosparc-tools' example
        stats = [("power", "<f4"), ("template_idx", "<u4"), ("angle_rad", "<f4")]
        fields += [(_SCORE, "<f4"), *((f"pick_stats/{name}", kind) for name, kind in stats)]
    return np.dtype(fields)


def _part(path: Path, name: str, particles: Particles, dtype: np.dtype[Any]) -> NDArray[Any]:
    import xxhash

    if particles.shape is None:
        raise InvalidInputError(f"{path}: a .cs file needs the size of {name}; give the micrographs")
    height, width = particles.shape
    rows = np.zeros(len(particles.xy), dtype)
    prefix = _UID_PREFIX.match(name.rsplit("/", 1)[-1])
    uid = int(prefix[1]) if prefix else xxhash.xxh3_64_intdigest(name.encode("utf-8"))
    rows["location/micrograph_uid"] = uid % 2**64
    rows["uid"] = [xxhash.xxh3_64_intdigest(f"{index} {name}".encode()) for index in range(len(rows))]
    rows[_NAME], rows[_SHAPE] = name.encode("utf-8"), (height, width)
    rows[_X], rows[_Y] = particles.xy[:, 0] / np.float64(width), particles.xy[:, 1] / np.float64(height)
    if _PIXEL_SIZE in (dtype.names or ()):
        rows[_PIXEL_SIZE] = particles.pixel_size_angstrom
    if particles.score is not None:
        rows[_SCORE] = particles.score
    return rows


def _group(file_name: str, count: int, slots: list[str]) -> str:
    import yaml

    tree = {
        "created": datetime.now(UTC).replace(tzinfo=None),
        "group": {"description": "Picks of HydraPicker", "name": "particles", "title": "Picks", "type": "particle"},
        "results": {
            slot: {"metafile": f">{file_name}", "num_items": count, "type": f"particle.{slot}"} for slot in slots
        },
        "version": "v4.4.0",
    }
    return str(yaml.safe_dump(tree, sort_keys=True))
