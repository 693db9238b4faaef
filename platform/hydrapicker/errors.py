"""The errors of the platform, each also a builtin so that ordinary ``except`` clauses work."""

from hydrapicker_core.errors import HydraPickerError, InvalidInputError

__all__ = [
    "DatasetNotFoundError",
    "HydraPickerError",
    "InvalidInputError",
    "MicrographError",
    "ParticlesError",
    "StoreError",
]


class MicrographError(InvalidInputError):
    """A micrograph file that cannot be used."""


class ParticlesError(InvalidInputError):
    """A particle or pick file that cannot be used."""


class StoreError(HydraPickerError, OSError):
    """The dataset store cannot be read or written."""


class DatasetNotFoundError(HydraPickerError, FileNotFoundError):
    """No dataset of this name (or version) in the store."""
