"""What the server is told by its environment, and that files with secrets are their owner's alone."""

import os
from pathlib import Path

from hydrapicker_core.errors import InvalidInputError

SETTINGS = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_AUTH_CONFIG_PATH")
"""What has to be set: where the database is, where files go, and who may log in."""

_NAMED_BY = ("MLFLOW_AUTH_CONFIG_PATH", "PGPASSFILE", "AWS_SHARED_CREDENTIALS_FILE")


def check_private_files() -> None:
    """Look at the files with secrets that the environment names.

    Raises
    ------
    InvalidInputError
        When others may read or write one of them, or it is not there.
    """
    for variable in _NAMED_BY:
        if not (name := os.environ.get(variable)):
            continue
        path = Path(name)
        if not path.is_file():
            raise InvalidInputError(f"{path}: not there; {variable} names it")
        if path.stat().st_mode & 0o077:
            raise InvalidInputError(f"{path}: others may read it; `chmod 600 {path}`")
