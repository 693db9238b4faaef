"""What picking is given, and what it reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tyro.conf import Positional

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.formats import FormatName
from hydrapicker.picking.outputs import Outputs
from hydrapicker.picking.picker import check_options
from hydrapicker.picking.summary import Summary
from hydrapicker_registry.metadata import Contrast

Where = Literal["auto", "here", "ray"]


@dataclass(frozen=True)
class PickConfig:
    """Pick particles on micrographs with a head of the registry, or with the generic head that is shipped.

    What is in OUT already is not picked again, so that an interrupted run goes on where it was.

    Attributes:
        files: Micrograph files, folders or quoted patterns; also s3:// URLs.
        out: Folder for the picks, for overlays/, and for all_picks.star and picking.json, from which
            `hydrapicker inspect` lets another threshold be chosen.
        head: Name of the head, with @ALIAS for another than the champion; generic is the one shipped with HydraPicker
            where the registry has no generic head.
        version: Version of the head; by default its champion.
        diameter_angstrom: The particle's diameter; by default that of the head's own dataset.
        pixel_size_angstrom: Of the micrographs; by default what their headers say.
        threshold: Least probability of a pick; by default what the head's record recommends.
        min_distance_angstrom: Least distance between two picks; by default 0.6 of the diameter.
        contrast: Whether particles are darker or lighter than the ice; by default as in the head's own dataset.
        exclude_edges_angstrom: How far from the micrograph's edges the nearest pick may be centred.
        mask_contamination: Pick nothing on carbon and contaminants larger than a particle.
        formats: What to write: RELION's star (picks.star, autopick.star and micrographs/), or in a folder of its name
            EMAN's box, crYOLO's cbox (with all doubtful picks), cryoSPARC's cs, Topaz' tables, csv, parquet.
        overlay: Also write a PNG of every micrograph with its picks, what was excluded tinted.
        overwrite: Forget the picks that are in OUT and pick anew.
        watch: FILES are folders: pick what appears in them until Ctrl-C.
        parallel: Pick "here", one after the other, or on "ray", one per core; "auto" is Ray where RAY_ADDRESS names a
            cluster.
        gpu: Pick on a GPU; on Ray, one micrograph at a time on each.
        memory_bound_gib: Above this estimate of memory a micrograph goes through the network in bands.
    """

    files: Positional[tuple[str, ...]]
    out: Path = Path("picks")
    head: str = "generic"
    version: int | None = None
    diameter_angstrom: float | None = None
    pixel_size_angstrom: float | None = None
    threshold: float | None = None
    min_distance_angstrom: float | None = None
    contrast: Contrast | None = None
    exclude_edges_angstrom: float = 0.0
    mask_contamination: bool = False
    formats: tuple[FormatName, ...] = ("star",)
    overlay: bool = False
    overwrite: bool = False
    watch: bool = False
    parallel: Where = "auto"
    gpu: bool = False
    memory_bound_gib: float = 2.0

    def __post_init__(self) -> None:
        for name in ("diameter_angstrom", "pixel_size_angstrom"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} {value} is not positive: give it in Angstrom")
        check_options(
            self.threshold,
            self.min_distance_angstrom,
            self.memory_bound_gib,
            self.contrast,
            self.exclude_edges_angstrom,
        )
        if self.parallel not in get_args(Where):
            raise InvalidInputError(f"parallel is {self.parallel!r}: give {', '.join(get_args(Where))}")
        if self.watch and self.parallel == "ray":
            raise InvalidInputError("watch picks on this machine: leave --parallel ray out")
        Outputs(self.out, self.formats)


@dataclass(frozen=True)
class PickReport:
    """What was picked.

    Attributes:
        head: Name and version of the head, or that it is the shipped one.
        counts: Picks per micrograph in the output, by name.
        written: Per format the file with all picks, or the folder with a file per micrograph.
        summary: Of the counts, with what looks odd.
        failed: Per micrograph that could not be picked, why.
        skipped: How many micrographs had been picked before.
        contrast_doubt: In one line, that the micrographs look inverted; None where they do not.
    """

    head: str
    counts: Mapping[str, int]
    written: tuple[Path, ...]
    summary: Summary
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: int = 0
    contrast_doubt: str | None = None
