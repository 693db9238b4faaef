"""Writing an object of any size to S3, in parts, with the memory of one part."""

from contextlib import suppress
from typing import Any, Protocol

from hydrapicker.storage.faults import Fault, fault_of
from hydrapicker.storage.retry import RetryBudget, retried

__all__ = ["PART_BYTES", "S3Upload"]

PART_BYTES = 8 * 2**20
"""S3 takes 10,000 parts of at least 5 MiB, so an object may have 78 GiB."""


class _Call(Protocol):
    def __call__(self, method: str, **arguments: Any) -> dict[str, Any]: ...


class S3Upload:
    """An object being written; nobody sees it before it is whole.

    Where the process dies, or the answer to the very first request is lost, an unfinished upload stays behind.

    Parameters
    ----------
    call : callable
        Sends one request about the bucket.
    key : str
        Of the object.
    budget : RetryBudget
        For every part.
    """

    def __init__(self, call: _Call, key: str, budget: RetryBudget) -> None:
        self._call, self._key, self._budget = call, key, budget
        self._held = bytearray()
        self._sent = 0
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, content: bytes | bytearray | memoryview) -> None:
        rest = memoryview(content).cast("B")
        while rest:
            taken = rest[: PART_BYTES - len(self._held)]
            self._held += taken
            rest = rest[len(taken) :]
            if len(self._held) == PART_BYTES:
                self._send()

    def finish(self) -> None:
        try:
            if self._id is None:  # small enough for one request
                body = bytes(self._held)
                retried(lambda: self._call("put_object", Key=self._key, Body=body), self._budget)
                return
            if self._held:
                self._send()
            self._complete()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        self._held.clear()
        if self._id is not None:
            # Where even this fails, `hydrapicker datasets --clean` finds the upload.
            with suppress(Exception):
                self._call("abort_multipart_upload", Key=self._key, UploadId=self._id)

    def _send(self) -> None:
        if self._id is None:
            begun = retried(lambda: self._call("create_multipart_upload", Key=self._key), self._budget)
            self._id = begun["UploadId"]
        number, body = len(self._parts) + 1, bytes(self._held)
        part = {"Key": self._key, "UploadId": self._id, "PartNumber": number, "Body": body}
        answer = retried(lambda: self._call("upload_part", **part), self._budget)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._sent += len(self._held)
        self._held.clear()

    def _complete(self) -> None:
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            try:
                self._call(
                    "complete_multipart_upload",
                    Key=self._key,
                    UploadId=self._id,
                    MultipartUpload={"Parts": self._parts},
                )
            except Exception as error:
                # Only the end of an upload takes it away, so one that is gone at a second attempt is complete,
                # unless somebody aborted it.
                if attempts == 1 or fault_of(error) is not Fault.ABSENT or self._size() != self._sent:
                    raise

        retried(attempt, self._budget)
        self._id = None

    def _size(self) -> int:
        return int(self._call("head_object", Key=self._key)["ContentLength"])
