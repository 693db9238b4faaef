"""Packages on this machine's disk, by sha256: what was fetched once is not fetched again."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hydrapicker_registry.atomic import whole_folder
from hydrapicker_registry.errors import PackageError, RegistryError
from hydrapicker_registry.metadata import validate_sha256
from hydrapicker_registry.package import HeadPackage, TrunkPackage, read_package


def cache_folder() -> Path:
    """Return `HYDRAPICKER_CACHE`, or `~/.cache/hydrapicker` when that is not set."""
    return Path(os.environ.get("HYDRAPICKER_CACHE") or Path.home() / ".cache" / "hydrapicker")


def package_folder(sha256: str) -> Path:
    """Return where the cache keeps the package whose JSON has this sha256, whether it is there or not."""
    return cache_folder() / "packages" / validate_sha256(sha256)


def cached_package(sha256: str, fetch: Callable[[Path], None]) -> TrunkPackage | HeadPackage:
    """Return the package whose JSON has this sha256, from the cache or else through `fetch`.

    Parameters
    ----------
    sha256
        What :func:`hydrapicker_registry.package.write_package` returned.
    fetch
        Puts the package's files into an empty folder.

    Raises
    ------
    PackageError
        When what was fetched is not that package; it is not kept.
    RegistryError
        When the cache cannot be written.
    """
    folder = package_folder(sha256)
    if folder.is_dir():
        try:
            return read_package(folder, sha256=sha256)
        except PackageError:
            _discard(folder)  # damaged on this disk; the registry has a good one
    try:
        with whole_folder(folder) as scratch:
            fetch(scratch)
            try:
                package = read_package(scratch, sha256=sha256)
            except PackageError as error:  # a temporary name tells nobody anything
                raise PackageError(str(error).replace(f"{scratch}/", "")) from error
    except (PackageError, RegistryError):
        raise
    except OSError as error:
        if folder.is_dir():  # another process was faster
            return read_package(folder, sha256=sha256)
        raise RegistryError(
            f"{folder}: cannot be written ({error.strerror or error}); set HYDRAPICKER_CACHE to a writable folder"
        ) from error
    return package


def _discard(folder: Path) -> None:
    # renamed first, so that no other process sees half of it
    grave = Path(tempfile.mkdtemp(prefix=".discarded-", dir=folder.parent))
    try:
        folder.rename(grave / folder.name)
    except FileNotFoundError:
        pass  # another process was faster
    finally:
        shutil.rmtree(grave, ignore_errors=True)
