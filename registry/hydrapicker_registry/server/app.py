"""What ``mlflow server --app-name hydrapicker`` runs: MLflow with its logins and permissions, then our rules."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, g, request
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.server import app as mlflow_app
from mlflow.server import auth
from mlflow.server.handlers import _get_model_registry_store, _get_tracking_store
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
from starlette.routing import Mount

from hydrapicker_registry.names import OWNER_TAG
from hydrapicker_registry.server.rules import Model, Role, Write, refusal, snake_case
from hydrapicker_registry.server.settings import check_private_files

ROLES: dict[Role, str] = {"contributor": "EDIT", "maintainer": "MANAGE"}
"""The roles that this server makes in MLflow, and what each may do with all experiments and registered models."""

_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def create_app(app: Flask = mlflow_app) -> Any:
    """Return MLflow's server with login, permissions and rules, for uvicorn (MLflow's default) or gunicorn.

    Raises
    ------
    InvalidInputError
        When a file with a secret can be read by others.
    """
    check_private_files()
    server = auth.create_app(app)
    make_roles()
    # Registered after MLflow's own hook, which has asked for login and permission by then
    app.before_request(_judge)
    app.after_request(_record_owner)
    if server is not app:
        # What FastAPI would answer past Flask would be past these rules: uploads, jobs, gateway. Flask has the uploads.
        server.router.routes[:] = [route for route in server.router.routes if isinstance(route, Mount)]
    return server


def make_roles() -> None:
    """Make the roles in MLflow that are not there yet."""
    try:
        for name, permission in ROLES.items():
            if name not in {role.name for role in auth.store.list_roles([DEFAULT_WORKSPACE_NAME])}:
                role = auth.store.create_role(name, DEFAULT_WORKSPACE_NAME, "Of HydraPicker's registry")
                for resource in ("experiment", "registered_model"):
                    auth.store.add_role_permission(role.id, resource, "*", permission)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another worker was faster
            raise


class _Stored:
    """The facts that rules ask for, from MLflow's database."""

    def owner(self, run_id: str) -> str | None:
        run = _found(_get_tracking_store().get_run, run_id)
        return None if run is None else run.data.tags.get(OWNER_TAG)

    def model(self, model_id: str) -> Model | None:
        model = _found(_get_tracking_store().get_logged_model, model_id)
        if model is None:
            return None
        return Model(model.source_run_id, model.status.name == "PENDING", model.artifact_location)

    def run_of_version(self, name: str, version: str) -> str | None:
        found = _found(_get_model_registry_store().get_model_version, name, version)
        return None if found is None else found.run_id

    def has_tag(self, name: str, key: str) -> bool:
        model = _found(_get_model_registry_store().get_registered_model, name)
        return model is not None and key in model.tags


def _found(get: Any, *arguments: str) -> Any:
    try:
        return get(*arguments)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _judge() -> Response | None:
    if request.method in _READING_METHODS:
        return None
    user = getattr(g, "mlflow_authenticated_user", None)
    if user is None:
        return _refuse("nobody writes without a login")
    account = auth.store.get_user(user)
    if account.is_admin:
        return None
    try:
        fields = snake_case({**_body(), **(request.view_args or {})})
    except ValueError as error:
        return _refuse(f"the request {error}")
    reason = refusal(Write(request.endpoint or "", fields, user, _role(account.id)), _Stored())
    return None if reason is None else _refuse(reason)


def _role(user_id: int) -> Role:
    names = {role.name for role in auth.store.list_user_roles(user_id)}
    return "maintainer" if "maintainer" in names else "contributor" if "contributor" in names else "reader"


def _body() -> dict[str, Any]:
    """What the request says as MLflow reads it: an upload says nothing."""
    if request.endpoint == "_upload_artifact":
        return {}
    said = request.get_json(force=True, silent=True)
    if isinstance(said, str):  # MLflow reads JSON in a string too
        said = json.loads(said)
    if said is not None and not isinstance(said, dict):
        raise ValueError("is no JSON object")
    return said or {}


def _record_owner(response: Response) -> Response:
    if request.endpoint == "_create_run" and response.status_code == 200:
        run_id = response.get_json()["run"]["info"]["run_id"]
        store: Any = _get_tracking_store()
        store.set_tag(run_id, RunTag(OWNER_TAG, g.mlflow_authenticated_user))
    return response


def _refuse(reason: str) -> Response:
    error: Any = MlflowException(f"not permitted: {reason}", PERMISSION_DENIED)
    return Response(error.serialize_as_json(), status=403, mimetype="application/json")
