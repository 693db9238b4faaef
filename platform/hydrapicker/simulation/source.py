"""Where a structure comes from: a file or a shape that ships with HydraPicker."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hydrapicker.simulation.builtin import build, builtin_names
from hydrapicker.simulation.structure import Structure, StructureError, read_structure

_PREFIX = "builtin:"


def load_structure(source: str, chains: Sequence[str] = ()) -> Structure:
    """Load ``builtin:NAME`` or a PDB or mmCIF file, or some chains of the latter.

    Raises
    ------
    StructureError
        When the name is unknown (with the nearest names) or the file cannot be used.
    """
    if not source.startswith(_PREFIX):
        return read_structure(Path(source).expanduser(), chains)
    if chains:
        raise StructureError(f"{source} has no chains to choose from: leave chains out")
    name = source.removeprefix(_PREFIX)
    if name not in builtin_names():
        near = get_close_matches(name, builtin_names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(builtin_names())}"
        raise StructureError(f"no builtin structure is called {name!r}: {hint}")
    return build(name)
