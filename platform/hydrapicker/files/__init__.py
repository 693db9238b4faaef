"""Files: micrographs (MRC, TIFF) in, particles (STAR, BOX, CBOX, CS, TXT, CSV, Parquet) in and out."""

from hydrapicker.files.box import write_box
from hydrapicker.files.coordinates import (
    Convention,
    Particles,
    from_program_convention,
    in_convention,
    to_program_convention,
)
from hydrapicker.files.csv import write_csv
from hydrapicker.files.formats import FORMATS, format_of, write_picks, write_picks_of_one
from hydrapicker.files.matching import MatchedParticles, check_inside, match_to_micrographs
from hydrapicker.files.micrographs import (
    MICROGRAPH_SUFFIXES,
    Micrograph,
    MicrographHeader,
    find_micrographs,
    micrograph_stem,
    read_header,
    read_micrograph,
    write_mrc,
)
from hydrapicker.files.particles import PARTICLE_SUFFIXES, read_particles
from hydrapicker.files.star import write_autopick_star, write_combined_star
from hydrapicker.storage.atomic import OutputError, atomic_write

__all__ = [
    "FORMATS",
    "MICROGRAPH_SUFFIXES",
    "PARTICLE_SUFFIXES",
    "Convention",
    "MatchedParticles",
    "Micrograph",
    "MicrographHeader",
    "OutputError",
    "Particles",
    "atomic_write",
    "check_inside",
    "find_micrographs",
    "format_of",
    "from_program_convention",
    "in_convention",
    "match_to_micrographs",
    "micrograph_stem",
    "read_header",
    "read_micrograph",
    "read_particles",
    "to_program_convention",
    "write_autopick_star",
    "write_box",
    "write_combined_star",
    "write_csv",
    "write_mrc",
    "write_picks",
    "write_picks_of_one",
]
