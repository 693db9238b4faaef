"""The one message for a micrograph whose stored bytes are not those that were ingested."""

from hydrapicker.errors import StoreError

__all__ = ["damaged"]


def damaged(dataset: str, version: str, shard: str, micrograph: str, reason: str) -> StoreError:
    """Build the error that names a damaged micrograph and says how to repair it.

    Parameters
    ----------
    dataset, version : str
        The dataset's name and its version, such as ``v0001``.
    shard : str
        The shard as the index names it.
    micrograph : str
        The micrograph's id.
    reason : str
        What is wrong, without a full stop, such as ``the checksum does not match``.
    """
    return StoreError(
        f"dataset {dataset} {version}, shard {shard}, micrograph {micrograph} is damaged ({reason}): run "
        f"hydrapicker datasets repair {dataset} --from FOLDER --version {version}, FOLDER being the folder with its "
        "original micrographs"
    )
