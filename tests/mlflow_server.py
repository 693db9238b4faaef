"""A real registry server on loopback for the tests: PostgreSQL, and MLflow with login and HydraPicker's rules."""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import free_ports

_READY_SECONDS = 120
ADMIN = "admin"
ADMIN_PASSWORD = "the admin's, on loopback"

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
"""The programs of Debian's PostgreSQL, or None where there is none."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that answers on loopback; passwords are in a file that `environment` names, and in no address."""

    port: int
    environment: Mapping[str, str]

    def uri(self, database: str) -> str:
        return f"postgresql+psycopg://registry@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> None:
        self.run("createdb", database)

    def run(self, program: str, *arguments: object) -> str:
        """Run a client program of PostgreSQL; gives what it prints."""
        assert BINARIES is not None
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "registry"]
        command = [str(BINARIES / program), *where, *map(str, arguments)]
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Run PostgreSQL for as long as the context lasts: as root, as the user that Debian made for it."""
    assert BINARIES is not None
    user = "postgres" if os.getuid() == 0 else None
    own = Path(tempfile.mkdtemp(prefix="postgres-"))
    (port,) = free_ports(1)
    try:
        password, passwords = own / "password", folder / "pgpass"
        password.write_text(secrets.token_urlsafe(24))
        passwords.touch(mode=0o600)
        passwords.write_text(f"127.0.0.1:{port}:*:registry:{password.read_text()}\n")
        if user:
            for path in (own, password):
                shutil.chown(path, user, user)
        data = own / "data"
        init = f"{BINARIES}/initdb -D {data} -U registry --auth scram-sha-256 --pwfile {password} -E UTF8 --no-sync"
        subprocess.run(init.split(), user=user, cwd=own, check=True, stdout=subprocess.DEVNULL)
        settings = f"-p {port} -k {own} -c listen_addresses=127.0.0.1 -c fsync=off"
        with (folder / "postgres.log").open("wb") as log:
            process = subprocess.Popen(
                [f"{BINARIES}/postgres", "-D", str(data), *settings.split()], user=user, cwd=own, stderr=log, stdout=log
            )
        try:
            server = Postgres(port, {"PGPASSFILE": str(passwords)})
            _until_ready(
                process, folder / "postgres.log", lambda: server.run("psql", "-d", "postgres", "-c", "SELECT 1")
            )
            yield server
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(own, ignore_errors=True)


@dataclass(frozen=True)
class RegistryServer:
    """A server that answers.

    Attributes:
        uri: Of MLflow.
        settings: The variables it was started with.
        log: What it wrote.
    """

    uri: str
    settings: Mapping[str, str]
    log: Path


def server_settings(
    folder: Path, database: Postgres, name: str, artifacts: str, s3: Mapping[str, str]
) -> dict[str, str]:
    """What registry/server/registry.env has, for an own database and place for files; `folder` is made."""
    folder.mkdir(parents=True)
    logins = folder / "auth.ini"
    logins.touch(mode=0o600)
    logins.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database.uri(name)}\nauth_cache_ttl_seconds = 30\n"
    )
    return {
        **s3, **database.environment,
        "MLFLOW_BACKEND_STORE_URI": database.uri(name), "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_AUTH_CONFIG_PATH": str(logins), "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
    }  # fmt: skip


@contextmanager
def registry_server(folder: Path, settings: Mapping[str, str], *options: str) -> Iterator[RegistryServer]:
    """Run the server as registry/server/README.md has it, for as long as the context lasts."""
    (port,) = free_ports(1)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "hydrapicker_registry.server", "--port", str(port), "--workers", "1", *options]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env={**inherited, **settings}, stdout=out, stderr=out)
    try:
        uri = f"http://127.0.0.1:{port}"
        _until_ready(process, log, lambda: urllib.request.urlopen(f"{uri}/health", timeout=5).close())
        yield RegistryServer(uri, settings, log)
    finally:
        process.terminate()
        process.wait(30)


def _until_ready(process: "subprocess.Popen[bytes]", log: Path, ask: object) -> None:
    assert callable(ask)
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            ask()
        except (AssertionError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(log.read_text(errors="replace")[-4000:])


def call(
    server: RegistryServer, login: tuple[str, str], method: str, path: str, body: object = None
) -> tuple[int, Any]:
    """Ask a server as MLflow's clients do; gives the status, and the answer, as JSON where it is some."""
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    token = base64.b64encode(":".join(login).encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": kind}
    asked = urllib.request.Request(f"{server.uri}{path}", data=raw, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            status, said = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, said = error.code, error.read()
    try:
        return status, json.loads(said)
    except ValueError:
        return status, said.decode(errors="replace")
