"""The errors of the platform, each also a builtin so that ordinary ``except`` clauses work."""

from hydrapicker_core.errors import HydraPickerError, InvalidInputError

__all__ = [
    "DatasetNotFoundError",
    "HydraPickerError",
    "InvalidInputError",
    "MicrographError",
    "ParticlesError",
    "StoreAccessError",
    "StoreChangedError",
    "StoreError",
]


class _FileError(InvalidInputError):
    """Quotes what a file holds, which may be anything: still one line that no terminal takes for a command."""

    def __init__(self, message: str) -> None:
        spaced = "".join(" " if each.isspace() else each for each in message)
        super().__init__(
            "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in spaced)
        )


class MicrographError(_FileError):
    """A micrograph file that cannot be used."""


class ParticlesError(_FileError):
    """A particle or pick file that cannot be used."""


class StoreError(HydraPickerError, OSError):
    """The dataset store cannot be read or written."""


class StoreAccessError(StoreError):
    """The place of the store is not there or not open to us: no bucket, wrong or expired credentials, no permission."""


class StoreChangedError(StoreError):
    """Somebody else wrote a file between our reading it and our replacing it; nothing was replaced."""


class DatasetNotFoundError(HydraPickerError, FileNotFoundError):
    """No dataset of this name (or version) in the store."""
