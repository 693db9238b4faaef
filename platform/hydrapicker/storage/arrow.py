"""Places for files as Apache Arrow sees them, for programs that want an Arrow filesystem (Ray Train does)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import LocalFileSystem, S3FileSystem

from hydrapicker.errors import StoreError
from hydrapicker.storage.atomic import atomic_write
from hydrapicker.storage.location import Location

__all__ = ["AtomicLocalFileSystem", "arrow_filesystem"]

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")


class AtomicLocalFileSystem(LocalFileSystem):  # type: ignore[misc]  # pyarrow declares no types
    """Arrow's own, but for writing: a file appears whole or not at all, as an object in S3 does."""

    @contextmanager
    def open_output_stream(self, path: str, *options: Any, **named: Any) -> Iterator[Any]:
        """Give a stream; when the block fails, or the process is killed in it, an older file stays as it was."""
        with atomic_write(path) as temporary, super().open_output_stream(str(temporary), *options, **named) as stream:
            yield stream

    def __reduce__(self) -> tuple[type["AtomicLocalFileSystem"], tuple[()]]:
        return AtomicLocalFileSystem, ()  # Arrow's would come out of a pickle as its own class


def arrow_filesystem(location: Location) -> tuple[Any, str]:
    """A location's filesystem, and its path there.

    Endpoint and region are those that botocore finds, as for everything else here; the keys are found by each process
    for itself, so none are in a pickle.

    Raises:
        StoreError: When it is neither a folder nor in S3.
    """
    folder, in_s3 = location.local_folder, location.bucket_and_prefix
    if folder is not None:
        return AtomicLocalFileSystem(), str(folder)
    if in_s3 is None:
        raise StoreError(f"{location.url()}: nothing can be kept there; give a folder or s3://bucket/prefix")
    from botocore.session import Session

    client = Session().create_client("s3").meta
    endpoint = urlsplit(client.endpoint_url)
    elsewhere = not (endpoint.hostname or "").endswith(_AMAZON)
    server = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if elsewhere else {}
    return S3FileSystem(region=client.region_name, **server), "/".join(filter(None, in_s3))
