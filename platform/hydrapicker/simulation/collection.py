"""The collection: simulated datasets of clearly different molecules under clearly different conditions.

What the general model is trained and judged on. Molecules are deposited structures, parts of them (rings, halves,
single chains) and built-in shapes; conditions run from 0.8 to 3.5 Angstrom a pixel, 0.5 to 3.5 micrometres of defocus,
a dozen particles to touching ones, clean ice to carbon and crystals, dark and light contrast. Counts are as unequal as
in the paper. Targets share no chain and no shape with any source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydrapicker.errors import InvalidInputError
from hydrapicker.simulation.config import SimulateConfig

__all__ = ["COLLECTION", "TARGETS", "Entry", "configs", "entries"]


@dataclass(frozen=True)
class Entry:
    """One dataset of the collection.

    Attributes
    ----------
    name : str
        Of the dataset.
    structure : str
        ``builtin:NAME``, or the code of an entry in the Protein Data Bank.
    micrographs : int
        How many, those kept for validation and test included.
    conditions : mapping
        Fields of :class:`SimulateConfig` that differ from its defaults.
    """

    name: str
    structure: str
    micrographs: int
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", MappingProxyType(dict(self.conditions)))


def _entry(name: str, structure: str, micrographs: int, side: str, **conditions: Any) -> Entry:
    width, height = (int(pixels) for pixels in side.split("x"))
    return Entry(name, structure, micrographs, {"width": width, "height": height, **conditions})


def _defocus(least: float, most: float) -> dict[str, float]:
    return {"defocus_min_um": least, "defocus_max_um": most}


_LIGHT, _HEAVY = {"contamination": "light"}, {"contamination": "heavy"}

COLLECTION: tuple[Entry, ...] = (
    _entry(
        "PDB-3j9i",
        "3j9i",
        24,
        "1024x1024",
        pixel_size_angstrom=2.0,
        **_defocus(1.0, 2.5),
        **_LIGHT,
        coverage=0.5,
        spacing_diameters=0.8,
    ),
    _entry(
        "PDB-3j9i-half",
        "3j9i",
        9,
        "1100x900",
        chains=tuple("STUOPQRZ12VWXY"),
        pixel_size_angstrom=1.6,
        **_defocus(1.5, 3.0),
        particles=40,
    ),
    _entry(
        "PDB-4v1w", "4v1w", 40, "1024x1024", pixel_size_angstrom=1.8, **_HEAVY, coverage=0.75, spacing_diameters=0.85
    ),
    _entry(
        "PDB-4v1w-light",
        "4v1w",
        8,
        "960x1280",
        pixel_size_angstrom=2.6,
        contrast="light",
        dose_e_per_angstrom2=25.0,
        **_defocus(1.8, 3.5),
        coverage=0.9,
        spacing_diameters=0.75,
    ),
    _entry(
        "PDB-4v1w-third",
        "4v1w",
        7,
        "900x900",
        chains=tuple("ABCDEFGH"),
        pixel_size_angstrom=1.5,
        particles=30,
        ice_thickness_angstrom=250.0,
    ),
    _entry(
        "PDB-1aon",
        "1aon",
        30,
        "1200x1000",
        pixel_size_angstrom=2.4,
        voltage_kv=200.0,
        **_defocus(1.2, 2.8),
        **_HEAVY,
        coverage=0.5,
        spacing_diameters=0.75,
    ),
    _entry(
        "PDB-1aon-groel",
        "1aon",
        12,
        "1024x1024",
        chains=tuple("ABCDEFGHIJKLMN"),
        pixel_size_angstrom=2.1,
        spacing_diameters=0.8,
        empty=0.15,
        **_LIGHT,
    ),
    _entry(
        "PDB-1aon-cap",
        "1aon",
        8,
        "1024x1024",
        chains=tuple("ABCDEFGOPQRSTU"),
        pixel_size_angstrom=1.9,
        **_defocus(2.0, 3.5),
        particles=25,
    ),
    _entry(
        "PDB-1bxn",
        "1bxn",
        18,
        "1280x960",
        pixel_size_angstrom=1.4,
        dose_e_per_angstrom2=50.0,
        **_LIGHT,
        coverage=0.7,
        spacing_diameters=0.8,
    ),
    _entry(
        "PDB-1bxn-half",
        "1bxn",
        7,
        "800x800",
        chains=tuple("AICJEKGL"),
        pixel_size_angstrom=1.2,
        dose_e_per_angstrom2=60.0,
        ice_thickness_angstrom=200.0,
        particles=32,
    ),
    _entry(
        "PDB-3cf3",
        "3cf3",
        16,
        "1100x1100",
        pixel_size_angstrom=1.7,
        empty=0.1,
        **_defocus(0.8, 2.0),
        **_LIGHT,
        coverage=0.55,
        spacing_diameters=0.75,
    ),
    _entry(
        "PDB-3cf3-trimer",
        "3cf3",
        7,
        "1000x1000",
        chains=tuple("ABC"),
        pixel_size_angstrom=2.0,
        voltage_kv=200.0,
        **_defocus(1.5, 3.0),
        coverage=0.6,
        spacing_diameters=0.7,
    ),
    _entry(
        "PDB-2cg9",
        "2cg9",
        14,
        "900x900",
        pixel_size_angstrom=1.1,
        dose_e_per_angstrom2=55.0,
        **_LIGHT,
        coverage=0.6,
        spacing_diameters=0.7,
    ),
    _entry(
        "PDB-2cg9-chain",
        "2cg9",
        7,
        "900x700",
        chains=("A",),
        pixel_size_angstrom=0.8,
        dose_e_per_angstrom2=70.0,
        ice_thickness_angstrom=200.0,
        **_defocus(1.5, 3.0),
    ),
    _entry(
        "PDB-4v4r",
        "4v4r",
        34,
        "1280x1280",
        pixel_size_angstrom=2.8,
        **_defocus(0.5, 1.8),
        **_HEAVY,
        coverage=0.45,
        spacing_diameters=0.8,
    ),
    _entry(
        "PDB-4v4r-rna",
        "4v4r",
        8,
        "1024x1024",
        chains=("A",),
        pixel_size_angstrom=3.5,
        particles=60,
        **_defocus(1.0, 2.0),
    ),
    _entry(
        "barrel",
        "builtin:barrel",
        20,
        "1024x1024",
        pixel_size_angstrom=2.2,
        spacing_diameters=0.75,
        **_HEAVY,
        coverage=0.6,
    ),
    _entry(
        "ring",
        "builtin:ring",
        12,
        "1200x900",
        pixel_size_angstrom=2.6,
        **_defocus(1.0, 3.0),
        empty=0.2,
        **_LIGHT,
        coverage=0.7,
        spacing_diameters=0.8,
    ),
    _entry(
        "cross",
        "builtin:cross",
        14,
        "1024x1024",
        pixel_size_angstrom=3.0,
        spacing_diameters=0.7,
        **_LIGHT,
        coverage=0.6,
    ),
    _entry(
        "dumbbell",
        "builtin:dumbbell",
        22,
        "1100x1100",
        pixel_size_angstrom=2.8,
        spacing_diameters=0.65,
        **_HEAVY,
        coverage=0.6,
    ),
    _entry(
        "shell",
        "builtin:shell",
        8,
        "900x1100",
        pixel_size_angstrom=1.0,
        particles=12,
        dose_e_per_angstrom2=60.0,
        **_LIGHT,
    ),
    _entry(
        "disc",
        "builtin:disc",
        10,
        "1024x1024",
        pixel_size_angstrom=2.0,
        voltage_kv=120.0,
        **_defocus(1.5, 3.5),
        **_LIGHT,
        coverage=0.7,
        spacing_diameters=0.8,
    ),
    _entry(
        "globule",
        "builtin:globule",
        9,
        "800x800",
        pixel_size_angstrom=0.9,
        dose_e_per_angstrom2=65.0,
        empty=0.1,
        coverage=0.75,
        spacing_diameters=0.85,
    ),
    _entry(
        "globule-light",
        "builtin:globule",
        7,
        "800x800",
        pixel_size_angstrom=1.3,
        contrast="light",
        dose_e_per_angstrom2=60.0,
        ice_thickness_angstrom=250.0,
        **_HEAVY,
    ),
    _entry(
        "tetrahedron",
        "builtin:tetrahedron",
        11,
        "1000x1000",
        pixel_size_angstrom=1.9,
        amplitude_contrast=0.07,
        **_LIGHT,
        coverage=0.6,
        spacing_diameters=0.75,
    ),
)
"""Sources: what trunk and heads are trained on."""

TARGETS: tuple[Entry, ...] = (
    _entry(
        "PDB-4hhb",
        "4hhb",
        22,
        "900x900",
        pixel_size_angstrom=1.0,
        dose_e_per_angstrom2=60.0,
        ice_thickness_angstrom=250.0,
        **_defocus(1.0, 2.5),
        **_LIGHT,
    ),
    _entry("PDB-5gjv", "5gjv", 22, "1024x1024", pixel_size_angstrom=1.6, **_defocus(1.0, 2.5), **_LIGHT),
    _entry(
        "triskelion", "builtin:triskelion", 22, "1100x1100", pixel_size_angstrom=2.7, spacing_diameters=0.7, **_HEAVY
    ),
)
"""Targets: met only when the model stands."""


def entries(names: Sequence[str] = ()) -> tuple[Entry, ...]:
    """Return the datasets of these names, all when none is given.

    Raises
    ------
    InvalidInputError
        For a name that is not in the collection.
    """
    known = {each.name: each for each in (*COLLECTION, *TARGETS)}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInputError(f"the collection has no {', '.join(unknown)}: it has {', '.join(known)}")
    return tuple(known[name] for name in names) if names else tuple(known.values())


def configs(chosen: Sequence[Entry], structures: Path | None, out: Path, workers: int | None) -> list[SimulateConfig]:
    """Return what to simulate for each dataset; its seed is its place in the collection.

    Parameters
    ----------
    chosen : sequence of Entry
        Of :func:`entries`.
    structures : Path or None
        Folder with files of the Protein Data Bank, whose names begin with the entries' codes.
    out : Path
        Folder that gets a folder per dataset.
    workers : int or None
        As in :class:`SimulateConfig`.

    Raises
    ------
    InvalidInputError
        When files are missing: the message says which, and where they are had.
    """
    codes = sorted({each.structure for each in chosen if not each.structure.startswith("builtin:")})
    files = {code: _file_of(structures, code) for code in codes}
    if missing := [code for code, path in files.items() if path is None]:
        where = "no --structures folder was given" if structures is None else f"{structures} has no file of them"
        raise InvalidInputError(
            f"the collection needs the structures {' '.join(missing)}, and {where}: get each from "
            f"https://files.rcsb.org/download/{missing[0]}.cif.gz and so on, into one folder"
        )
    seeds = {each.name: seed for seed, each in enumerate((*COLLECTION, *TARGETS), start=1)}
    return [
        SimulateConfig(
            each.name,
            str(files.get(each.structure) or each.structure),
            out=out / each.name,
            micrographs=each.micrographs,
            seed=seeds[each.name],
            workers=workers,
            precision="float16",
            **each.conditions,
        )
        for each in chosen
    ]


def _file_of(folder: Path | None, code: str) -> Path | None:
    endings = (".pdb", ".pdb.gz", ".cif", ".cif.gz", ".ent", ".ent.gz")
    found = sorted(folder.glob(f"{code}*")) if folder is not None else []
    return next((path for path in found if path.name.lower().endswith(endings)), None)
