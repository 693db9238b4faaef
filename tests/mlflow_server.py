"""A real registry server on loopback for the tests: PostgreSQL, and MLflow with login and HydraPicker's rules."""

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

from lab import free_ports

_READY_SECONDS = 120
ADMIN = "admin"

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
"""The programs of Debian's PostgreSQL, or None where there is none."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that answers on loopback; passwords are in a file that `environment` names, and in no address."""

    port: int
    environment: Mapping[str, str]

    def uri(self, database: str) -> str:
        return f"postgresql://registry@127.0.0.1:{self.port}/{database}"

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
            _until_ready(process, folder / "postgres.log", lambda: server.run("psql", "-d", "postgres", "-c", "SELECT 1"))
            yield server
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(own, ignore_errors=True)


@dataclass(frozen=True)
class RegistryServer:
    """A server that answers, the admin's password, and what it wrote."""

    uri: str
    admin_password: str
    log: Path
    environment: Mapping[str, str]


@contextmanager
def registry_server(
    folder: Path, database: Postgres, name: str, artifacts: str, s3: Mapping[str, str], admin_password: str
) -> Iterator[RegistryServer]:
    """Run the server as registry/server/README.md has it, for as long as the context lasts."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    config = folder / "auth.ini"
    config.touch(mode=0o600)
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database.uri(name)}\nauth_cache_ttl_seconds = 30\n"
    )
    environment = {
        **s3, **database.environment,
        "MLFLOW_BACKEND_STORE_URI": database.uri(name), "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin_password, "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
    }  # fmt: skip
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "hydrapicker_registry.server", "--port", str(port), "--workers", "1"]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=inherited | environment, stdout=out, stderr=out)
    try:
        uri = f"http://127.0.0.1:{port}"
        _until_ready(process, log, lambda: urllib.request.urlopen(f"{uri}/health", timeout=5).close())
        yield RegistryServer(uri, admin_password, log, environment)
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
