"""Find versions in MLflow, page by page, and say what there is when there is not what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hydrapicker_registry.connection import without_login
from hydrapicker_registry.errors import HeadNotFoundError, UnknownHeadError
from hydrapicker_registry.names import HEAD_MODEL_PREFIX, TRUNK_MODEL_NAME, nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from hydrapicker_registry.versions import HeadVersion

_PAGE = 1000
_ALL_HEADS = f"name LIKE '{HEAD_MODEL_PREFIX}%'"
_HOW_TO_MAKE_ONE = "train with `hydrapicker train` or add a dataset's with `hydrapicker contribute`"


def model_versions(client: MlflowClient, condition: str = _ALL_HEADS) -> Iterator[ModelVersion]:
    """Yield all model versions that meet an MLflow filter; their `aliases` are empty (MLflow leaves them out)."""
    token = None
    while True:
        page = client.search_model_versions(condition, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def registered_heads(client: MlflowClient) -> dict[str, RegisteredModel]:
    """Return the registered models of all heads, by name: what aliases and tags they have."""
    models: dict[str, RegisteredModel] = {}
    token = None
    while True:
        page = client.search_registered_models(_ALL_HEADS, max_results=_PAGE, page_token=token)
        models |= {model.name: model for model in page}
        token = page.token
        if not token:
            return models


def registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """Return a registered model, None when there is none of that name."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def trunk_version_of(client: MlflowClient, trunk_sha256: str) -> int | None:
    """Return the version of the trunk with these weights, the first if there are several, None without one."""
    condition = f"name = '{TRUNK_MODEL_NAME}' AND tags.trunk_sha256 = '{trunk_sha256}'"
    return min((int(version.version) for version in model_versions(client, condition)), default=None)


def unknown_head(client: MlflowClient | None, tracking_uri: str, dataset: str) -> UnknownHeadError:
    """Return the error for a dataset without a head, with the nearest names there are."""
    versions: Iterable[ModelVersion] = () if client is None else model_versions(client)
    names = {version.name.removeprefix(HEAD_MODEL_PREFIX) for version in versions}
    if not names:
        return UnknownHeadError(f"the registry {without_login(tracking_uri)} holds no heads yet: {_HOW_TO_MAKE_ONE}")
    similar = nearest(dataset, names)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "see `hydrapicker heads` for all"
    return UnknownHeadError(f"no head named {dataset!r} in the registry {without_login(tracking_uri)}: {hint}")


def unknown_version(dataset: str, wanted: int, existing: Iterable[int]) -> HeadNotFoundError:
    """Return the error for a version that a dataset's head does not have."""
    numbers = ", ".join(str(number) for number in sorted(existing))
    return HeadNotFoundError(f"head {dataset!r} has no version {wanted}: there is {numbers}")


def retired_head(found: HeadVersion) -> HeadNotFoundError:
    """Return the error for a head that is asked for by name or alias and was retired."""
    name, number = found.dataset, found.version
    return HeadNotFoundError(
        f"head {name!r} was retired: ask for version {number} to use it all the same, or bring it back with "
        f"`hydrapicker heads promote {name} --version {number}`"
    )


def unknown_alias(dataset: str, wanted: str, aliases: dict[str, int], newest: int) -> HeadNotFoundError:
    """Return the error for an alias that no version of a dataset's head carries."""
    ways = [f"{dataset}@{alias}" for alias in sorted(aliases)] + [f"version {newest}"]
    return HeadNotFoundError(f"head {dataset!r} has no {wanted} yet: ask for {' or '.join(ways)}")
