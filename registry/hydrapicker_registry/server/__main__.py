"""Start the server on loopback: ``python -m hydrapicker_registry.server [options of mlflow server]``.

What can be wrong with its settings is said once and here, and not again and again by workers that cannot start.
"""

import os
import sys

from hydrapicker_core.errors import HydraPickerError

_SETTINGS = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_AUTH_CONFIG_PATH")


def main(arguments: list[str]) -> int:
    """Check the settings, make admin and roles, and become ``mlflow server``."""
    for name in _SETTINGS:
        if not os.environ.get(name):
            print(f"{name} is not set: see registry/server/README.md", file=sys.stderr)
            return 1
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_BASIC_AUTH_FAIL_CLOSED", "true")  # what has no permission of its own is refused
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    from mlflow.exceptions import MlflowException

    from hydrapicker_registry.server.private_files import check_private_files

    try:
        check_private_files()
        from mlflow.server import auth

        from hydrapicker_registry.server.app import make_roles

        auth.get_flask_server_secret_key()
        auth.bootstrap_admin_user()
        make_roles()
    except (HydraPickerError, MlflowException) as error:
        print(str(error), file=sys.stderr)
        return 1
    ours = "--app-name hydrapicker --host 127.0.0.1 --workers 2".split()
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *ours, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
