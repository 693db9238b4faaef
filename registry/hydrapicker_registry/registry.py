"""The head registry: register, promote, roll back and retire heads kept in MLflow; reading is in reading.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import history, lookup
from hydrapicker_registry.cache import cached_package, package_folder
from hydrapicker_registry.claim import claimed
from hydrapicker_registry.connection import talking_to, without_login
from hydrapicker_registry.errors import (
    ChampionChangedError,
    HeadNotFoundError,
    NotPermittedError,
    PackageError,
    TrunkMismatchError,
)
from hydrapicker_registry.history import AliasPeriod
from hydrapicker_registry.mlflow_model import TRUNK_FOLDER, write_model_folder
from hydrapicker_registry.names import GENERIC, TRUNK_MODEL_NAME, head_model_name
from hydrapicker_registry.package import HeadPackage, StoredPackage, TrunkPackage, check_trunk, write_package
from hydrapicker_registry.publish import publish
from hydrapicker_registry.reading import CHAMPION, LoadedHead, RegistryReader
from hydrapicker_registry.versions import RETIRED, HeadVersion, head_tags, package_sha256, trunk_tags

__all__ = ["Alias", "HeadRecord", "HeadRegistry", "LoadedHead"]

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class HeadRecord:
    """A version of a head and when it carried which alias.

    Attributes:
        version: What the registry says of it.
        periods: The latest first, as far as they are on record.
    """

    version: HeadVersion
    periods: tuple[AliasPeriod, ...]


class HeadRegistry(RegistryReader):
    """Heads and trunks kept in MLflow, to read from and to write to; see :class:`RegistryReader` for the rest."""

    def register_trunk(self, trunk: TrunkPackage | StoredPackage, run_id: str) -> int:
        """Store a trunk under a run and return its version; a trunk that is there already is not stored again."""
        with talking_to(self.tracking_uri), _stored(trunk) as stored:
            package = stored.package
            if not isinstance(package, TrunkPackage):
                raise PackageError(f"{stored.folder}: is a head and no trunk")
            existing = lookup.trunk_version_of(self.client, package.sha256)
            if existing is None:
                tags = trunk_tags(package, stored.sha256)
                publish(self.client, stored, run_id, tags, lambda to: write_model_folder(to, None, stored.folder))
                # not the version just made: another process may have stored the same trunk a moment earlier
                existing = lookup.trunk_version_of(self.client, package.sha256)
            assert existing is not None
            return existing

    def register_head(self, head: HeadPackage | StoredPackage, run_id: str, alias: Alias | None = None) -> int:
        """Store a head under a run and return its version.

        The version becomes visible with all it needs, or not at all; the alias is moved last. The very same
        package registered again keeps its version, and the alias is moved.

        Parameters
        ----------
        head
            The head.
        run_id
            The MLflow run that made it.
        alias
            `champion`: what users get by default. `challenger`: what may become champion. None: leave aliases.

        Raises
        ------
        TrunkMismatchError
            When the head's trunk is not in this registry.
        """
        _validate_alias(alias)
        with talking_to(self.tracking_uri), _stored(head) as stored:
            package = stored.package
            if not isinstance(package, HeadPackage):
                raise PackageError(f"{stored.folder}: is a trunk and no head")
            number, trunk = self._trunk_of(package)
            version = publish(
                self.client,
                stored,
                run_id,
                head_tags(package.metadata, number, trunk.name, stored.sha256),
                lambda to: write_model_folder(to, stored.folder, trunk),
            )
            if alias is not None:
                name = head_model_name(package.metadata.dataset)
                with claimed(self.client, name) if alias == CHAMPION else nullcontext():
                    history.move_alias(self.client, self.client.get_registered_model(name), alias, version)
            return version

    def promote(self, name: str, version: int, alias: Alias = CHAMPION) -> HeadVersion:
        """Move an alias of the head `name` to one of its versions and return that version.

        What was retired is offered again by this, and a challenger that becomes champion is no challenger any more.
        """
        _validate_alias(alias)
        return self._point(self.resolve(name, version), alias)

    def offer(self, name: str, version: int) -> Alias:
        """Make a version champion where this login may, and challenger where only a maintainer may; say which."""
        try:
            self.promote(name, version)
        except NotPermittedError:
            self.promote(name, version, "challenger")
            return "challenger"
        return CHAMPION

    def succeed(self, name: str, version: int, champion: int | None) -> HeadVersion:
        """Make a version champion, provided that the champion still is the version it was judged against.

        Parameters
        ----------
        name
            The dataset's name.
        version
            What becomes champion.
        champion
            The version that is champion as far as the caller knows; None for none.

        Raises
        ------
        ChampionChangedError
            When another version is champion now, or none; nothing is changed.
        """
        return self._point(self.resolve(name, version), CHAMPION, provided=(champion,))

    def rollback(self, name: str) -> HeadVersion:
        """Make the champion before this one champion again, and return it; again, and it is the one before that.

        Raises
        ------
        HeadNotFoundError
            When no earlier champion is on record.
        """
        current = self.resolve(name, alias=CHAMPION)
        with talking_to(self.tracking_uri):
            model = self.client.get_registered_model(head_model_name(current.dataset))
        usable = [head.version for head in self.versions(current.dataset) if not head.retired]
        previous = history.previous_champion(history.alias_moves(model.tags), current.version, usable)
        if previous is None:
            raise HeadNotFoundError(
                f"head {current.dataset!r} has no champion before version {current.version} on record: choose one "
                f"with `hydrapicker heads promote {current.dataset} --version N`"
            )
        return self._point(self.resolve(current.dataset, previous), CHAMPION, rollback=True)

    def retire(self, name: str, version: int | None = None) -> None:
        """Stop offering a head, or one of its versions: no longer listed, nor loaded by name or alias.

        Nothing is deleted: who asks for a version by its number still gets it, and `promote` offers it again.

        Raises
        ------
        InvalidInputError
            For the champion's version as long as it is champion, and for the generic head as a whole.
        """
        found = self.versions(name)[0] if version is None else self.resolve(name, version)
        dataset, now = found.dataset, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC by {history.user()}"
        if version is None and dataset == GENERIC:
            raise InvalidInputError("the generic head cannot be retired, for new heads start from it: give --version")
        if version is not None and CHAMPION in found.aliases:
            raise InvalidInputError(
                f"head {dataset!r} version {version} is the champion: promote another version first, or roll back"
            )
        with talking_to(self.tracking_uri):
            model = self.client.get_registered_model(head_model_name(dataset))
            if version is None:
                self.client.set_registered_model_tag(model.name, RETIRED, now)
                return
            for alias in found.aliases:
                history.move_alias(self.client, model, alias, None)
            self.client.set_model_version_tag(model.name, str(version), RETIRED, now)

    def history(self, name: str) -> tuple[HeadRecord, ...]:
        """Return all versions of a head, the newest first, each with when it carried which alias."""
        versions = self.versions(name)
        with talking_to(self.tracking_uri):
            model = self.client.get_registered_model(head_model_name(versions[0].dataset))
        periods = history.alias_periods(history.alias_moves(model.tags), model.aliases)
        return tuple(HeadRecord(version, periods.get(version.version, ())) for version in versions)

    def _point(
        self, head: HeadVersion, alias: str, rollback: bool = False, provided: tuple[int | None] | None = None
    ) -> HeadVersion:
        name = head_model_name(head.dataset)
        moving = claimed(self.client, name) if alias == CHAMPION else nullcontext()
        with talking_to(self.tracking_uri), moving as claim:
            if provided is not None and (current := self._champion(head.dataset)) != provided[0]:
                raise ChampionChangedError(f"head {head.dataset!r}: {_champion_is(current)} now")
            model = self.client.get_registered_model(name)
            if claim is not None:
                claim.require()
            if RETIRED in model.tags:
                self.client.delete_registered_model_tag(name, RETIRED)
            if head.retired and RETIRED in self.client.get_model_version(name, str(head.version)).tags:
                self.client.delete_model_version_tag(name, str(head.version), RETIRED)
            history.move_alias(self.client, model, alias, head.version, rollback)
            if alias == CHAMPION and int(model.aliases.get("challenger", 0)) == head.version:
                history.move_alias(self.client, model, "challenger", None)
        return self.resolve(head.dataset, head.version)

    def _champion(self, name: str) -> int | None:
        try:
            return self.resolve(name, alias=CHAMPION).version
        except HeadNotFoundError:  # none yet, or it was retired
            return None

    def _trunk_of(self, head: HeadPackage) -> tuple[int, Path]:
        """Return the version of a head's trunk, and the trunk's verified package in the cache, named by its sha256."""
        wanted, named = head.metadata.trunk.sha256, f"head {head.metadata.dataset!r}"
        number = lookup.trunk_version_of(self.client, wanted)
        if number is None:
            raise TrunkMismatchError(
                f"{named} was trained on a trunk (sha256 {wanted[:12]}…) that the registry "
                f"{without_login(self.tracking_uri)} does not hold: register that trunk first"
            )
        found = self.client.get_model_version(TRUNK_MODEL_NAME, str(number))
        sha256 = package_sha256(found)
        try:
            trunk = cached_package(sha256, lambda folder: self.fetch_package(found, TRUNK_FOLDER, folder))
        except PackageError as error:
            raise PackageError(f"{TRUNK_MODEL_NAME} version {number}: {error}") from error
        if not isinstance(trunk, TrunkPackage):
            raise PackageError(f"{TRUNK_MODEL_NAME} version {number}: is a head and no trunk; do not use it")
        check_trunk(head, trunk, named)
        return number, package_folder(sha256)


@contextmanager
def _stored(package: TrunkPackage | HeadPackage | StoredPackage) -> Iterator[StoredPackage]:
    if isinstance(package, StoredPackage):
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as scratch:
        folder = Path(scratch) / "package"
        yield StoredPackage(folder, write_package(folder, package), package)


def _champion_is(version: int | None) -> str:
    return "no version is champion" if version is None else f"version {version} is champion"


def _validate_alias(alias: str | None) -> None:
    if alias not in (None, "champion", "challenger"):
        raise InvalidInputError(f"alias {alias!r} is not one of ours: use 'champion' or 'challenger'")
