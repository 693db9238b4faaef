"""Put packages into MLflow so that nobody ever sees half of one: files first, the version next, the alias last."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hydrapicker_registry.lookup import model_versions
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.package import CARD_NAME, HeadPackage, TrunkPackage, write_package
from hydrapicker_registry.versions import artifact_path, model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

_ATTEMPTS = 6


def publish(
    client: MlflowClient,
    package: TrunkPackage | HeadPackage,
    run_id: str,
    tags_for: Callable[[str], Mapping[str, str]],
) -> int:
    """Store a package under a run and return its version.

    Parameters
    ----------
    client
        Where to.
    package
        What; if this very package (by the sha256 of its JSON) is there already, that version is returned.
    run_id
        The run that made it; its artifacts hold the files.
    tags_for
        Gives the version's tags for the sha256 that vouches for the package.
    """
    name = model_name(package)
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as scratch:
        folder = Path(scratch) / "package"
        sha256 = write_package(folder, package)
        condition = f"name = '{name}' AND tags.package_sha256 = '{sha256}'"
        existing = [int(version.version) for version in model_versions(client, condition)]
        if existing:
            return min(existing)
        path = artifact_path(name, sha256)
        client.log_artifacts(run_id, str(folder), path)
        card = (folder / CARD_NAME).read_text()
    _ensure_registered_model(client, name, package)
    source = f"{client.get_run(run_id).info.artifact_uri.rstrip('/')}/{path}"
    version = _retry_conflicts(
        lambda: client.create_model_version(
            name, source, run_id, tags=dict(tags_for(sha256)), description=card, await_creation_for=0
        )
    )
    return int(version.version)


def set_alias(client: MlflowClient, name: str, alias: str, version: int) -> None:
    """Point an alias of a registered model at one of its versions."""
    _retry_conflicts(lambda: client.set_registered_model_alias(name, alias, str(version)))


def _ensure_registered_model(client: MlflowClient, name: str, package: TrunkPackage | HeadPackage) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_description(package))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _description(package: TrunkPackage | HeadPackage) -> str:
    if isinstance(package, TrunkPackage):
        return "The feature extractor that HydraPicker's heads share. Each head names the version it needs."
    dataset = package.metadata.dataset
    picks = "particles that no dataset was labelled for" if dataset == GENERIC else f"the particles of `{dataset}`"
    return f'Picks {picks}. In Python: `hydrapicker.load_head("{dataset}")`; the champion is the default.'


def _retry_conflicts(call: Callable[[], T]) -> T:
    """Call again when two processes insert the same row at once, which MLflow does not settle by itself."""
    from mlflow.exceptions import MlflowException

    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except MlflowException as error:
            if "IntegrityError" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
        time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")
