"""A file server on loopback that misbehaves to order, one fault for each request."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please</body></html>\n"


@dataclass
class Thing:
    """What is served at one path."""

    content: bytes
    etag: str | None
    last_modified: str | None
    ranges: bool  # understands Range
    faults: list[Fault]  # for the next requests, one each
    always: Fault | None  # once those are used up


@dataclass(frozen=True)
class Seen:
    """A request that came in, and the status it got."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    status: int
    body: bytes = b""


@dataclass
class Exchange:
    """One request that is being answered."""

    handler: BaseHTTPRequestHandler
    server: FileServer
    thing: Thing
    status: int = 0
    body: bytes = field(default=b"")

    def head(self, status: int, headers: Mapping[str, str | None]) -> None:
        """Send status and headers; None leaves a header out."""
        self.status = status
        self.server.note(self)
        self.handler.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.handler.send_header(name, value)
        self.handler.end_headers()

    def write(self, data: bytes | memoryview) -> None:
        self.handler.wfile.write(data)

    def hang_up(self) -> None:
        self.handler.close_connection = True

    @property
    def asked_range(self) -> tuple[int, int] | None:
        """The first byte asked for and the one after the last, if that is to be honoured."""
        text = self.handler.headers.get("Range")
        condition = self.handler.headers.get("If-Range")
        if text is None or not self.thing.ranges:
            return None
        if condition is not None and condition not in {self.thing.etag, self.thing.last_modified}:
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else len(self.thing.content)


Fault = Callable[[Exchange], None]


def honest(exchange: Exchange, *, most: int | None = None, piece: int = 0) -> None:
    """Answer as a good server does; with ``most`` only so many bytes of the body.

    With ``piece`` there are so many bytes each hundredth of a second.
    """
    thing = exchange.thing
    size = len(thing.content)
    start, end = exchange.asked_range or (0, size)
    whole = exchange.asked_range is None
    headers: dict[str, str | None] = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes" if thing.ranges else None,
        "ETag": thing.etag,
        "Last-Modified": thing.last_modified,
    }
    if whole:
        exchange.head(200, headers | {"Content-Length": str(size)})
    elif start >= size:
        exchange.head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        return
    else:
        part = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        exchange.head(206, headers | part | {"Content-Length": str(end - start)})
    body = memoryview(thing.content)[start:end][:most]
    for position in range(0, len(body), piece or size or 1):
        exchange.write(body[position : position + piece] if piece else body)
        if piece:
            time.sleep(0.01)
    if most is not None:
        exchange.hang_up()


def cut(after: int) -> Fault:
    """The connection breaks after so many bytes of the body."""
    return lambda exchange: honest(exchange, most=after)


def refuse(status: int, **headers: str) -> Fault:
    """Answer with a status; ``Retry_After="1"`` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.head(status, {"Content-Length": "0", **named})


def redirect(to: str, status: int = 302) -> Fault:
    """Send the client somewhere else."""
    return refuse(status, Location=to)


def answer(content: bytes, status: int = 200, *, length: int | None = -1, **headers: str) -> Fault:
    """Answer with other bytes; ``length`` is what Content-Length says, None leaves it out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    said = {-1: str(len(content)), None: None}.get(length, str(length))

    def fault(exchange: Exchange) -> None:
        exchange.head(status, {"Content-Length": said, **named})
        exchange.write(content)
        exchange.hang_up()

    return fault


def html(exchange: Exchange) -> None:
    """A friendly page in place of the file."""
    answer(PAGE, Content_Type="text/html; charset=utf-8")(exchange)


def gzipped(exchange: Exchange) -> None:
    """The file encoded, though nobody asked for that."""
    answer(gzip.compress(exchange.thing.content), Content_Encoding="gzip")(exchange)


def part(content_range: str | None, content: bytes | None = None) -> Fault:
    """A partial answer of our own making, whatever was asked for."""

    def fault(exchange: Exchange) -> None:
        body = exchange.thing.content if content is None else content
        exchange.head(206, {"Content-Range": content_range, "Content-Length": str(len(body))})
        exchange.write(body)

    return fault


def changed(content: bytes, etag: str | None = None) -> Fault:
    """From now on the file is another one; without ``etag`` the server does not notice."""

    def fault(exchange: Exchange) -> None:
        exchange.thing.content = content
        exchange.thing.etag = etag or exchange.thing.etag
        honest(exchange)

    return fault


def endless(exchange: Exchange) -> None:
    """A body that goes on until the client hangs up."""
    exchange.head(200, {"Content-Type": "application/octet-stream"})
    exchange.hang_up()
    while not exchange.server.closing.is_set():
        exchange.write(bytes(65536))


def stall(after: int = 0) -> Fault:
    """Send so many bytes, then nothing more, with the connection open."""

    def fault(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(exchange.thing.content))})
        exchange.write(exchange.thing.content[:after])
        exchange.server.stalled.set()
        exchange.server.closing.wait(60)
        exchange.hang_up()

    return fault


def silent(exchange: Exchange) -> None:
    """Not even a status."""
    exchange.server.stalled.set()
    exchange.server.closing.wait(60)
    exchange.hang_up()


def slow(rate: int) -> Fault:
    """Honest, at ``rate`` bytes per second."""
    return lambda exchange: honest(exchange, piece=max(1, rate // 100))


class FileServer:
    """Serves what was added; one thread for each connection."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.things: dict[str, Thing] = {}
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self.stalled = threading.Event()
        self._lock = threading.Lock()
        self._at_once = 0
        self._scheme = "https" if tls else "http"
        self._listener = _Listener(("127.0.0.1", 0), _handler_for(self))
        if tls:
            self._listener.socket = tls.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def url(self, path: str = "", *, host: str = "127.0.0.1") -> str:
        """The address of a path; ``localhost`` is another host with the same content."""
        return f"{self._scheme}://{host}:{self._listener.server_port}/{path}"

    def add(
        self,
        path: str,
        content: bytes,
        *faults: Fault,
        always: Fault | None = None,
        etag: str | None = '"v1"',
        last_modified: str | None = None,
        ranges: bool = True,
    ) -> str:
        """Serve ``content`` at ``path`` and return the address."""
        self.things[path] = Thing(content, etag, last_modified, ranges, list(faults), always)
        return self.url(path)

    def requests(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    def note(self, exchange: Exchange) -> None:
        handler = exchange.handler
        headers = {name.lower(): value for name, value in handler.headers.items()}
        path = handler.path.lstrip("/").partition("?")[0]
        self.seen.append(Seen(path, headers, exchange.status, exchange.body))

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            path = handler.path.lstrip("/").partition("?")[0]
            length = int(handler.headers.get("Content-Length") or 0)
            body = handler.rfile.read(length)
            thing = self.things.get(path) or _MISSING
            with self._lock:
                fault = thing.faults.pop(0) if thing.faults else thing.always or honest
            fault(Exchange(handler, self, thing, body=body))
        finally:
            with self._lock:
                self._at_once -= 1


_MISSING = Thing(b"", None, None, ranges=False, faults=[], always=refuse(404))


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of every other test."""


def _handler_for(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.serve(self)

        def do_POST(self) -> None:
            server.serve(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler


def http_date(seconds_from_now: float) -> str:
    return formatdate(time.time() + seconds_from_now, usegmt=True)
