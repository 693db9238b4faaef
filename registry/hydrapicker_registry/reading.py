"""What anybody may do with the head registry: list heads, find one, load it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import lookup
from hydrapicker_registry.cache import cached_package
from hydrapicker_registry.connection import default_tracking_uri, open_client, sqlite_file, talking_to, without_login
from hydrapicker_registry.errors import HeadNotFoundError, PackageError, RegistryError
from hydrapicker_registry.mlflow_model import HEAD_FOLDER, TRUNK_FOLDER
from hydrapicker_registry.names import head_model_name, parse_head_reference, validate_dataset_name
from hydrapicker_registry.package import HeadPackage, TrunkPackage, check_trunk
from hydrapicker_registry.publish import fetch_files
from hydrapicker_registry.resolutions import recall, remember
from hydrapicker_registry.versions import SHIPPED, HeadVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION: Literal["champion"] = "champion"


@dataclass(frozen=True, eq=False)
class LoadedHead:
    """A head with the trunk it belongs to, both verified.

    Attributes:
        head: The head's package.
        trunk: The package of the trunk it was trained on.
        version: What the registry says of the head.
    """

    head: HeadPackage
    trunk: TrunkPackage
    version: HeadVersion


class RegistryReader:
    """The registry, to read from. Nothing is connected or made before it is needed.

    Every method raises :class:`RegistryError` when MLflow cannot be reached or refuses. Instances are cheap; several
    threads and processes may use one registry and one cache at once.

    Parameters
    ----------
    tracking_uri
        A server or a `sqlite:///` database. None: `MLFLOW_TRACKING_URI`, or else
        `./hydrapicker-data/mlflow.db`.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.tracking_uri = tracking_uri or default_tracking_uri()

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client; a sqlite database that is not there yet is made."""
        return open_client(self.tracking_uri)

    def list_heads(self, *, retired: bool = False) -> tuple[HeadVersion, ...]:
        """Return all versions of all heads, by name and then the newest first; none from a new registry.

        Parameters
        ----------
        retired
            Also those that are no longer offered.
        """
        if not self.exists():
            return ()
        with talking_to(self.tracking_uri):
            # registered models first: what their aliases point to is then among the versions
            models = lookup.registered_heads(self.client)
            versions = [version for version in lookup.model_versions(self.client) if version.name in models]
        heads = []
        for version in versions:
            try:
                heads.append(HeadVersion.from_mlflow(version, models[version.name]))
            except PackageError:
                continue  # somebody's own model under our prefix; `resolve` says so when it is asked for
        offered = [head for head in heads if retired or not head.retired]
        return tuple(sorted(offered, key=lambda head: (head.dataset, -head.version)))

    def versions(self, name: str) -> tuple[HeadVersion, ...]:
        """Return all versions of one head, also retired ones, the newest first.

        Raises
        ------
        HeadNotFoundError
            When there is no such head.
        """
        existing, model = self._existing(validate_dataset_name(name))
        found = [HeadVersion.from_mlflow(version, model) for version in existing]
        return tuple(sorted(found, key=lambda head: -head.version))

    def resolve(self, name: str, version: int | None = None, alias: str | None = None) -> HeadVersion:
        """Return one version of a head.

        Parameters
        ----------
        name
            A dataset's name, or with alias or version as in `PDB-6b7n@challenger` and `PDB-6b7n@3`.
        version, alias
            Which version; at most one way of saying so. Without any it is the champion.

        Raises
        ------
        HeadNotFoundError
            When there is no such head, version or alias, or it was retired and is not asked for by its number. There
            is no silent fall back to a version that is not champion: it may be one that did not pass.
        """
        dataset, choice = head_choice(name, version, alias)
        existing, model = self._existing(dataset)
        by_number = {int(candidate.version): candidate for candidate in existing}
        if isinstance(choice, str) and choice not in model.aliases:
            raise lookup.unknown_alias(dataset, choice, model.aliases, max(by_number))
        number = int(model.aliases[choice]) if isinstance(choice, str) else choice
        if number not in by_number:
            raise lookup.unknown_version(dataset, number, by_number)
        found = HeadVersion.from_mlflow(by_number[number], model)
        if found.dataset != dataset:
            raise PackageError(f"head {dataset!r} version {number}: tagged as {found.dataset!r}; do not use it")
        if found.retired and isinstance(choice, str):
            raise lookup.retired_head(found)
        return found

    def load(
        self, name: str, version: int | None = None, alias: str | None = None, *, offline: bool = False
    ) -> LoadedHead:
        """Return a head with its trunk, from the cache or the registry, with everything checked.

        Only what the name stands for is asked of MLflow once the packages are in the cache. A version that is asked
        for by its number and was loaded before is also found while the registry is away: it cannot have changed.

        Parameters
        ----------
        name, version, alias
            As in :meth:`resolve`.
        offline
            Take what this machine loaded last under this name, alias or version; nothing is asked of MLflow.

        Raises
        ------
        HeadNotFoundError
            When there is no such head, version or alias; offline, when it was not loaded on this machine before.
        TrunkMismatchError
            When the trunk is not the one that the head was trained on.
        PackageError
            When a package is damaged or altered.
        """
        dataset, choice = head_choice(name, version, alias)
        found = self._recalled(dataset, choice) if offline else self._found(dataset, choice)
        where = f"head {dataset!r} version {found.version}"
        head = self._cached(found, found.package_sha256, HEAD_FOLDER, offline)
        trunk = self._cached(found, found.trunk_package_sha256, TRUNK_FOLDER, offline)
        if not isinstance(head, HeadPackage) or head.metadata.dataset != dataset:
            raise PackageError(f"{where}: its package is not a head of that dataset; do not use it")
        if not isinstance(trunk, TrunkPackage):
            raise PackageError(f"{where}: the package of its trunk is none; do not use it")
        check_trunk(head, trunk, where)
        if not offline:
            remember(self.tracking_uri, choice, found)
        return LoadedHead(head, trunk, found)

    def remember(self, name: str, version: int | None = None) -> HeadVersion:
        """Resolve a head and remember the answer, so that :meth:`load` with `offline` gives just this version.

        Raises
        ------
        RegistryError, HeadNotFoundError
            As :meth:`resolve`.
        """
        dataset, choice = head_choice(name, version, None)
        found = self._found(dataset, choice)
        remember(self.tracking_uri, choice, found)
        return found

    def _found(self, dataset: str, choice: str | int) -> HeadVersion:
        try:
            if isinstance(choice, int):
                return self.resolve(dataset, choice)
            return self.resolve(dataset, alias=choice)
        except RegistryError:
            known = recall(self.tracking_uri, dataset, choice) if isinstance(choice, int) else None
            if known is None:
                raise
            return known

    def _recalled(self, dataset: str, choice: str | int) -> HeadVersion:
        known = recall(self.tracking_uri, dataset, choice)
        if known is None or known.version == SHIPPED:
            raise _not_here(dataset, choice, self.tracking_uri)
        return known

    def _cached(self, found: HeadVersion, sha256: str, part: str, offline: bool) -> HeadPackage | TrunkPackage:
        def fetch(folder: Path) -> None:
            if offline:
                raise _not_here(found.dataset, found.version, self.tracking_uri)
            with talking_to(self.tracking_uri):
                version = self.client.get_model_version(head_model_name(found.dataset), str(found.version))
            self.fetch_package(version, part, folder)

        try:
            return cached_package(sha256, fetch)
        except PackageError as error:
            raise PackageError(f"{head_model_name(found.dataset)} version {found.version}: {error}") from error

    def fetch_package(self, version: ModelVersion, part: str, folder: Path) -> None:
        """Download the package that is folder `part` of a version's files into an empty folder, unchecked."""
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as scratch:
            self.fetch(version, part, Path(scratch))
            for file in (Path(scratch) / part).iterdir():
                file.replace(folder / file.name)

    def fetch(self, version: ModelVersion, part: str, folder: Path) -> None:
        """Download a version's files as they are, unchecked, to `folder / part`; `part` is one of their names.

        Raises
        ------
        PackageError
            When the version's source is not where MLflow keeps the models of its run.
        """
        with talking_to(self.tracking_uri):
            fetch_files(self.client, version, part, folder)

    def exists(self) -> bool:
        """Whether there is a registry at all: a sqlite database may not have been made yet."""
        # opening a sqlite database would make it, and reading shall leave nothing behind
        database = sqlite_file(self.tracking_uri)
        return database is None or database.exists()

    def _existing(self, dataset: str) -> tuple[list[ModelVersion], RegisteredModel]:
        if not self.exists():
            raise lookup.unknown_head(None, self.tracking_uri, dataset)
        with talking_to(self.tracking_uri):
            # the model first: what its aliases point to is then among the versions
            model = lookup.registered_model(self.client, head_model_name(dataset))
            existing = list(lookup.model_versions(self.client, f"name = '{head_model_name(dataset)}'"))
            if model is None or not existing:
                raise lookup.unknown_head(self.client, self.tracking_uri, dataset)
        return existing, model


def head_choice(name: str, version: int | None = None, alias: str | None = None) -> tuple[str, str | int]:
    """Return the dataset that is asked for, and which of its versions by alias or number; the champion by default."""
    dataset, suffix = parse_head_reference(name)
    given = [choice for choice in (version, alias, suffix) if choice is not None]
    if len(given) > 1:
        raise InvalidInputError(f"head {name!r}: give a version or an alias, not both")
    if alias is not None:
        parse_head_reference(f"{dataset}@{alias}")  # it becomes a file's name
    return dataset, given[0] if given else CHAMPION


def _not_here(dataset: str, choice: str | int, tracking_uri: str) -> HeadNotFoundError:
    which = f"version {choice}" if isinstance(choice, int) else choice
    return HeadNotFoundError(
        f"head {dataset!r} ({which}) of the registry {without_login(tracking_uri)} is not in this machine's cache: "
        "load it once with the network"
    )
