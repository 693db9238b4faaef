"""What can go wrong with heads, packages and registries."""

from hydrapicker_core.errors import HydraPickerError, InvalidInputError


class HeadNotFoundError(HydraPickerError, LookupError):
    """No head, version or alias of that name; the message offers the nearest that exist."""


class UnknownHeadError(HeadNotFoundError):
    """A registry answers and holds no version at all of the head."""


class TrunkMismatchError(HydraPickerError, ValueError):
    """A head meets another trunk than the one it was trained on."""


class PackageError(InvalidInputError):
    """A head or trunk package that is damaged, altered or of an unknown format."""


class ChampionChangedError(HydraPickerError, RuntimeError):
    """Another version became champion, or none is any more, since it was looked at."""


class RegistryError(HydraPickerError, OSError):
    """A registry that cannot be reached, read or written."""


class NotPermittedError(RegistryError, PermissionError):
    """A server refuses what this login is not permitted to do."""
