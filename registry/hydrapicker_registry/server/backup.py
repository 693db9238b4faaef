"""Save a registry's database and files to a folder, and put them into an empty server again.

``python -m hydrapicker_registry.server.backup save FOLDER``, or ``restore FOLDER``, with the server's settings.
The database is saved before the files and restored after them: a version is made after its files, and these never
change, so every version in the database has its files, also while others are contributing.
"""

import argparse
import configparser
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrapicker_core.errors import HydraPickerError
from hydrapicker_registry.errors import RegistryError
from hydrapicker_registry.server.settings import SETTINGS, check_private_files

_DUMP = "database.dump"
_FILES = "artifacts"
_AT_ONCE = 100


@dataclass(frozen=True)
class Settings:
    """Where a server keeps what it has.

    Attributes:
        database: Address of the database, which holds runs, versions and logins.
        artifacts: Address of the folder of all files, such as ``s3://bucket/artifacts``.
    """

    database: str
    artifacts: str

    @classmethod
    def of_environment(cls) -> "Settings":
        """Read the variables that the server is started with.

        Raises
        ------
        RegistryError
            When one is missing, or the logins are in another database, which would not be saved.
        """
        check_private_files()
        for name in SETTINGS:
            if not os.environ.get(name):
                raise RegistryError(f"{name} is not set: set it as for the server")
        database, artifacts, logins = (os.environ[name] for name in SETTINGS)
        config = configparser.ConfigParser(interpolation=None)
        config.read(logins)
        if _connection(config.get("mlflow", "database_uri", fallback="")) != _connection(database):
            raise RegistryError("the logins are in another database than the registry: give both the same database_uri")
        return cls(database, artifacts)


def save(settings: Settings, folder: Path) -> int:
    """Save everything to a folder, again into the same one where only what is new is copied; returns the files there.

    Raises
    ------
    RegistryError
        When the database or the files cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the database holds the logins' hashed passwords
    unfinished = folder / f"{_DUMP}.part"
    _postgres("pg_dump", settings, "--format=custom", "--file", str(unfinished))
    unfinished.replace(folder / _DUMP)
    remote, root = _files_of(settings)
    listed = _listed(remote, root)
    changed = [name for name, modified in listed.items() if _modified(folder / _FILES / name) != modified]
    for some in _portions(changed):
        targets = [folder / _FILES / name for name in some]
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        remote.get([f"{root}/{name}" for name in some], [str(target) for target in targets])
        for name, target in zip(some, targets, strict=True):
            os.utime(target, (listed[name], listed[name]))
    return len(listed)


def restore(settings: Settings, folder: Path) -> int:
    """Put what was saved into an empty database and an empty place for files; returns the number of files.

    Raises
    ------
    RegistryError
        When there is something in either already, or it cannot be written.
    """
    if not (folder / _DUMP).is_file():
        raise RegistryError(f"{folder}: holds no {_DUMP}; give a folder that `save` wrote")
    remote, root = _files_of(settings)
    if _listed(remote, root):
        raise RegistryError(f"{settings.artifacts}: holds files already; give an empty place")
    tables = _postgres("psql", settings, "-Atc", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    if tables.strip() != "0":
        raise RegistryError("the database holds tables already; give an empty one, before the server is first started")
    names = sorted(str(p.relative_to(folder / _FILES)) for p in (folder / _FILES).rglob("*") if p.is_file())
    for some in _portions(names):
        remote.put([str(folder / _FILES / name) for name in some], [f"{root}/{name}" for name in some])
    options = "--no-owner --exit-on-error --single-transaction --dbname"
    _postgres(
        "pg_restore", settings, *options.split(), _connection(settings.database)["PGDATABASE"], str(folder / _DUMP)
    )
    return len(names)


def _connection(database: str) -> Mapping[str, str]:
    """What leads PostgreSQL's programs to a database, as variables: a command line may be seen by others."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(database)
    except ArgumentError as error:
        raise RegistryError("the database's address is none: see registry/server/README.md") from error
    if not url.drivername.startswith("postgresql"):
        raise RegistryError(f"a {url.drivername} database is saved by copying its file; this is for PostgreSQL")
    parts = (url.host, url.port, url.username, url.password, url.database, url.query.get("sslmode"))
    names = "PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE".split()
    return {name: str(value) for name, value in zip(names, parts, strict=True) if value}


def _postgres(program: str, settings: Settings, *arguments: str) -> str:
    environment = {**os.environ, **_connection(settings.database)}
    try:
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RegistryError(f"{program} is not here: apt-get install postgresql-client") from error
    if done.returncode:
        raise RegistryError(f"{program}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return done.stdout


def _files_of(settings: Settings) -> tuple[Any, str]:
    import fsspec

    remote, root = fsspec.core.url_to_fs(settings.artifacts)
    return remote, str(root).rstrip("/")


def _listed(remote: Any, root: str) -> dict[str, float]:
    """Name and time of change of all files below a folder."""
    remote.invalidate_cache()
    try:
        found = remote.find(root, detail=True)
    except OSError as error:
        raise RegistryError(f"{root}: cannot be read ({error})") from error
    return {path[len(root) + 1 :]: _time(entry) for path, entry in found.items()}


def _time(entry: Mapping[str, Any]) -> float:
    when = entry.get("LastModified", entry.get("mtime"))
    return float(when.timestamp() if hasattr(when, "timestamp") else when)


def _modified(file: Path) -> float | None:
    return file.stat().st_mtime if file.is_file() else None


def _portions(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser("python -m hydrapicker_registry.server.backup", description=__doc__)
    parser.add_argument("verb", choices=("save", "restore"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        count = {"save": save, "restore": restore}[given.verb](Settings.of_environment(), given.folder)
    except HydraPickerError as error:
        print(str(error), file=sys.stderr)
        return 1
    print(f"{given.verb}d the database and {count} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
