"""Reach MLflow: where it is, quietly, and with errors of our own."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydrapicker_core.errors import HydraPickerError
from hydrapicker_registry.errors import NotPermittedError, RegistryError
from hydrapicker_registry.quiet import quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_SERVER_TIMEOUT_SECONDS = 10


def default_tracking_uri() -> str:
    """Return `MLFLOW_TRACKING_URI`, or the database `./hydrapicker-data/mlflow.db` when that is not set."""
    default = Path.cwd() / "hydrapicker-data" / "mlflow.db"
    return os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE + default.as_posix()


def without_login(tracking_uri: str) -> str:
    """Return an address as it may be shown: without the name and password that it may hold."""
    return re.sub(r"(?<=://)[^/@]*@", "", tracking_uri)


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the database file of a `sqlite:///` address, None for any other address."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def artifact_location(tracking_uri: str) -> str | None:
    """Return where the files of new experiments go: beside a sqlite database; None lets a server decide."""
    database = sqlite_file(tracking_uri)
    return None if database is None else (database.parent / "artifacts").as_uri()


def open_client(tracking_uri: str) -> MlflowClient:
    """Return a client; a sqlite database that is not there yet is made.

    Raises
    ------
    RegistryError
        When the server does not answer or the database cannot be opened.
    """
    with talking_to(tracking_uri):
        database = sqlite_file(tracking_uri)
        if database is not None:
            _check_database(database)
            database.parent.mkdir(parents=True, exist_ok=True)
        elif tracking_uri.startswith(("http://", "https://")):
            _check_server(tracking_uri)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def ensure_experiment(tracking_uri: str, name: str) -> str:
    """Return the id of the MLflow experiment `name`, made with its files in the right place if need be.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached or refuses.
    """
    client = open_client(tracking_uri)
    with talking_to(tracking_uri):
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                created: str = client.create_experiment(name, artifact_location(tracking_uri))
                return created
            except MlflowException as error:
                found = client.get_experiment_by_name(name)  # somebody else was faster
                if found is None:
                    raise error
        return str(found.experiment_id)


@contextmanager
def talking_to(tracking_uri: str) -> Iterator[None]:
    """Keep MLflow quiet within the block and turn its errors into :class:`RegistryError`.

    Raises
    ------
    NotPermittedError
        When a server refuses what the login is not permitted to do.
    RegistryError
        For all else that goes wrong.
    """
    # Read by MLflow when it is imported and when it downloads; a user's own setting wins
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow.exceptions import MlflowException

    try:
        with quiet():
            yield
    except HydraPickerError:
        raise
    except (MlflowException, OSError) as error:
        denied = getattr(error, "error_code", "") == "PERMISSION_DENIED"
        kind = NotPermittedError if denied else RegistryError
        raise kind(f"MLflow at {without_login(tracking_uri)}: {_first_line(error)}{_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    code = getattr(error, "error_code", "")
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or "401" in str(error)[:200]:
        return "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user who may do this"
    return ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("PERMISSION_DENIED: ")[:300]


def _check_database(database: Path) -> None:
    # MLflow would try for minutes to open a file that is none of its own
    if database.is_dir():
        raise RegistryError(f"{database}: is a folder; name a database file in MLFLOW_TRACKING_URI")
    if database.is_file():
        with database.open("rb") as file:
            start = file.read(16)
        if start and start != b"SQLite format 3\0":
            raise RegistryError(f"{database}: not a sqlite database; check MLFLOW_TRACKING_URI")


def _check_server(tracking_uri: str) -> None:
    # MLflow would retry for minutes; any answer at all shows that somebody is there
    address = without_login(tracking_uri)
    try:
        with urllib.request.urlopen(address.rstrip("/") + "/health", timeout=_SERVER_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise RegistryError(
            f"MLflow at {address} does not answer ({reason}); check MLFLOW_TRACKING_URI and that it runs"
        ) from error
