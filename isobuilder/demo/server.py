"""A small HTTP server on loopback that serves what its owner put in and logs every exchange."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from isobuilder.digest import BUFFER_SIZE, Digest

EPOCH = 1704067200  # 2024-01-01: the time stamp of everything that is served
_MAX_BODY = 1 << 30  # bytes of an upload


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body read."""

    method: str
    path: str  # decoded, without the query
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def first(self, name: str) -> str | None:
        """Return a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class FilePart:
    """A stretch of a file on disk."""

    path: Path
    start: int
    size: int  # bytes


Body = bytes | FilePart | Iterator[bytes]


@dataclass(slots=True)
class Reply:
    """One answer; the length header is derived from ``body`` unless ``headers`` has one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = b""  # an iterator ends with the connection
    cut: int | None = None  # drop the connection after that many bytes of the body


class Exchange(NamedTuple):
    """One line of the log."""

    method: str
    path: str
    status: int
    size: int  # bytes of the body that went out
    headers: Mapping[str, str]  # of the request, names in lower case


Hook = Callable[[Request, Reply], Reply | None]
"""Sees each request with the answer it would get, and may return another."""


class Server:
    """Answers on a port of 127.0.0.1 between ``start`` and ``close``; a context manager too."""

    def __init__(self, *, port: int = 0) -> None:
        self._log: list[Exchange] = []
        self._busy = 0  # requests that are being answered
        self._settled = threading.Condition()
        self.hooks: list[Hook] = []
        self.closing = threading.Event()  # a hook that stalls waits for it, not for a clock
        self._listener = _Listener(("127.0.0.1", port), self)
        self._thread: threading.Thread | None = None

    @property
    def log(self) -> list[Exchange]:
        """Every exchange so far.

        A client has its answer a moment before the server has logged it, so this waits until
        nothing is being answered, a second at most.
        """
        with self._settled:
            self._settled.wait_for(lambda: self._busy == 0, timeout=1.0)
            return self._log

    def record(self, exchange: Exchange) -> None:
        """Add a line to the log."""
        self._log.append(exchange)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as being answered during the block."""
        with self._settled:
            self._busy += 1
        try:
            yield
        finally:
            with self._settled:
                self._busy -= 1
                self._settled.notify_all()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, drop every connection and wait until all threads have ended."""
        self.closing.set()
        if self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._thread = None
        self._listener.drop_connections()
        self._listener.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def answer(self, request: Request) -> Reply:
        """Return the answer to ``request``; subclasses say what there is."""
        return Reply(404, body=f"nothing at {request.path}\n".encode())

    def answer_with_hooks(self, request: Request) -> Reply:
        """Return what goes out: the answer after every hook has seen it."""
        reply = self.answer(request)
        for hook in self.hooks:
            reply = hook(request, reply) or reply
        return reply


def content_reply(
    request: Request, content: bytes | Path, *, etag: str | None, content_type: str
) -> Reply:
    """Return ``content``, or the part of it that the request's Range asks for.

    One byte range is served; several are answered with the whole, as RFC 9110 section 14.2 allows.
    A Range whose If-Range names another state of the content is ignored.
    """
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    modified = formatdate(EPOCH, usegmt=True)
    headers = {"Content-Type": content_type, "Accept-Ranges": "bytes", "Last-Modified": modified}
    if etag is not None:
        headers["ETag"] = etag
        if request.headers.get("if-none-match") in {etag, "*"}:
            return Reply(304, headers)
    wanted = request.headers.get("range")
    if wanted is None or not _still_current(request.headers.get("if-range"), etag):
        return Reply(200, headers, _part(content, 0, size))
    bounds = _byte_range(wanted, size)
    if bounds is None:
        return Reply(200, headers, _part(content, 0, size))
    start, end = bounds
    if start >= end:
        return Reply(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Reply(206, headers, _part(content, start, end))


def etag_of(content: bytes | Path) -> str:
    """Return a strong validator for ``content``."""
    if isinstance(content, bytes):
        return f'"{Digest.of(content).hex[:32]}"'
    state = content.stat()
    return f'"{state.st_mtime_ns:x}-{state.st_size:x}"'


def _part(content: bytes | Path, start: int, end: int) -> bytes | FilePart:
    if isinstance(content, bytes):
        return content[start:end]
    return FilePart(content, start, end - start)


def _still_current(condition: str | None, etag: str | None) -> bool:
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == etag
    with contextlib.suppress(ValueError):
        return int(parsedate_to_datetime(condition).timestamp()) == EPOCH
    return False


def _byte_range(text: str, size: int) -> tuple[int, int] | None:
    unit, _, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit != "bytes" or not dash or "," in spec or not (first + last).isdigit():
        return None
    if not first:
        return max(0, size - int(last)), size
    end = min(size, int(last) + 1) if last else size
    return int(first), end


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them, so nothing outlives the server
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is everyday life here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "isobuilder-demo"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing; the owner has its own log."""

    def _serve(self) -> None:
        owner = self.server.owner
        with owner.answering():
            request = self._request()
            reply = owner.answer_with_hooks(request)
            sent = 0
            try:
                self._head(reply)
                if request.method != "HEAD":
                    for count in self._send(reply):
                        sent += count
            finally:
                owner.record(
                    Exchange(request.method, request.path, reply.status, sent, request.headers)
                )
        if reply.cut is not None or not isinstance(reply.body, bytes | FilePart):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(
            self.command,
            unquote(parts.path),
            parse_qs(parts.query, keep_blank_values=True),
            headers,
            self._body(headers),
        )

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            length = int(headers.get("content-length", "0"))
            return self.rfile.read(min(length, _MAX_BODY))
        body = bytearray()
        while size := int(self.rfile.readline(1024).partition(b";")[0], 16):
            body += self.rfile.read(min(size, _MAX_BODY))
            self.rfile.readline(1024)
        while self.rfile.readline(65536).strip():  # trailers
            pass
        return bytes(body)

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        known = {name.lower() for name in reply.headers}
        if "content-length" not in known and "transfer-encoding" not in known:
            size = _size(reply.body)
            if size is None:
                self.send_header("Connection", "close")
            elif reply.status not in {204, 304}:
                self.send_header("Content-Length", str(size))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, reply: Reply) -> Iterator[int]:
        """Send the body and yield how many bytes each step sent."""
        if isinstance(reply.body, FilePart):
            part, count = reply.body, reply.body.size
            if reply.cut is not None:
                count = min(count, reply.cut)
            with part.path.open("rb") as file:
                yield self.connection.sendfile(file, part.start, count) if count else 0
            return
        pieces = iter([reply.body]) if isinstance(reply.body, bytes) else reply.body
        left = reply.cut
        for piece in pieces:
            for at in range(0, len(piece), BUFFER_SIZE):
                chunk = piece[at : at + BUFFER_SIZE]
                if left is not None:
                    chunk = chunk[:left]
                    left -= len(chunk)
                self.wfile.write(chunk)
                yield len(chunk)
                if left == 0:
                    return


def _size(body: Body) -> int | None:
    if isinstance(body, bytes):
        return len(body)
    return body.size if isinstance(body, FilePart) else None
