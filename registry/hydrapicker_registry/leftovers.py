"""What processes left in MLflow that died while they registered: logged models that no version names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hydrapicker_registry import lookup
from hydrapicker_registry.connection import talking_to
from hydrapicker_registry.names import TRUNK_MODEL_NAME
from hydrapicker_registry.publish import MODEL_KINDS, model_id_of
from hydrapicker_registry.reading import RegistryReader

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

AGE = timedelta(hours=24)
"""What is younger may be what somebody is registering at this moment."""


@dataclass(frozen=True)
class Leftover:
    """A logged model that no version names.

    Attributes:
        model_id: In MLflow.
        name: Of what was registered: a dataset, or `trunk`.
        run_id: The run that was at it.
        created: When, in UTC.
        finished: Whether all its files are there; otherwise MLflow shows it as PENDING for ever.
    """

    model_id: str
    name: str
    run_id: str | None
    created: datetime
    finished: bool


def find_leftovers(registry: RegistryReader, older_than: timedelta = AGE) -> tuple[Leftover, ...]:
    """Return what was left, the oldest first.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached.
    """
    if not registry.exists():
        return ()
    before = datetime.now(UTC) - older_than
    with talking_to(registry.tracking_uri):
        client = registry.client
        # the models first: one that becomes a version in between is then among those that versions name
        models = [model for model in _logged_models(client) if _created(model) < before]
        versions = [*lookup.model_versions(client, f"name = '{TRUNK_MODEL_NAME}'"), *lookup.model_versions(client)]
        named = {model_id_of(version) for version in versions}
    left = [model for model in models if model.model_id not in named]
    found = [_leftover(model) for model in left]
    return tuple(sorted(found, key=lambda leftover: (leftover.created, leftover.model_id)))


def remove_leftovers(registry: RegistryReader, found: tuple[Leftover, ...]) -> None:
    """Remove leftovers with their files; their runs stay.

    Raises
    ------
    NotPermittedError
        On a server with logins, for all but maintainers.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with talking_to(registry.tracking_uri):
        for leftover in found:
            try:
                model = registry.client.get_logged_model(leftover.model_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                continue  # somebody else removed it
            # the files first: were this broken off, the logged model would lead to what is left of them
            repository: Any = get_artifact_repository(model.artifact_location, tracking_uri=registry.tracking_uri)
            if repository.list_artifacts():
                repository.delete_artifacts()
            registry.client.delete_logged_model(model.model_id)


def _logged_models(client: MlflowClient) -> Iterator[LoggedModel]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_logged_models(experiments, max_results=50, page_token=token)
        yield from (model for model in page if model.model_type in MODEL_KINDS)
        token = page.token
        if not token:
            return


def _created(model: LoggedModel) -> datetime:
    return datetime.fromtimestamp(model.creation_timestamp / 1000, UTC)


def _leftover(model: LoggedModel) -> Leftover:
    name = model.tags.get("dataset", "trunk")
    return Leftover(model.model_id, name, model.source_run_id, _created(model), str(model.status) == "READY")
