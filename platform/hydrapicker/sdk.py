"""What is imported from Python: heads by name, as pickers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydrapicker.picking.picker import Picker
    from hydrapicker_registry.versions import HeadVersion


def load_head(
    name: str, *, version: int | None = None, alias: str | None = None, tracking_uri: str | None = None
) -> "Picker":
    """A head of the registry, with its trunk, ready to pick.

    Args:
        name: Of the head's dataset, or ``generic``; ``"NAME@ALIAS"`` is the same as giving the alias.
        version: Of the head in the registry.
        alias: ``champion`` (the default) or ``challenger``.
        tracking_uri: Of MLflow; None: MLFLOW_TRACKING_URI, or else ``./hydrapicker-data/mlflow.db``.

    Raises:
        HeadNotFoundError: When there is no such head, with the nearest names.
        TrunkMismatchError: When the trunk is not the one the head was trained on.
        PackageError: When the stored head is damaged or altered.
        RegistryError: When MLflow cannot be reached.
    """
    from hydrapicker.picking.picker import Picker
    from hydrapicker_registry.registry import HeadRegistry

    return Picker(HeadRegistry(tracking_uri).load(name, version, alias))


def list_heads(*, tracking_uri: str | None = None) -> "tuple[HeadVersion, ...]":
    """All versions of all heads, by name and then the newest first."""
    from hydrapicker_registry.registry import HeadRegistry

    return HeadRegistry(tracking_uri).list_heads()
