"""Reading ranges from S3 by presigned URLs over plain connections, straight into the caller's memory.

botocore finds credentials and endpoint and signs, as it does for everything else here. The bytes then travel through
the standard library's HTTP client, which writes them where they belong; botocore and fsspec would copy them several
times in Python, at two to four times the processor's time per gigabyte.
"""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree

from hydrapicker.errors import StoreError
from hydrapicker.storage.faults import Fault, HttpStatusError, as_store_error, fault_of
from hydrapicker.storage.location import Location
from hydrapicker.storage.ranges import NotThereError, RangeReader, inside
from hydrapicker.storage.retry import RetryBudget, retried
from hydrapicker.storage.s3 import CONNECT_SECONDS, READ_SECONDS, share_models

__all__ = ["s3_ranges"]

_SLOWEST = 100_000
"""Bytes per second; an answer that takes longer, and the above on top, is given up as well."""
_SIGNED_SECONDS, _USED_SECONDS = 3600, 600
"""How long a signed URL holds, and how long it is used."""
_AT_ONCE = 3
"""How often a request is made before a pause, where what went wrong was ours to put right."""


class _AtOnceError(Exception):
    """Something was put right: the same request may be made at once."""


def s3_ranges(location: Location, connections: int, retry: RetryBudget) -> RangeReader | None:
    """Make a reader for S3; None where only fsspec can read (no credentials, or a proxy in between)."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    try:
        session = get_session()
        if session.get_credentials() is None:
            return None
        share_models(session)
        config = Config(signature_version="s3v4")
        urls = _SignedUrls(location, lambda region: session.create_client("s3", region, config=config))
        authority = session.get_config_variable("ca_bundle")
    except BotoCoreError as error:
        raise as_store_error(error, "read", location.url("")) from error
    endpoint = urlsplit(urls.endpoint)
    if endpoint.scheme in getproxies() and not proxy_bypass(endpoint.hostname or ""):
        return None
    return _S3Ranges(location, retry, urls, _Connections(authority, connections))


class _S3Ranges:
    def __init__(
        self, location: Location, retry: RetryBudget, urls: "_SignedUrls", connections: "_Connections"
    ) -> None:
        self._location, self._retry, self._urls, self._connections = location, retry, urls, connections
        self._closed = threading.Event()

    def read_into(self, path: str, offset: int, *buffers: memoryview) -> None:
        try:
            retried(lambda: self._get(path, offset, buffers), self._retry, sleep=self._pause)
        except NotThereError:
            raise
        except Exception as error:
            if fault_of(error) is Fault.ABSENT:
                raise NotThereError(self._location.url(path), "no such file") from error
            raise as_store_error(error, "read", self._location.url(path)) from error

    def close(self) -> None:
        self._closed.set()
        self._connections.close()

    def _pause(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise StoreError("the reader was closed")

    def _get(self, path: str, offset: int, buffers: tuple[memoryview, ...]) -> None:
        for _ in range(_AT_ONCE - 1):
            with suppress(_AtOnceError):
                return self._get_once(path, offset, buffers)
        try:
            return self._get_once(path, offset, buffers)
        except _AtOnceError as error:
            raise error.__cause__ or error from None

    def _get_once(self, path: str, offset: int, buffers: tuple[memoryview, ...]) -> None:
        length = sum(map(len, buffers))
        until = time.monotonic() + READ_SECONDS + length / _SLOWEST
        url, fresh = self._urls.get(path)
        with self._connections.lent(url) as (connection, used_before):
            try:
                answer = _ask(connection, url, offset, length)
            except (ConnectionError, http.client.BadStatusLine) as error:
                if not used_before:
                    raise
                self._connections.drop_idle()  # servers close what is idle; the others will be as dead as this one
                raise _AtOnceError from error
            if answer.status in (301, 307, 400, 403) and self._signs_better(path, url, fresh, answer):
                raise _AtOnceError from _refusal(answer)
            self._check(answer, path, offset, length)
            for buffer in buffers:
                _fill(answer, buffer, until)
            answer.close()  # all of it was read; the connection stays open

    def _signs_better(self, path: str, url: str, fresh: bool, answer: http.client.HTTPResponse) -> bool:
        """Sign anew where another signature may be accepted; tells whether there is a new one."""
        if self._urls.move_to(answer.headers.get("x-amz-bucket-region")):
            self._connections.drop_idle()  # a region may have a host of its own
            return True
        if not fresh and answer.status in (400, 403):  # signed with credentials that have expired or changed
            self._urls.forget(path)
            return True
        return self._urls.get(path)[0] != url  # by another thread, that had the same answer

    def _check(self, answer: http.client.HTTPResponse, path: str, offset: int, length: int) -> None:
        """See that the answer is the range that was asked for."""
        if answer.status == 206:
            described = answer.headers.get("Content-Range", "")
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", described)
            if found is None or int(found[1]) != offset:
                raise HttpStatusError(206, "", f"asked for byte {offset}, got {described or 'no Content-Range'}")
            if int(found[2]) - offset + 1 != length:
                raise NotThereError(self._location.url(path), f"the file ends at byte {int(found[2]) + 1}")
            if answer.length not in (None, length):
                raise ConnectionResetError(f"asked for {length} bytes, {answer.length} were announced")
        elif answer.status == 416:
            raise NotThereError(self._location.url(path), f"the file ends before byte {offset}")
        else:
            raise _refusal(answer)


class _SignedUrls:
    """One URL per file for some minutes, as signing takes as long as a small request."""

    def __init__(self, location: Location, client_in: Callable[[str | None], Any]) -> None:
        assert location.bucket_and_prefix is not None
        self._client_in = client_in
        self._client = client_in(None)
        self._lock = threading.Lock()
        self._bucket, self._prefix = location.bucket_and_prefix
        self._known: dict[str, tuple[str, float]] = {}

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return str(self._client.meta.endpoint_url)

    def move_to(self, region: str | None) -> bool:
        """Sign for the region in which the server says that the bucket is; False where that is done already."""
        with self._lock:
            if region is None or region == self._client.meta.region_name:
                return False
            self._client = self._client_in(region)
            self._known.clear()
            return True

    def get(self, path: str) -> tuple[str, bool]:
        """Give a file's URL, and whether it was signed just now."""
        url, until = self._known.get(path, ("", 0.0))
        if time.monotonic() < until:
            return url, False
        key = f"{self._prefix}/{inside(path)}" if self._prefix else inside(path)
        where = {"Bucket": self._bucket, "Key": key}
        url = self._client.generate_presigned_url("get_object", where, _SIGNED_SECONDS)
        self._known[path] = url, time.monotonic() + _USED_SECONDS
        return url, True

    def forget(self, path: str) -> None:
        self._known.pop(path, None)


class _Connections:
    """Connections that are used again; at most as many are kept as there are threads."""

    def __init__(self, authority: str | None, kept: int) -> None:
        self._authority, self._kept = authority, kept
        self._lock, self._closed = threading.Lock(), False
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()

    @contextmanager
    def lent(self, url: str) -> Iterator[tuple[http.client.HTTPConnection, bool]]:
        """Lend a connection, and say whether it was used before.

        It is used again only after a block that ends without an error.
        """
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the reader was closed")
            connection = self._idle.pop() if self._idle else self._new(url)
            self._busy.add(connection)
        used_before, in_order = connection.sock is not None, False
        try:
            if not used_before:
                _open(connection)
                if self._closed:
                    raise ConnectionAbortedError("the reader was closed")
            yield connection, used_before
            in_order = True
        except ssl.SSLCertVerificationError as error:  # its errno is none of the operating system's
            raise OSError(f"its certificate is not trusted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise ConnectionResetError(str(error.reason or error)) from error
        finally:
            with self._lock:  # once, for as soon as it is idle it may be lent to another thread
                self._busy.discard(connection)
                if in_order and not self._closed and len(self._idle) < self._kept:
                    self._idle.append(connection)
                else:
                    connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for connection in self._busy:
                with suppress(OSError, AttributeError):  # a thread that waits for bytes wakes up; it closes by itself
                    connection.sock.shutdown(socket.SHUT_RDWR)
        self.drop_idle()

    def drop_idle(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _new(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=CONNECT_SECONDS)
        from botocore.httpsession import get_cert_path

        trusted = ssl.create_default_context(cafile=self._authority or get_cert_path(True))
        return http.client.HTTPSConnection(host, parts.port, timeout=CONNECT_SECONDS, context=trusted)


def _open(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    connection.sock.settimeout(READ_SECONDS)


def _ask(connection: http.client.HTTPConnection, url: str, offset: int, length: int) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
    connection.request("GET", f"{parts.path}?{parts.query}", headers=wanted)
    return connection.getresponse()


def _fill(answer: http.client.HTTPResponse, buffer: memoryview, until: float) -> None:
    # By what one call of the operating system gives, so that an answer that trickles is seen to be slow; and without
    # the copy that `HTTPResponse.read1` would make.
    read = answer.readinto if answer.chunked else answer.fp.readinto1
    while buffer:
        count = read(buffer)
        if count == 0:
            raise ConnectionResetError(f"the answer ended {len(buffer)} bytes early")
        if time.monotonic() > until:
            raise TimeoutError(f"the answer came slower than {_SLOWEST // 1000} kB/s")
        buffer = buffer[count:]


def _refusal(answer: http.client.HTTPResponse) -> HttpStatusError:
    """Make an error of an answer that is none; S3 says in XML what it is."""
    content = answer.read(64 * 1024)
    try:
        said = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return HttpStatusError(answer.status, "", answer.reason)
    return HttpStatusError(answer.status, said.findtext(".//{*}Code") or "", said.findtext(".//{*}Message") or "")
