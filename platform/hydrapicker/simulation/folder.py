"""Whose folder is it? A folder holds one simulation, which may be continued but not mixed with another."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hydrapicker.errors import InvalidInputError
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.structure import Structure
from hydrapicker.storage.atomic import atomic_write

# Raised whenever the same settings give other bytes than before.
_SIMULATOR_VERSION = 1
_FILE = "simulation.json"


def claim_folder(config: SimulateConfig, structure: Structure, diameter_angstrom: float) -> None:
    """Write ``simulation.json`` into an empty folder, or see that it names the same simulation.

    Raises
    ------
    InvalidInputError
        When the folder holds another simulation or anything else.
    OutputError
        When it cannot be written.
    """
    record = _record(config, structure)
    try:
        begun = _begun(config.folder, record)
    except OSError as error:
        raise InvalidInputError(
            f"{config.folder} cannot be looked into ({error.strerror}): choose another folder"
        ) from error
    if not begun:
        shown = {"structure": config.structure, "diameter_angstrom": round(diameter_angstrom, 2)}
        with atomic_write(config.folder / _FILE) as temporary:
            temporary.write_text(json.dumps({**shown, **record}, indent=2) + "\n")


def _begun(folder: Path, record: dict[str, Any]) -> bool:
    """Whether the folder holds the beginning of this very simulation; False if it is empty or not there."""
    if (folder / _FILE).is_file():
        different = _differences(folder / _FILE, record)
        if different:
            raise InvalidInputError(
                f"{folder} holds another simulation (differs in {', '.join(different)}): choose another folder "
                "or remove this one"
            )
        return True
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file: choose another folder")
    # Hidden files are what an interrupted run or the operating system left behind.
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InvalidInputError(f"{folder} holds files that are not a simulation: choose another or an empty folder")
    return False


def _record(config: SimulateConfig, structure: Structure) -> dict[str, Any]:
    atoms = hashlib.sha256(structure.positions_angstrom.tobytes() + structure.atomic_numbers.tobytes())
    return {
        "simulator_version": _SIMULATOR_VERSION,
        "structure_sha256": atoms.hexdigest(),
        **config.identity(),
    }


def _differences(path: Path, record: dict[str, Any]) -> list[str]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInputError(f"{path} is damaged ({error}): remove the folder or choose another") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} is not a record of a simulation: remove the folder or choose another")
    there = {**SimulateConfig.when_not_given(), **found}
    return [key for key, value in record.items() if there.get(key, ...) != value]
