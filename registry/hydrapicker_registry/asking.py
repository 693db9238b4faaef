"""``python -m hydrapicker_registry.asking NAME [VERSION]``: ask MLflow in a process of its own what a name stands for.

MLflow takes two seconds to import and some 170 MB that are never given back. A program that only wants a head and then
runs for hours has a helper ask, imports meanwhile what it needs itself, and takes the head from this machine's cache.
"""

import subprocess
import sys

from hydrapicker_registry.errors import HeadNotFoundError, PackageError, RegistryError
from hydrapicker_registry.reading import LoadedHead
from hydrapicker_registry.registry import HeadRegistry
from hydrapicker_registry.shipped.fallback import load_or_shipped, remember_or_shipped

__all__ = ["load_beside"]


def load_beside(name: str, version: int | None = None) -> LoadedHead:
    """As :func:`load_or_shipped`, but where the head is in this machine's cache, MLflow is not imported here.

    Where there is no registry, MLflow is not imported at all.

    Raises
    ------
    HeadNotFoundError, TrunkMismatchError, PackageError, RegistryError
        As there.
    """
    registry = HeadRegistry()
    if "mlflow" in sys.modules or not registry.exists():
        return load_or_shipped(registry, name, version)
    given = [name] if version is None else [name, str(version)]
    command = [sys.executable, "-P", "-m", "hydrapicker_registry.asking", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as helper:
        import torch  # noqa: F401  (meanwhile: the weights need it)

        said = helper.communicate()[0].strip()
    if helper.returncode == 0:
        try:
            loaded = load_or_shipped(registry, name, version, offline=True)
            if str(loaded.version.version) == said:  # a cache that cannot be written has an older answer
                return loaded
        except (HeadNotFoundError, PackageError, RegistryError):
            pass
    return load_or_shipped(registry, name, version)  # fetches what is not here yet, or says what is wrong


def _main() -> None:
    name, *version = sys.argv[1:]
    print(remember_or_shipped(HeadRegistry(), name, int(version[0]) if version else None).version)


if __name__ == "__main__":
    _main()
