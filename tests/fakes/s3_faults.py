"""A server between us and a real one of S3, which does to answers what one is told here.

Requests go on as they came, their Host as well, which is signed.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[["Between", bytes], None]
"""What becomes of a request with its body, in place of being passed on."""


@dataclass
class Asked:
    """What came, such as ``PUT /isos/x``, and the faults that wait for it."""

    url: str
    lines: list[str] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)

    def wait(self, beginning: str, fault: Fault, times: int = 1) -> None:
        """Let a fault meet the next requests whose line begins so."""
        self.faults += [(beginning, fault)] * times

    def count(self, beginning: str) -> int:
        return sum(line.startswith(beginning) for line in self.lines)


class Between(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    asked: Asked
    real: str

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def serve(self) -> None:
        line = f"{self.command} {self.path}"
        self.asked.lines.append(line)
        chosen = next((one for one in self.asked.faults if line.startswith(one[0])), None)
        if chosen:
            self.asked.faults.remove(chosen)
        length = int(self.headers.get("Content-Length") or 0)
        if chosen and chosen[1] is cut_while_sending:
            self.rfile.read(length // 2)
            self.end()
            return
        body = self.rfile.read(length)
        (chosen[1] if chosen else pass_on)(self, body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = serve  # noqa: N815

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Let the real server do it."""
        connection = http.client.HTTPConnection(self.real, timeout=30)
        try:
            as_is = {"skip_host": True, "skip_accept_encoding": True}
            connection.putrequest(self.command, self.path, **as_is)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"date", "server", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # the client has read enough
                self.wfile.write(body)

    def end(self) -> None:
        """Cut the connection."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def pass_on(request: Between, body: bytes) -> None:
    request.answer(*request.ask(body))


def cut_while_sending(request: Between, body: bytes) -> None:
    """End the connection when half of the body is there; nothing reaches the server."""


def lose_the_answer(request: Between, body: bytes) -> None:
    """The server does it, and nobody hears."""
    request.ask(body)
    request.end()


def cut_the_answer(request: Between, body: bytes) -> None:
    """Half of the answer's body arrives."""
    status, headers, data = request.ask(body)
    headers["Content-Length"] = str(len(data))
    request.answer(status, headers, data[: len(data) // 2])
    request.end()


def wrong_etag(request: Between, body: bytes) -> None:
    """The answer names another version than the server has."""
    status, headers, data = request.ask(body)
    changed = {name: '"0"' if name.lower() == "etag" else text for name, text in headers.items()}
    request.answer(status, changed, data)


def damaged(request: Between, body: bytes) -> None:
    """Other bytes go on than came."""
    request.answer(*request.ask(body[:-1] + bytes([body[-1] ^ 1])))


def says(status: int, code: str) -> Fault:
    """Give an answer of the server's kind, without asking it."""

    def fault(request: Between, body: bytes) -> None:
        text = f"<Error><Code>{code}</Code><Message>as told</Message></Error>"
        request.answer(status, {"Content-Type": "application/xml"}, text.encode())

    return fault


@contextmanager
def faulty(url: str) -> Iterator[Asked]:
    """Run one in front of the server at ``url``."""

    class Handler(Between):
        real = urlsplit(url).netloc

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.asked = Asked(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield Handler.asked
        server.shutdown()
