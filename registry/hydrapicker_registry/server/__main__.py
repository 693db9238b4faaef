"""Start the server on loopback: ``python -m hydrapicker_registry.server [options of mlflow server]``.

What can be wrong with its settings is said once and here, and not again and again by workers that cannot start.
"""

import os
import sys

from hydrapicker_core.errors import HydraPickerError, InvalidInputError
from hydrapicker_registry.server.settings import SETTINGS, check_private_files

_OURS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # several processes that nothing of ours asks anything of
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",  # what has no permission of its own is refused
}


def main(arguments: list[str]) -> int:
    """Check the settings, make admin and roles, and become ``mlflow server``."""
    try:
        for name in SETTINGS:
            if not os.environ.get(name):
                raise InvalidInputError(f"{name} is not set: see registry/server/README.md")
        check_private_files()
        _prepare_logins()
    except HydraPickerError as error:
        print(str(error), file=sys.stderr)
        return 1
    options = "--app-name hydrapicker --host 127.0.0.1 --workers 2".split()
    command = [sys.executable, "-m", "mlflow", "server", *options, *arguments]
    os.execve(sys.executable, command, {**_OURS, **os.environ})


def _prepare_logins() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.server import auth
    from sqlalchemy.exc import SQLAlchemyError

    from hydrapicker_registry.server.app import make_roles

    try:
        auth.get_flask_server_secret_key()
        auth.bootstrap_admin_user()
        make_roles()
    except (MlflowException, SQLAlchemyError) as error:
        raise InvalidInputError(str(error).strip().splitlines()[0]) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
