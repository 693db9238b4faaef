"""Reading byte ranges straight into memory that the caller provides, by the fastest way a kind of place has.

Local folders are read by :mod:`~hydrapicker.storage.ranges_local`, S3 by :mod:`~hydrapicker.storage.ranges_s3`;
everything else, and S3 behind a proxy or without credentials, through fsspec.
"""

from hydrapicker.errors import StoreError
from hydrapicker.storage.faults import Fault, fault_of
from hydrapicker.storage.location import Location
from hydrapicker.storage.ranges import NotThereError, RangeReader
from hydrapicker.storage.ranges_local import LocalRanges
from hydrapicker.storage.retry import RetryBudget

__all__ = ["range_reader"]


def range_reader(location: Location, connections: int, retry: RetryBudget | None = None) -> RangeReader:
    """Make the fastest reader there is for a store.

    Parameters
    ----------
    location : Location
        The store.
    connections : int
        Threads that will read at once.
    retry : RetryBudget, optional
        How long requests to S3 are tried again; by default as the location has it.

    Raises
    ------
    StoreAccessError
        When no credentials can be had for S3.
    """
    if location.local_folder is not None:
        return LocalRanges(location.local_folder)
    if location.bucket_and_prefix is not None:
        from hydrapicker.storage.ranges_s3 import s3_ranges

        direct = s3_ranges(location, connections, retry or location.retry)
        if direct is not None:
            return direct
    return _AnyRanges(location)


class _AnyRanges:
    """Through fsspec, with one copy more."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def read_into(self, path: str, offset: int, *buffers: memoryview) -> None:
        length = sum(map(len, buffers))
        try:
            content = memoryview(self._location.read_range(path, offset, length))
        except StoreError as error:
            if fault_of(error) is Fault.ABSENT:
                raise NotThereError(self._location.url(path), "no such file") from error
            raise
        if len(content) != length:
            raise NotThereError(self._location.url(path), f"the file ends at byte {offset + len(content)}")
        for buffer in buffers:
            buffer[:], content = content[: len(buffer)], content[len(buffer) :]

    def close(self) -> None:
        pass
