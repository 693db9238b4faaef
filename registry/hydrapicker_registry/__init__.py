"""The head registry of HydraPicker, on MLflow. Importing it loads neither torch nor mlflow."""

from hydrapicker_registry.connection import ensure_experiment
from hydrapicker_registry.errors import (
    ChampionChangedError,
    HeadNotFoundError,
    NotPermittedError,
    PackageError,
    RegistryError,
    TrunkMismatchError,
)
from hydrapicker_registry.metadata import (
    HeadInput,
    HeadMetadata,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkReference,
    utc_now,
)
from hydrapicker_registry.names import GENERIC, parse_head_reference, validate_dataset_name
from hydrapicker_registry.package import (
    HeadPackage,
    StoredPackage,
    TrunkPackage,
    open_package,
    read_package,
    write_package,
)
from hydrapicker_registry.registry import HeadRecord, HeadRegistry, LoadedHead
from hydrapicker_registry.versions import HeadVersion

__all__ = [
    "GENERIC",
    "ChampionChangedError",
    "HeadInput",
    "HeadMetadata",
    "HeadNotFoundError",
    "HeadPackage",
    "HeadRecord",
    "HeadRegistry",
    "HeadVersion",
    "LoadedHead",
    "NotPermittedError",
    "PackageError",
    "RegistryError",
    "StoredPackage",
    "Training",
    "TrunkInput",
    "TrunkMetadata",
    "TrunkMismatchError",
    "TrunkPackage",
    "TrunkReference",
    "ensure_experiment",
    "open_package",
    "parse_head_reference",
    "read_package",
    "utc_now",
    "validate_dataset_name",
    "write_package",
]
