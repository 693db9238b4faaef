"""Byte ranges from stores of every kind, and from an S3 server that misbehaves."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreAccessError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.storage.open_ranges import range_reader
from hydrapicker.storage.ranges import NotThereError
from hydrapicker.storage.retry import RetryBudget

CONTENT = np.random.default_rng(0).bytes(3_000_000)
PATH = "toy/v0001/a b+ü%41.shard"
QUICK = RetryBudget(seconds=30, first_pause=0.01, longest_pause=0.1)


@pytest.fixture(params=["local", "memory", "s3"])
def location(request, tmp_path) -> Location:
    roots = {"local": lambda: str(tmp_path), "memory": lambda: f"memory://{uuid4().hex}"}
    roots["s3"] = lambda: f"s3://{request.getfixturevalue('bucket')}/some/prefix"
    location = Location(roots[request.param]())
    location.write(PATH, CONTENT)
    return location


@pytest.fixture
def on_s3(bucket) -> str:
    root = f"s3://{bucket}/some/prefix"
    Location(root).write(PATH, CONTENT)
    return root


@contextmanager
def reading(location: Location, retry: RetryBudget | None = None):
    reader = range_reader(location, 4, retry)
    try:
        yield reader
    finally:
        reader.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read(reader, offset: int, *lengths: int, path: str = PATH) -> list[bytes]:
    buffers = [bytearray(length) for length in lengths]
    reader.read_into(path, offset, *map(memoryview, buffers))
    return [bytes(buffer) for buffer in buffers]


def test_ranges_fill_the_buffers_one_after_the_other(location):
    with reading(location) as reader:
        for offset, lengths in [(0, (10,)), (17, (1, 0, 2_000_000, 5)), (2_999_999, (1,)), (0, (3_000_000,))]:
            bounds = np.cumsum([offset, *lengths])
            expected = [CONTENT[start:stop] for start, stop in pairwise(bounds)]
            assert read(reader, offset, *lengths) == expected
        assert read(reader, 5, *[3] * 2_000) == [CONTENT[5 + 3 * n : 8 + 3 * n] for n in range(2_000)]


def test_many_threads_at_once(location):
    wrong = []
    with reading(location) as reader:

        def work(seed: int) -> None:
            for offset in np.random.default_rng(seed).integers(0, 2_900_000, size=20).tolist():
                if read(reader, offset, 100_000) != [CONTENT[offset : offset + 100_000]]:
                    wrong.append(offset)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_file_that_is_too_short(location):
    with reading(location) as reader:
        for offset, length in [(2_999_990, 11), (3_000_000, 1), (4_000_000, 7)]:
            with pytest.raises(NotThereError, match="file ends") as caught:
                read(reader, offset, length)
            assert "toy/v0001" in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_file_that_is_missing(location):
    with reading(location) as reader, pytest.raises(NotThereError, match="no such file"):
        read(reader, 0, 1, path="toy/v0001/00001.shard")


def test_a_path_out_of_the_store_is_refused(location):
    with reading(location) as reader:
        for path in ("../secret", "/etc/passwd", "toy/../../secret"):
            with pytest.raises(StoreError, match="not to be trusted"):
                read(reader, 0, 1, path=path)


def test_a_local_file_cut_short_while_it_is_open(tmp_path):
    location = Location(str(tmp_path))
    location.write(PATH, CONTENT)
    with reading(location) as reader:
        assert read(reader, 0, 10) == [CONTENT[:10]]
        os.truncate(tmp_path / PATH, 1_000_000)
        with pytest.raises(NotThereError, match="the file ends at byte 1000000"):
            read(reader, 500_000, 1_000_000)


def test_local_files_are_closed(tmp_path):
    location = Location(str(tmp_path))
    for number in range(200):
        location.write(f"{number}", b"content")
    before = open_files()
    with reading(location) as reader:
        for number in range(200):
            read(reader, 0, 7, path=f"{number}")
        assert open_files() <= before + 128
    assert open_files() == before


@pytest.mark.parametrize("kind", ["slow_down", "reset", "lost_answer", "truncated"])
def test_what_may_pass_is_tried_again(on_s3, s3, monkeypatch, kind):
    with fault_proxy(s3.endpoint, {kind: 0.5}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with reading(Location(on_s3), QUICK) as reader:
            for offset in range(0, 400_000, 20_000):
                assert read(reader, offset, 20_000) == [CONTENT[offset : offset + 20_000]]
        assert proxy.injected[kind] > 5


def test_connections_and_signatures_are_used_again(on_s3, s3, monkeypatch):
    signed, connected, connect = set(), [], HTTPConnection.connect

    def counted(connection: HTTPConnection) -> None:
        connected.append(connection)
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", counted)
    with fault_proxy(s3.endpoint, {"flipped": 1.0}, only=lambda method, target: bool(signed.add(target))) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with reading(Location(on_s3)) as reader:
            for offset in range(20):
                read(reader, offset, 100)
        assert proxy.requests.total() == 20
    assert (len(signed), len(connected)) == (1, 1)


def test_a_dead_server_is_one_line_after_the_budget(on_s3, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with reading(Location(on_s3), RetryBudget(0.5, 0.05, 0.1)) as reader, pytest.raises(StoreError) as caught:
            read(reader, 0, 10)
    assert "\n" not in str(caught.value)
    assert "does not answer as it should" in str(caught.value)
    assert ", tried " in str(caught.value)
    assert "X-Amz" not in str(caught.value)


def test_a_missing_bucket_is_told_from_a_missing_file(s3, bucket):
    with (
        reading(Location(f"s3://{bucket}-no/x")) as reader,
        pytest.raises(StoreAccessError, match="there is no bucket"),
    ):
        read(reader, 0, 10)


def test_wrong_and_expired_credentials(on_s3, s3, monkeypatch):
    with fault_proxy(s3.endpoint, {"expired": 1.0}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with reading(Location(on_s3)) as reader, pytest.raises(StoreAccessError, match="have expired") as caught:
            read(reader, 0, 10)
        assert proxy.requests.total() == 1
    assert "X-Amz" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with reading(Location(on_s3)) as reader, pytest.raises(StoreAccessError, match="AWS_SECRET_ACCESS_KEY") as caught:
        read(reader, 0, 10)
    assert "X-Amz" not in str(caught.value)


def test_a_signature_that_expired_is_made_anew(on_s3, s3, monkeypatch):
    """As when credentials of an hour are renewed by themselves: the old URL is refused, a new one is not."""
    refused = [False, True, False]
    with fault_proxy(s3.endpoint, {"expired": 1.0}, only=lambda method, target: refused.pop(0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with reading(Location(on_s3), RetryBudget(0)) as reader:
            assert read(reader, 0, 10) == [CONTENT[:10]]
            assert read(reader, 10, 10) == [CONTENT[10:20]]
            assert proxy.injected["expired"] == 1


class Elsewhere(BaseHTTPRequestHandler):
    """Answers as Amazon does, for a bucket in eu-central-1; closes connections that are idle for half a second."""

    protocol_version = "HTTP/1.1"
    timeout = 0.5
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        right = "eu-central-1" in self.path
        self.send_response(206 if right else 400)
        self.send_header("x-amz-bucket-region", "eu-central-1")
        body = b"x" * 100 if right else b"<Error><Code>AuthorizationQueryParametersError</Code></Error>"
        if right:
            self.send_header("Content-Range", "bytes 0-99/100")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere(monkeypatch, s3):
    Elsewhere.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        with reading(Location("s3://bucket/prefix"), RetryBudget(seconds=0)) as reader:
            yield reader
        server.shutdown()


def test_the_region_is_the_one_that_the_server_names(elsewhere):
    with ThreadPoolExecutor(4) as pool:  # all of the first four may be signed for the wrong one
        assert list(pool.map(lambda number: read(elsewhere, 0, 100, path=f"{number}"), range(8))) == [[b"x" * 100]] * 8
    wrong = [path for path in Elsewhere.requests if "eu-central-1" not in path]
    assert 1 <= len(wrong) <= 4


def test_connections_that_the_server_closed_cost_no_pause(elsewhere):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: read(elsewhere, 0, 100, path=f"{number}"), range(8)))
    time.sleep(1.0)
    assert read(elsewhere, 0, 100) == [b"x" * 100]  # with no budget to try again in


def test_closing_ends_a_stall(on_s3, s3, monkeypatch):
    with fault_proxy(s3.endpoint, {"stall": 1.0}, stall_seconds=60) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        reader = range_reader(Location(on_s3), 2)
        errors = []

        def work() -> None:
            try:
                read(reader, 0, 100_000)
            except StoreError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 10
        while proxy.injected["stall"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        reader.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(errors) == 1


def test_without_credentials_fsspec_says_so(on_s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with reading(Location(on_s3)) as reader, pytest.raises(StoreAccessError):
        read(reader, 0, 10)


def test_behind_a_proxy_fsspec_reads(on_s3, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert type(range_reader(Location(on_s3), 2)).__name__ == "_AnyRanges"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with reading(Location(on_s3)) as reader:
        assert type(reader).__name__ == "_S3Ranges"
        assert read(reader, 0, 10) == [CONTENT[:10]]
