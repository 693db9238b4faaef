"""``hydrapicker heads export`` and ``import``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from hydrapicker.cli.console import say
from hydrapicker.cli.parse import parse

if TYPE_CHECKING:
    from hydrapicker_registry.package import StoredPackage


@dataclass(frozen=True)
class ExportConfig:
    """Write a head with its trunk to a folder or a zip file, for a registry that cannot reach this one.

    Attributes:
        name: The head; NAME@challenger or NAME@3 for another version than the champion.
        out: A new folder, or a new file that ends in .zip.
    """

    name: Positional[str]
    out: Path


@dataclass(frozen=True)
class ImportConfig:
    """Check an exported head and register it with its trunk: as champion where its dataset has none, else challenger.

    Attributes:
        path: The folder or zip file.
    """

    path: Positional[Path]


def run(verb: str, arguments: list[str]) -> int:
    """Write a head to files, or register one from files."""
    return {"export": _export, "import": _import}[verb](arguments)


def _export(arguments: list[str]) -> int:
    config = parse(ExportConfig, "heads export", arguments)
    from hydrapicker_registry.archive import export_head
    from hydrapicker_registry.registry import HeadRegistry

    loaded = HeadRegistry().load(config.name)
    export_head(loaded, config.out)
    say(f"wrote {loaded.version.dataset} version {loaded.version.version} with its trunk to {config.out}")
    return 0


def _import(arguments: list[str]) -> int:
    config = parse(ImportConfig, "heads import", arguments)
    from hydrapicker_registry.archive import open_archive

    with open_archive(config.path) as (head, trunk):
        say(_register(head, trunk))
    return 0


def _register(head: "StoredPackage", trunk: "StoredPackage") -> str:
    from hydrapicker.tracking import TrackedRun
    from hydrapicker_registry.package import HeadPackage
    from hydrapicker_registry.registry import HeadRegistry

    assert isinstance(head.package, HeadPackage)
    name, registry = head.package.metadata.dataset, HeadRegistry()
    versions = [version for version in registry.list_heads(retired=True) if version.dataset == name]
    for version in versions:
        if version.package_sha256 == head.sha256:
            return f"{name} is in the registry already, as version {version.version}: nothing was changed"
    run = TrackedRun(f"import-{name}", head.sha256, "import")
    registry.register_trunk(trunk, run.run_id)
    reigned = any("champion" in version.aliases for version in versions)
    number = registry.register_head(head, run.run_id, "challenger" if reigned else None)
    alias = "challenger" if reigned else registry.offer(name, number)
    run.end()
    return f"registered {name} version {number} as {alias}"
