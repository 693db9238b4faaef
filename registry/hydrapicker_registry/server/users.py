"""Who may log in, and as what: ``python -m hydrapicker_registry.server.users add NAME --role contributor``.

The server is where MLFLOW_TRACKING_URI says; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are the admin's.
The new user's password is asked for, or read from a pipe: on a command line others could see it.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING

from hydrapicker_core.errors import HydraPickerError, InvalidInputError
from hydrapicker_registry.connection import default_tracking_uri, open_client, talking_to

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

_WORKSPACE = "default"
_ROLES = ("contributor", "maintainer")


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser("python -m hydrapicker_registry.server.users", description="Logins and roles.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="print who may log in")
    add = verbs.add_parser("add", help="make a login, or give one that is there another role")
    add.add_argument("name")
    add.add_argument("--role", choices=("reader", *_ROLES), default="reader")
    remove = verbs.add_parser("remove", help="take a login away; what it registered stays")
    remove.add_argument("name")
    given = parser.parse_args(arguments)
    uri = default_tracking_uri()
    try:
        if not uri.startswith("http"):
            raise InvalidInputError(f"{uri} has no logins: set MLFLOW_TRACKING_URI to the server's address")
        open_client(uri)
        with talking_to(uri):
            from mlflow.server.auth.client import AuthServiceClient

            client = AuthServiceClient(uri)
            if given.verb == "add":
                _add(client, given.name, given.role)
            elif given.verb == "remove":
                client.delete_user(given.name)
            else:
                _list(client)
    except HydraPickerError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


def _add(client: AuthServiceClient, name: str, role: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_user(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_user(name, _password(name))
    roles = {each.name: each for each in client.list_roles(_WORKSPACE)}
    has = {each.name for each in client.list_user_roles(name)} & set(_ROLES)
    for other in has - {role}:
        client.unassign_role(name, roles[other].id)
    if role in _ROLES and role not in has:
        client.assign_role(name, roles[role].id)
    print(f"{name} is {role}")


def _password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass(f"Password for {name}: ")
    if getpass.getpass("Again: ") != password:
        raise InvalidInputError("the two differ: nothing was changed")
    return password


def _list(client: AuthServiceClient) -> None:
    answer = client._request("/api/2.0/mlflow/users/list", "GET")  # which the client has no method for
    for user in answer["users"]:
        roles = [role["name"] for role in user["roles"] if role["name"] in _ROLES]
        print(user["username"], "admin" if user["is_admin"] else " ".join(roles) or "reader")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
