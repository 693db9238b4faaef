"""Which datasets a store has, and which versions each of them has."""

from hydrapicker.errors import InvalidInputError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.layout import MANIFEST, Manifest
from hydrapicker_registry.names import validate_dataset_name

__all__ = ["possible_names", "read_manifest"]


def read_manifest(location: Location, dataset: str) -> tuple[Manifest, str | None]:
    """Read a dataset's manifest and the tag to replace it by; one without versions and None where there is none yet.

    Raises
    ------
    StoreError
        When the store cannot be read, or what is there is not this dataset's manifest.
    """
    path = f"{dataset}/{MANIFEST}"
    found = location.read_tagged(path)
    if found is None:
        return Manifest(dataset, "", {}), None
    content, tag = found
    manifest = Manifest.from_bytes(content, location.url(path))
    if manifest.name != dataset:
        raise StoreError(
            f"{location.url(path)}: this is dataset {manifest.name}, in a folder of another name; "
            f"rename the folder to {manifest.name}, or ingest it as {dataset} anew"
        )
    return manifest, tag


def possible_names(location: Location) -> tuple[str, ...]:
    """List the names in a store's folder that datasets may have, sorted; there may be other folders and files."""
    return tuple(filter(_may_be_dataset, location.names()))


def _may_be_dataset(name: str) -> bool:
    try:
        return bool(validate_dataset_name(name))
    except InvalidInputError:
        return False
