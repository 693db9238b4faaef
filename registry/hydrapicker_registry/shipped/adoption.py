"""A registry takes the shipped trunk and generic head as versions of its own, once, whoever and how many ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hydrapicker_registry.claim import claimed
from hydrapicker_registry.connection import talking_to
from hydrapicker_registry.errors import ChampionChangedError, UnknownHeadError
from hydrapicker_registry.names import GENERIC, head_model_name
from hydrapicker_registry.package import StoredPackage
from hydrapicker_registry.publish import ensure_registered_model
from hydrapicker_registry.registry import Alias, HeadRegistry
from hydrapicker_registry.shipped import shipped_packages, shipped_sha256
from hydrapicker_registry.versions import HeadVersion


@dataclass(frozen=True)
class Adopted:
    """What became of the shipped generic head in a registry.

    Attributes:
        version: Its version there.
        alias: What it is there.
        registered: Whether it was registered just now, and had not been there before.
    """

    version: int
    alias: Alias | None
    registered: bool


def lacks_generic(registry: HeadRegistry) -> bool:
    """Whether a registry holds no generic head, or only the shipped one, whose adoption was broken off."""
    versions, shipped = _versions(registry), shipped_sha256()
    return all(head.package_sha256 == shipped and not head.aliases and not head.retired for head in versions)


def adopt(registry: HeadRegistry, begin: Callable[[StoredPackage], str]) -> Adopted:
    """Register the shipped trunk and generic head: as champion where there is no other generic head, else challenger.

    What is there already is left as it is. Several processes that adopt at once register one version.

    Parameters
    ----------
    registry
        Where to.
    begin
        Given the head; returns the id of the MLflow run that both come from. Called only if they are registered.

    Raises
    ------
    NotPermittedError
        On a server with logins, for all but maintainers; nothing is registered.
    """
    with shipped_packages() as (head, trunk):
        with talking_to(registry.tracking_uri):
            ensure_registered_model(registry.client, head.package)  # what a claim is put on
            with claimed(registry.client, head_model_name(GENERIC)):
                versions = _versions(registry)
                there = next((each for each in versions if each.package_sha256 == head.sha256), None)
                if there is None:
                    run_id = begin(head)
                    registry.register_trunk(trunk, run_id)
                    number = registry.register_head(head, run_id)
        if there is None:
            return Adopted(number, _offer(registry, number, others=bool(versions)), True)
        if len(versions) == 1 and not there.aliases and not there.retired:  # an adoption that was broken off
            return Adopted(there.version, _offer(registry, there.version, others=False), False)
        aliases: tuple[Alias, ...] = ("champion", "challenger")
        return Adopted(there.version, next((alias for alias in aliases if alias in there.aliases), None), False)


def _offer(registry: HeadRegistry, number: int, others: bool) -> Alias:
    if others:
        registry.promote(GENERIC, number, "challenger")
        return "challenger"
    try:
        registry.succeed(GENERIC, number, None)
    except ChampionChangedError:
        # who adopted at the same time was faster
        if "champion" not in registry.resolve(GENERIC, number).aliases:
            raise
    return "champion"


def _versions(registry: HeadRegistry) -> tuple[HeadVersion, ...]:
    try:
        return registry.versions(GENERIC)
    except UnknownHeadError:
        return ()
