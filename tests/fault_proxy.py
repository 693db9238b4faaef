"""A proxy on loopback that stands between a client and an S3 server and does what networks do at their worst.

It passes requests on as they are, with the client's Host header, so that signatures stay valid.
"""

import random
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlsplit

KINDS = ("slow_down", "reset", "lost_answer", "truncated", "stall", "flipped", "expired")
_CHUNK = 256 * 1024
_ANSWERS = {
    "slow_down": (503, "Slow Down", "SlowDown", "Please reduce your request rate."),
    "expired": (400, "Bad Request", "ExpiredToken", "The provided token has expired."),
}


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        endpoint: Its URL, to be given to the client.
        rates: Probability per request of each kind of fault (see :func:`fault_proxy`); may be changed at any time.
        injected: How often each kind was injected.
        requests: How many requests came, by method.
        stall_seconds: How long a stall lasts.
        only: Faults befall only requests whose method and target (path and query) it says yes to.
    """

    endpoint: str
    rates: Mapping[str, float]
    seed: int
    stall_seconds: float
    only: Callable[[str, str], bool]
    injected: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, method: str, target: str) -> tuple[str | None, random.Random]:
        """Choose what befalls a request: a function of the seed and of how many came before."""
        unknown = set(self.rates) - set(KINDS)
        assert not unknown, f"no such fault: {unknown}"
        with self._lock:
            number = self.requests.total()
            self.requests[method] += 1
        chance = random.Random(f"{self.seed}:{number}")
        drawn = chance.random()
        for kind in KINDS:
            drawn -= self.rates.get(kind, 0.0)
            if drawn < 0:
                return (kind if self.only(method, target) else None), chance
        return None, chance

    def count(self, kind: str) -> None:
        with self._lock:
            self.injected[kind] += 1


@contextmanager
def fault_proxy(
    endpoint: str,
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
    stall_seconds: float = 2.0,
    only: Callable[[str, str], bool] = lambda method, target: True,
) -> Iterator[FaultProxy]:
    """Run a proxy to ``endpoint`` for as long as the context lasts.

    The kinds of faults: ``slow_down`` (503 with S3's XML), ``reset`` (the connection breaks before the request is
    passed on, before the answer, or in the middle of its body), ``lost_answer`` (the server does what it was asked
    to, and the connection breaks before the answer), ``truncated`` (the body ends before its Content-Length),
    ``stall``, ``flipped`` (one bit of the body of an object that is read), ``expired`` (the answer of Amazon S3 to
    expired credentials).
    """
    upstream = urlsplit(endpoint)
    proxy = FaultProxy("", dict(rates or {}), seed, stall_seconds, only)

    class Handler(_Handler):
        faults = proxy
        server_address = (upstream.hostname or "", upstream.port or 80)

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
            server.end_connections()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Be as dead to clients that keep connections as to others."""
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _Broken(Exception):
    """The connection to the client is to be ended; ``reset`` means by a reset."""

    def __init__(self, reset: bool) -> None:
        self.reset = reset


class _Handler(socketserver.StreamRequestHandler):
    """One client connection, with one connection of its own to the server."""

    faults: FaultProxy
    server_address: tuple[str, int]
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with socket.create_connection(self.server_address) as server, server.makefile("rb", _CHUNK) as answers:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while self._pass_on(server, answers):
                    pass
            except _Broken as broken:
                if broken.reset:
                    self._reset()
            except OSError:  # either side has gone
                pass

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def _reset(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.request.close()  # with nothing to linger for: the client gets a reset

    def _pass_on(self, server: socket.socket, answers: IO[bytes]) -> bool:
        """Serve one request; False when there are no more."""
        head = _read_head(self.rfile)
        if not head:
            return False
        method, target = head.split(b" ", 2)[:2]
        fields = _fields(head)
        if fields.get(b"expect") == b"100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        body = b"".join(_body(self.rfile, fields))
        kind, chance = self.faults.draw(method.decode(), target.decode())
        place = chance.choice(("before", "lost", "midway")) if kind == "reset" else ""
        if place == "before":
            self._break(kind)
        if kind in _ANSWERS:
            self.faults.count(kind)
            self._refuse(kind, with_body=method != b"HEAD")
            return True
        server.sendall(head + body)
        self._answer(method, answers, kind, place, chance)
        return True

    def _answer(self, method: bytes, answers: IO[bytes], kind: str | None, place: str, chance: random.Random) -> None:
        head = _read_head(answers)
        if not head:
            raise _Broken(reset=True)
        fields = _fields(head)
        status = int(head.split(b" ", 2)[1])
        length = int(fields.get(b"content-length", 0))
        bare = method == b"HEAD" or status in (204, 304)
        if kind == "lost_answer" or place == "lost":
            self._break(kind)
        if kind == "stall":
            self.faults.count(kind)
            time.sleep(self.faults.stall_seconds)
        self.wfile.write(head)
        if bare:
            return
        is_object = method == b"GET" and status in (200, 206) and fields.get(b"content-type") != b"application/xml"
        flip = chance.randrange(length) if kind == "flipped" and is_object and length else None
        stop = chance.randrange(length) if (kind == "truncated" or place == "midway") and length else None
        if flip is not None:
            self.faults.count("flipped")
        self._relay(_body(answers, fields), flip, stop, kind)

    def _relay(self, body: Iterator[bytes], flip: int | None, stop: int | None, kind: str | None) -> None:
        sent = 0
        for piece in body:
            if flip is not None and sent <= flip < sent + len(piece):
                changed = bytearray(piece)
                changed[flip - sent] ^= 1 << flip % 8
                piece = bytes(changed)
            if stop is not None and stop < sent + len(piece):
                self.wfile.write(piece[: stop - sent])
                self._break(kind, reset=kind == "reset")
            self.wfile.write(piece)
            sent += len(piece)

    def _break(self, kind: str | None, reset: bool = True) -> None:
        assert kind is not None
        self.faults.count(kind)
        raise _Broken(reset)

    def _refuse(self, kind: str, with_body: bool) -> None:
        status, phrase, code, message = _ANSWERS[kind]
        xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/xml\r\nContent-Length: {len(xml)}\r\n\r\n"
        self.wfile.write((head + (xml if with_body else "")).encode())


def _read_head(stream: IO[bytes]) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline(65536)
        if not line:
            return b""
        head += line
    return head


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


def _body(stream: IO[bytes], fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Give a body as it travels, in pieces."""
    if fields.get(b"transfer-encoding") == b"chunked":
        while True:
            line = stream.readline(65536)
            yield line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while line not in (b"\r\n", b""):
                    line = stream.readline(65536)
                    yield line
                return
            yield stream.read(size + 2)
    left = int(fields.get(b"content-length", 0))
    while left:
        piece = stream.read(min(left, _CHUNK))
        if not piece:
            raise _Broken(reset=True)
        left -= len(piece)
        yield piece
