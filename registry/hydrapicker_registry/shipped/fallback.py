"""The shipped generic head where a registry has none: never in place of a registry that does not answer."""

from __future__ import annotations

from hydrapicker_registry.errors import HeadNotFoundError, UnknownHeadError
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.reading import CHAMPION, LoadedHead, RegistryReader, head_choice
from hydrapicker_registry.resolutions import recall, remember
from hydrapicker_registry.shipped import shipped_head
from hydrapicker_registry.versions import SHIPPED, HeadVersion, shipped_name


def load_or_shipped(
    registry: RegistryReader, name: str, version: int | None = None, alias: str | None = None, *, offline: bool = False
) -> LoadedHead:
    """As :meth:`RegistryReader.load`, but `generic` is the shipped head where the registry holds no generic head.

    Offline that is so where there is no registry at all, and where the registry held none when it was last asked.

    Raises
    ------
    HeadNotFoundError, TrunkMismatchError, PackageError, RegistryError
        As there.
    """
    try:
        return registry.load(name, version, alias, offline=offline)
    except HeadNotFoundError as error:
        dataset, choice = head_choice(name, version, alias)
        if dataset != GENERIC:
            raise
        none_there = isinstance(error, UnknownHeadError) or (offline and _held_none(registry))
        if none_there and choice == CHAMPION:
            return _in_place_of(registry)
        if none_there:
            raise HeadNotFoundError(f"{error}; {GENERIC!r} alone is {shipped_name()}") from error
        raise


def remember_or_shipped(registry: RegistryReader, name: str, version: int | None = None) -> HeadVersion:
    """As :meth:`RegistryReader.remember`, so that :func:`load_or_shipped` with `offline` gives just this version."""
    try:
        return registry.remember(name, version)
    except UnknownHeadError:
        return load_or_shipped(registry, name, version).version


def _held_none(registry: RegistryReader) -> bool:
    if not registry.exists():
        return True
    known = recall(registry.tracking_uri, GENERIC, CHAMPION)
    return known is not None and known.version == SHIPPED


def _in_place_of(registry: RegistryReader) -> LoadedHead:
    loaded = shipped_head()
    if registry.exists():  # so that it can be loaded offline from now on, like any other head
        remember(registry.tracking_uri, CHAMPION, loaded.version)
    return loaded
