"""Files of a store in a bucket of Amazon S3, or of any server that speaks its language."""

import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from functools import lru_cache
from typing import Any, TypeVar

from hydrapicker.errors import StoreAccessError, StoreChangedError
from hydrapicker.storage.backend import FileEntry, Upload
from hydrapicker.storage.faults import Fault, HttpStatusError, code_of, fault_of
from hydrapicker.storage.retry import RetryBudget, is_transient, retried
from hydrapicker.storage.s3_upload import S3Upload

__all__ = ["CONNECT_SECONDS", "READ_SECONDS", "S3Backend"]

CONNECT_SECONDS = 5
READ_SECONDS = 15
"""After so many seconds without a byte an answer counts as lost."""

_KEYS_PER_DELETE = 1000

T = TypeVar("T")


class S3Backend:
    """Objects of one bucket by ``bucket/key``; see :class:`~hydrapicker.storage.backend.Backend`.

    Parameters
    ----------
    bucket : str
        Its name. Endpoint and credentials are those that botocore finds in the AWS variables and configuration.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._bucket_is_there = False

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Send one request about the bucket, once."""

        async def ask(client: Any) -> Any:
            return await getattr(client, method)(Bucket=self.bucket, **arguments)

        return _answer(ask)

    def read(self, path: str) -> bytes:
        return self._get(path)[0]

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        try:
            return self._get(path, Range=f"bytes={offset}-{offset + length - 1}")[0]
        except Exception as error:
            if code_of(error) in ("InvalidRange", "416"):  # it begins behind the end, also of an empty object
                return b""
            raise

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        try:
            return self._get(path)
        except Exception as error:
            if fault_of(error) is Fault.ABSENT:
                return None
            raise

    def write(self, path: str, content: bytes) -> None:
        self._check_bucket()
        self.call("put_object", Key=self._key(path), Body=content)

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None, budget: RetryBudget) -> None:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}

        def attempt() -> None:
            self._check_bucket()
            try:
                self.call("put_object", Key=self._key(path), Body=content, **condition)
            except Exception as error:
                if fault_of(error) not in (Fault.CHANGED, Fault.ABSENT):
                    raise
                # The answer to an earlier attempt may have been lost, one of ours or one that aiohttp makes by
                # itself when a connection breaks: then it is our own success that is in the way.
                there = self.read_tagged(path)
                if there is None or there[0] != content:
                    raise StoreChangedError(path) from error

        retried(attempt, budget)

    def writer(self, path: str, budget: RetryBudget) -> S3Upload:
        self._check_bucket()
        return S3Upload(self.call, self._key(path), budget)

    def exists(self, path: str) -> bool:
        key = self._key(path)
        if key and self.size(path) is not None:
            return True
        found = self.call("list_objects_v2", Prefix=f"{key}/" if key else "", MaxKeys=1)
        return bool(found.get("Contents")) or not key

    def size(self, path: str) -> int | None:
        found = self.file(path)
        return None if found is None else found.bytes

    def file(self, path: str) -> FileEntry | None:
        try:
            found = self.call("head_object", Key=self._key(path))
            return FileEntry("", int(found["ContentLength"]), found["LastModified"].astimezone(UTC))
        except Exception as error:
            # The answer to a HEAD has no body: it does not tell a missing bucket from a missing object, nor
            # expired credentials from a lack of permission. Another request finds out.
            if fault_of(error) is Fault.ABSENT:
                self._check_bucket()
                return None
            if not is_transient(error):
                self.call("list_objects_v2", MaxKeys=1)
            raise

    def names(self, path: str) -> list[str]:
        prefix = self._prefix(path)
        found = set()
        for page in self._pages(prefix, Delimiter="/"):
            found |= {entry["Key"] for entry in page.get("Contents", ())}
            found |= {entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", ())}
        return [name.removeprefix(prefix) for name in found if name.removeprefix(prefix)]

    def files(self, path: str, below: bool = True) -> list[FileEntry]:
        prefix = self._prefix(path)
        return [
            FileEntry(entry["Key"].removeprefix(prefix), int(entry["Size"]), entry["LastModified"].astimezone(UTC))
            for page in self._pages(prefix, **({} if below else {"Delimiter": "/"}))
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")  # the marks that some programs set to show a folder
        ]

    def remove(self, path: str) -> None:
        inside = [entry["Key"] for page in self._pages(self._prefix(path)) for entry in page.get("Contents", ())]
        keys = [*inside, self._key(path)]
        for start in range(0, len(keys), _KEYS_PER_DELETE):
            objects = [{"Key": key} for key in keys[start : start + _KEYS_PER_DELETE]]
            answer = self.call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise HttpStatusError(400, error.get("Code", ""), error.get("Message", ""))

    def unfinished_uploads(self, path: str) -> list[Upload]:
        prefix = self._prefix(path)
        found, more = [], {"Prefix": prefix}
        while True:
            page = self.call("list_multipart_uploads", **more)
            for entry in page.get("Uploads", ()):
                started = entry["Initiated"].astimezone(UTC)
                found.append(Upload(entry["Key"].removeprefix(prefix), entry["UploadId"], started))
            if not page.get("IsTruncated"):
                return found
            more["KeyMarker"] = page.get("NextKeyMarker") or page["Uploads"][-1]["Key"]
            more["UploadIdMarker"] = page.get("NextUploadIdMarker") or page["Uploads"][-1]["UploadId"]

    def abort_upload(self, path: str, upload_id: str) -> None:
        self.call("abort_multipart_upload", Key=self._key(path), UploadId=upload_id)

    def _get(self, path: str, **arguments: Any) -> tuple[bytes, str]:
        async def ask(client: Any) -> tuple[bytes, str]:
            answer = await client.get_object(Bucket=self.bucket, Key=self._key(path), **arguments)
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

        return _answer(ask)

    def _pages(self, prefix: str, **arguments: str) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self.call("list_objects_v2", Prefix=prefix, **arguments, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _check_bucket(self) -> None:
        """Raise where there is no such bucket: some servers make one when they are asked to write there."""
        if not self._bucket_is_there:
            try:
                self.call("list_objects_v2", MaxKeys=1)
            except Exception as error:
                if fault_of(error) is not Fault.DENIED:  # to write without being allowed to list is no mistake
                    raise
            self._bucket_is_there = True

    def _key(self, path: str) -> str:
        return path.partition("/")[2]

    def _prefix(self, path: str) -> str:
        key = self._key(path)
        return f"{key}/" if key else ""


def _answer(ask: Callable[[Any], Awaitable[T]]) -> T:
    """Let the client of this process and of its present AWS variables ask."""
    from fsspec.asyn import sync

    filesystem = _filesystem(os.getpid(), _variables())

    async def ask_it() -> T:
        try:
            client = await filesystem.set_session()
        except ValueError as error:
            if type(error) is not ValueError:
                raise
            raise StoreAccessError(f"{error}; check AWS_ENDPOINT_URL, a URL such as https://s3.example.org") from error
        return await ask(client)

    return sync(filesystem.loop, ask_it)  # type: ignore[no-any-return]


def share_models(session: Any) -> None:
    """Let a botocore session know what the client has read of S3's interface; reading it takes a tenth of a second."""
    client_session = _filesystem(os.getpid(), _variables()).session
    if client_session is not None:
        session.register_component("data_loader", client_session.get_component("data_loader"))


def _variables() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))


@lru_cache(maxsize=4)
def _filesystem(process: int, variables: tuple[tuple[str, str], ...]) -> Any:
    """Make a client; whoever changes the variables gets another one, and a forked process one of its own."""
    import s3fs

    config = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "max_pool_connections": 32,
        "retries": {"total_max_attempts": 1},  # all trying again is ours, within one stated budget
    }
    return s3fs.S3FileSystem(config_kwargs=config, skip_instance_cache=True, use_listings_cache=False)
