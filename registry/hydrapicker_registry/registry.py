"""The head registry: register, list, resolve, load and promote heads kept in MLflow."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import lookup
from hydrapicker_registry.cache import cached_package
from hydrapicker_registry.connection import default_tracking_uri, open_client, sqlite_file, talking_to
from hydrapicker_registry.errors import PackageError, TrunkMismatchError
from hydrapicker_registry.names import TRUNK_MODEL_NAME, head_model_name, parse_head_reference
from hydrapicker_registry.package import HeadPackage, TrunkPackage
from hydrapicker_registry.publish import publish, set_alias
from hydrapicker_registry.versions import HeadVersion, artifact_path, head_tags, package_sha256, trunk_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Alias = Literal["champion", "challenger"]
CHAMPION: Alias = "champion"


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


class HeadRegistry:
    """Heads and trunks kept in MLflow. Nothing is connected or made before it is needed.

    Every method raises :class:`RegistryError` when MLflow cannot be reached or refuses.

    Parameters
    ----------
    tracking_uri
        A server or a `sqlite:///` database. None: `MLFLOW_TRACKING_URI`, or else
        `./hydrapicker-data/mlflow.db`.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.tracking_uri = tracking_uri or default_tracking_uri()

    def register_trunk(self, package: TrunkPackage, run_id: str) -> int:
        """Store a trunk under a run and return its version; a trunk that is there already is not stored again."""
        with talking_to(self.tracking_uri):
            existing = lookup.trunk_version_of(self._client, package.sha256)
            if existing is None:
                publish(self._client, package, run_id, lambda sha256: trunk_tags(package, sha256))
                # not the version just made: another process may have stored the same trunk a moment earlier
                existing = lookup.trunk_version_of(self._client, package.sha256)
            assert existing is not None
            return existing

    def register_head(self, package: HeadPackage, run_id: str, alias: Alias | None = None) -> int:
        """Store a head under a run and return its version.

        The version becomes visible with all it needs, or not at all; the alias is moved last. The very same
        package registered again keeps its version, and the alias is moved.

        Parameters
        ----------
        package
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
        reference = package.metadata.trunk
        with talking_to(self.tracking_uri):
            trunk = lookup.trunk_version_of(self._client, reference.sha256)
            if trunk is None:
                raise TrunkMismatchError(
                    f"head {package.metadata.dataset!r} was trained on a trunk (sha256 {reference.sha256[:12]}…) "
                    f"that the registry {self.tracking_uri} does not hold: register that trunk first"
                )
            version = publish(self._client, package, run_id, lambda sha256: head_tags(package.metadata, trunk, sha256))
            if alias is not None:
                set_alias(self._client, head_model_name(package.metadata.dataset), alias, version)
            return version

    def promote(self, name: str, version: int, alias: Alias = CHAMPION) -> HeadVersion:
        """Move an alias of the head `name` to one of its versions and return that version."""
        _validate_alias(alias)
        found = self.resolve(name, version)
        with talking_to(self.tracking_uri):
            set_alias(self._client, head_model_name(found.dataset), alias, found.version)
        return self.resolve(found.dataset, version)

    def list_heads(self) -> tuple[HeadVersion, ...]:
        """Return all versions of all heads, by name and then the newest first; none from a new registry."""
        if not self._exists():
            return ()
        with talking_to(self.tracking_uri):
            # aliases first: what they point to is then among the versions
            aliases = lookup.head_aliases(self._client)
            versions = list(lookup.model_versions(self._client))
        heads = []
        for version in versions:
            try:
                heads.append(HeadVersion.from_mlflow(version, aliases.get(version.name, {})))
            except PackageError:
                continue  # somebody's own model under our prefix; `resolve` says so when it is asked for
        return tuple(sorted(heads, key=lambda head: (head.dataset, -head.version)))

    def resolve(self, name: str, version: int | None = None, alias: str | None = None) -> HeadVersion:
        """Return one version of a head.

        Parameters
        ----------
        name
            A dataset's name, or name and alias as in `PDB-6b7n@challenger`.
        version, alias
            Which version; at most one way of saying so. Without any it is the champion.

        Raises
        ------
        HeadNotFoundError
            When there is no such head, version or alias. There is no silent fall back to a version that is not
            champion: it may be one that did not pass.
        """
        dataset, suffix = parse_head_reference(name)
        if sum(choice is not None for choice in (version, alias, suffix)) > 1:
            raise InvalidInputError(f"head {name!r}: give a version or an alias, not both")
        if not self._exists():
            raise lookup.unknown_head(None, self.tracking_uri, dataset)
        with talking_to(self.tracking_uri):
            existing = list(lookup.model_versions(self._client, f"name = '{head_model_name(dataset)}'"))
            if not existing:
                raise lookup.unknown_head(self._client, self.tracking_uri, dataset)
            aliases = self._client.get_registered_model(head_model_name(dataset)).aliases
        by_number = {int(candidate.version): candidate for candidate in existing}
        if version is None:
            wanted = alias or suffix or CHAMPION
            if wanted not in aliases:
                raise lookup.unknown_alias(dataset, wanted, aliases, max(by_number))
            version = int(aliases[wanted])
        if version not in by_number:
            raise lookup.unknown_version(dataset, version, by_number)
        found = HeadVersion.from_mlflow(by_number[version], aliases)
        if found.dataset != dataset:
            raise PackageError(f"head {dataset!r} version {version}: tagged as {found.dataset!r}; do not use it")
        return found

    def load(self, name: str, version: int | None = None, alias: str | None = None) -> LoadedHead:
        """Return a head with its trunk, from the cache or the registry, with everything checked.

        Parameters
        ----------
        name, version, alias
            As in :meth:`resolve`.

        Raises
        ------
        HeadNotFoundError
            When there is no such head, version or alias.
        TrunkMismatchError
            When the trunk is not the one that the head was trained on.
        PackageError
            When a package is damaged or altered.
        """
        found = self.resolve(name, version, alias)
        head = self._package(head_model_name(found.dataset), found.version)
        trunk = self._package(TRUNK_MODEL_NAME, found.trunk_version)
        where = f"head {found.dataset!r} version {found.version}"
        if not isinstance(head, HeadPackage) or head.metadata.dataset != found.dataset:
            raise PackageError(f"{where}: its package is not a head of that dataset; do not use it")
        if not isinstance(trunk, TrunkPackage) or trunk.sha256 != head.metadata.trunk.sha256:
            raise TrunkMismatchError(
                f"{where} was trained on a trunk with sha256 {head.metadata.trunk.sha256[:12]}…, and trunk version "
                f"{found.trunk_version} has {trunk.sha256[:12]}…: register the head again with its own trunk"
            )
        return LoadedHead(head, trunk, found)

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    def _exists(self) -> bool:
        # opening a sqlite database would make it, and reading shall leave nothing behind
        database = sqlite_file(self.tracking_uri)
        return database is None or database.exists()

    def _package(self, name: str, number: int) -> HeadPackage | TrunkPackage:
        with talking_to(self.tracking_uri):
            version = self._client.get_model_version(name, str(number))
        sha256 = package_sha256(version)
        try:
            return cached_package(sha256, lambda folder: self._download(version, sha256, folder))
        except PackageError as error:
            raise PackageError(f"{name} version {number}: {error}") from error

    def _download(self, version: ModelVersion, sha256: str, folder: Path) -> None:
        path, run_id = artifact_path(version.name, sha256), version.run_id
        with talking_to(self.tracking_uri):
            root = self._client.get_run(run_id).info.artifact_uri.rstrip("/") if run_id else None
            if run_id is None or version.source != f"{root}/{path}":
                raise PackageError("its source is not within its run's files; do not use it")
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as scratch:
                downloaded = Path(self._client.download_artifacts(run_id, path, scratch))
                for file in downloaded.iterdir():
                    file.replace(folder / file.name)


def _validate_alias(alias: str | None) -> None:
    if alias not in (None, "champion", "challenger"):
        raise InvalidInputError(f"alias {alias!r} is not one of ours: use 'champion' or 'challenger'")
