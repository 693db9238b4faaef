"""What is imported from Python: heads by name, as pickers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydrapicker.picking.picker import Picker
    from hydrapicker_registry.registry import HeadRecord
    from hydrapicker_registry.versions import HeadVersion


def load_head(
    name: str,
    *,
    version: int | None = None,
    alias: str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
) -> "Picker":
    """A head of the registry, with its trunk, ready to pick.

    ``generic`` is the one shipped with HydraPicker where the registry holds no generic head, or where there is no
    registry at all; one that does not answer is an error.

    What was loaded once stays in a cache on this machine (HYDRAPICKER_CACHE, or else ``~/.cache/hydrapicker``): from
    then on only what the name stands for is asked of MLflow, and offline not even that.

    Args:
        name: Of the head's dataset, or ``generic``; ``"NAME@challenger"`` is the same as giving the alias, and
            ``"NAME@3"`` as giving the version.
        version: Of the head in the registry.
        alias: ``champion`` (the default) or ``challenger``.
        tracking_uri: Of MLflow; None: MLFLOW_TRACKING_URI, or else ``./hydrapicker-data/mlflow.db``.
        offline: Take what this machine loaded last under that name, without asking MLflow.

    Raises:
        HeadNotFoundError: When there is no such head, with the nearest names; offline, when it was never loaded here.
        TrunkMismatchError: When the trunk is not the one the head was trained on.
        PackageError: When the stored head is damaged or altered.
        RegistryError: When MLflow cannot be reached.
    """
    from hydrapicker.picking.picker import Picker
    from hydrapicker_registry.registry import HeadRegistry
    from hydrapicker_registry.shipped.fallback import load_or_shipped

    return Picker.of(load_or_shipped(HeadRegistry(tracking_uri), name, version, alias, offline=offline))


def list_heads(*, retired: bool = False, tracking_uri: str | None = None) -> "tuple[HeadVersion, ...]":
    """All versions of all heads, by name and then the newest first; with ``retired`` also those no longer offered."""
    from hydrapicker_registry.registry import HeadRegistry

    return HeadRegistry(tracking_uri).list_heads(retired=retired)


def head_history(name: str, *, tracking_uri: str | None = None) -> "tuple[HeadRecord, ...]":
    """All versions of a head, the newest first: who made each and when, and when it was champion or challenger.

    Raises:
        HeadNotFoundError: When there is no such head, with the nearest names.
        RegistryError: When MLflow cannot be reached.
    """
    from hydrapicker_registry.registry import HeadRegistry

    return HeadRegistry(tracking_uri).history(name)
