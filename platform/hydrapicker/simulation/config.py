"""What a simulated dataset is made of."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from hydrapicker.errors import InvalidInputError
from hydrapicker_registry.names import validate_dataset_name

_MIN_SIDE_PX = 64
# float16 ends at 65504; twice the average leaves room for the brightest fringes.
_FLOAT16_COUNTS = 20_000


@dataclass(frozen=True)
class SimulateConfig:
    """Simulate a dataset of micrographs from an atomic structure.

    Attributes:
        name: Name of the dataset, also the start of every micrograph's file name.
        structure: PDB or mmCIF file (may be gzipped), or builtin:NAME for a shape that ships with HydraPicker.
        chains: Names of the file's chains that make up the particle; its first biological assembly when not given.
        out: Folder to write; hydrapicker-data/simulated/NAME when not given.
        micrographs: Number of micrographs.
        height: Height of a micrograph in pixels.
        width: Width of a micrograph in pixels.
        pixel_size_angstrom: Pixel size in Angstrom.
        particles: Average number of labelled particles per micrograph; given by the coverage when not given.
        coverage: Share of the field that the particles cover when their number is not given; with a small spacing
            they overlap, and it may be more than 1.
        empty: Share of micrographs without any particle, from 0 to 1.
        spacing_diameters: Least distance between the centres of two particles, in particle diameters.
        voltage_kv: Acceleration voltage in kV.
        spherical_aberration_mm: Spherical aberration in mm.
        amplitude_contrast: Fraction of amplitude contrast.
        defocus_min_um: Smallest underfocus in micrometres.
        defocus_max_um: Largest underfocus in micrometres.
        dose_e_per_angstrom2: Electrons per square Angstrom that reach the detector through ice of average thickness.
        ice_thickness_angstrom: Average thickness of the ice in Angstrom.
        contrast: Whether particles are darker or lighter than the ice.
        contamination: Ice crystals, edges of the carbon film and aggregates, which are never labelled.
        precision: Number type of the pixels written.
        seed: Same seed, same bytes.
        workers: Micrographs computed at once; one per core, at most 8, when not given. Changes no byte of the result.
    """

    name: Positional[str]
    structure: str
    chains: tuple[str, ...] = ()
    out: Path | None = None
    micrographs: int = 8
    height: int = 1024
    width: int = 1024
    pixel_size_angstrom: float = 2.0
    particles: int | None = None
    coverage: float = 0.35
    empty: float = 0.0
    spacing_diameters: float = 0.9
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    defocus_min_um: float = 1.2
    defocus_max_um: float = 2.4
    dose_e_per_angstrom2: float = 40.0
    ice_thickness_angstrom: float = 400.0
    contrast: Literal["dark", "light"] = "dark"
    contamination: Literal["none", "light", "heavy"] = "none"
    precision: Literal["float32", "float16"] = "float32"
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        validate_dataset_name(self.name)
        self._check_counts()
        self._check_physics()
        for choice, allowed in (
            ("contrast", ("dark", "light")),
            ("contamination", ("none", "light", "heavy")),
            ("precision", ("float32", "float16")),
        ):
            if getattr(self, choice) not in allowed:
                raise InvalidInputError(
                    f"{choice} {getattr(self, choice)!r} is not known: use one of {', '.join(allowed)}"
                )

    def _check_counts(self) -> None:
        least = {"micrographs": 1, "height": _MIN_SIDE_PX, "width": _MIN_SIDE_PX, "seed": 0}
        if self.particles is not None:
            least["particles"] = 0
        if self.workers is not None:
            least["workers"] = 1
        for field, minimum in least.items():
            value = getattr(self, field)
            if value < minimum:
                raise InvalidInputError(f"{field} is {value}: give at least {minimum}")

    def _check_physics(self) -> None:
        ranges = {
            "empty": (0.0, 1.0),
            "coverage": (0.001, 5.0),
            "pixel_size_angstrom": (0.1, 50.0),
            "spacing_diameters": (0.3, 10.0),
            "voltage_kv": (40.0, 2000.0),
            "spherical_aberration_mm": (0.0, 20.0),
            "amplitude_contrast": (0.0, 1.0),
            "defocus_min_um": (0.0, 20.0),
            "defocus_max_um": (0.0, 20.0),
            "dose_e_per_angstrom2": (0.01, 10_000.0),
            "ice_thickness_angstrom": (0.0, 5000.0),
        }
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            if not (math.isfinite(value) and low <= value <= high):
                raise InvalidInputError(f"{field} is {value}: give a number from {low:g} to {high:g}")
        if self.defocus_min_um > self.defocus_max_um:
            raise InvalidInputError(
                f"defocus_min_um {self.defocus_min_um:g} is above defocus_max_um {self.defocus_max_um:g}: swap them"
            )
        brightest = self.dose_e_per_angstrom2 * self.pixel_size_angstrom**2
        if self.precision == "float16" and brightest > _FLOAT16_COUNTS:
            raise InvalidInputError(
                f"{brightest:.0f} electrons per pixel are too many for float16: use float32 or a lower dose"
            )

    @property
    def folder(self) -> Path:
        """The folder that is written."""
        return Path("hydrapicker-data") / "simulated" / self.name if self.out is None else self.out

    def identity(self) -> dict[str, str | int | float | None]:
        """Return the settings the bytes depend on, but for the atoms themselves: may a folder be continued?"""
        elsewhere = {"structure", "chains", "out", "workers"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in elsewhere}

    @classmethod
    def when_not_given(cls) -> dict[str, object]:
        """Return the defaults: what a record that was written before a setting existed has for it."""
        return {field.name: field.default for field in fields(cls)}
