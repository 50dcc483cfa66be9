"""One connection of a server: requests are read strictly and in time, answers sent in time.

A head has a size and a deadline, a body a length that is believed only as far as its owner asked
for it, and every half MiB in either direction a time in which it has to be through. Files leave by
way of sendfile. What two readers may take differently is refused: a second length, folded lines,
names with a space, line ends that are none. Source: RFC 9112.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import IO, Protocol
from urllib.parse import unquote

from isobuilder.http.encrypted import AT_ONCE, Encrypted
from isobuilder.http.replies import FilePart, FileState, Refusal, Reply, Request, text_reply
from isobuilder.http.sending import let_the_kernel_wait, send_file

PIECE = 512 * 1024  # bytes that have to be through within ``Limits.piece_seconds``
_FILE = 8 * 1024 * 1024  # bytes that the kernel is told to send at once: fewer cost more each
_LAST = 4096  # bytes of a file that are held back until the rest is known to be right
_RECEIVED = 64 * 1024  # bytes at once
_LINE, _TRAILERS = 4096, 32  # bytes of a line between chunks, and lines after the last
_WAIT = 5.0  # seconds that the kernel waits for a client before we look at the time again
_REPLACED = "the file is being replaced: ask again"
_LINGER = 1.0  # seconds for a client to stop sending after it was refused

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_REQUEST = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")  # blanks: in one run
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t -~\x80-\xff]*)?")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of us one client, and all of them together, may have."""

    clients: int = 512  # at once; the others wait for their turn
    head: int = 32 * 1024  # bytes of a request without its body
    idle_seconds: float = 30.0  # until a request begins
    head_seconds: float = 20.0  # from its first byte to the end of its head
    piece_seconds: float = 60.0


class Owner(Protocol):
    """Whose connection it is."""

    name: str  # what the Server header says
    tells_time: bool
    limits: Limits

    def reply_to(self, request: Request) -> Reply:
        """Return the answer."""

    def served(self, request: Request, reply: Reply, sent: int) -> None:
        """Take note of what went out."""

    def refused(self, client: str, reply: Reply, sent: int) -> None:
        """Take note of what went out to something that was no request."""


class Connection:
    """One client, request after request."""

    def __init__(self, client: socket.socket | Encrypted, owner: Owner, address: str = "") -> None:
        self._socket = client
        self._address = address
        self._owner = owner
        self._limits = owner.limits
        self._ahead = bytearray()  # came, and belongs to what is read next

    def exchange(self) -> bool:
        """Answer one request and return whether another may follow."""
        try:
            head = self._read_head()
            if head is None:
                return False
            request, body, stays = self._parsed(head)
        except Refusal as refusal:
            sent = 0
            try:
                sent = self._send_head(refusal.reply, stays=False)
            finally:
                self._owner.refused(self._address, refusal.reply, sent)
            self._linger()
            return False
        reply = self._owner.reply_to(request)
        sent = 0
        with contextlib.ExitStack() as closing:
            file: IO[bytes] = io.BytesIO()
            if isinstance(reply.body, FilePart):  # before the head: it may be gone
                reply, file = _opened(reply, reply.body, closing)
            stays = stays and body.is_read and reply.size is not None
            try:
                head_only = request.method == "HEAD"
                for count in self._send(reply, file, stays=stays, head_only=head_only):
                    sent += count
            finally:
                self._owner.served(request, reply, sent)
        if not body.is_read:
            self._linger()
        return stays

    # --- what comes in ---

    def receive(self, deadline: float) -> bytes:
        """Return what comes next, nothing if the client is at its end."""
        if self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            return data
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._socket.recv(_RECEIVED)

    def put_back(self, data: bytes) -> None:
        """Keep what was received and not asked for."""
        self._ahead[:0] = data

    def _read_head(self) -> list[bytes] | None:
        """Return the lines of a head; None if the client wants nothing more."""
        deadline = time.monotonic() + self._limits.idle_seconds
        data = bytearray()
        end = -1
        while end < 0 and len(data) <= self._limits.head:
            received = self.receive(deadline)
            if not received:
                return None  # if something came before, it was no request
            if not data:
                deadline = time.monotonic() + self._limits.head_seconds
            data += received
            if not data[:1].isupper():
                # Such as TLS, whose clients go over to plain HTTP as soon as they are answered.
                raise Refusal(400, "expected METHOD PATH HTTP/1.1")
            end = data.find(b"\r\n\r\n", max(0, len(data) - len(received) - 3))
        if not 0 <= end <= self._limits.head:
            raise Refusal(431, f"the head has more than {self._limits.head} bytes")
        self.put_back(bytes(data[end + 4 :]))
        return bytes(data[:end]).split(b"\r\n")

    def _parsed(self, lines: list[bytes]) -> tuple[Request, _RequestBody, bool]:
        """Return the request, its body and whether the connection may stay."""
        first = _REQUEST.fullmatch(lines[0])
        if first is None:
            raise Refusal(400, "expected METHOD PATH HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Refusal(400, "a line of the head is no header")
            name, value = match[1].decode("ascii").lower(), match[2].strip(b" \t").decode("latin-1")
            if name == "host" and name in headers:
                raise Refusal(400, "two Hosts")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, query = _target(first[1], first[2].decode("ascii"))
        if not path.startswith("/"):
            raise Refusal(400, "expected a path that begins with /")
        if first[3] == b"1" and "host" not in headers:
            raise Refusal(400, "no Host")
        length = _length(headers)
        expects = headers.get("expect", "").lower() == "100-continue"
        body = _RequestBody(self, length, self._limits.piece_seconds, expects=expects)
        stays = first[3] == b"1" and "close" not in headers.get("connection", "").lower()
        stream = io.BufferedReader(body, _RECEIVED)
        method, path = first[1].decode(), unquote(path, errors="surrogateescape")
        request = Request(method, path, query, headers, length, stream, self._address)
        return request, body, stays

    # --- what goes out ---

    def send(self, data: bytes) -> None:
        """Send all of ``data``, which has to be through in time."""
        self._socket.settimeout(self._limits.piece_seconds)
        self._socket.sendall(data)

    def _send_head(self, reply: Reply, *, stays: bool, head_only: bool = False) -> int:
        """Send the head, together with a small body, and return how much of the body."""
        date = {"Date": formatdate(usegmt=True)} if self._owner.tells_time else {}
        headers = {**date, "Server": self._owner.name, **reply.headers}
        if reply.size is not None and reply.status not in {204, 304}:
            headers.setdefault("Content-Length", str(reply.size))
        if not stays:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unnamed')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ConnectionError("a header of two lines")
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        with_body = isinstance(reply.body, bytes) and len(reply.body) <= PIECE and not head_only
        body = reply.body if isinstance(reply.body, bytes) and with_body else b""
        self.send(head + body)
        return len(body)

    def _send(
        self, reply: Reply, file: IO[bytes], *, stays: bool, head_only: bool
    ) -> Iterator[int]:
        """Send the answer and yield how many bytes of the body each step sent."""
        body = reply.body
        if isinstance(body, FilePart):
            self._send_head(reply, stays=stays)
            if not head_only:
                yield from self._send_part(body, file)
            return
        sent = self._send_head(reply, stays=stays, head_only=head_only)
        yield sent
        if head_only or (sent and isinstance(body, bytes)):
            return
        for piece in [body] if isinstance(body, bytes) else body:
            for at in range(0, len(piece), PIECE):
                chunk = piece[at : at + PIECE]
                self.send(chunk)
                yield len(chunk)

    def _send_part(self, part: FilePart, file: IO[bytes]) -> Iterator[int]:
        """Send a part, and never the end of it if the file was written into meanwhile."""
        end = part.start + part.size
        last = max(part.start, end - _LAST)
        for at in range(part.start, last, _FILE):
            yield self._send_file(file, at, min(_FILE, last - at))
            _check(file, part)
        data = os.pread(file.fileno(), end - last, last)
        if len(data) < end - last:
            raise ConnectionError("the file became shorter")
        _check(file, part)
        self.send(data)
        yield len(data)

    def _send_file(self, file: IO[bytes], at: int, count: int) -> int:
        client = self._socket
        if isinstance(client, Encrypted):  # whose bytes the kernel cannot send
            for start in range(0, count, AT_ONCE):
                size = min(AT_ONCE, count - start)
                data = os.pread(file.fileno(), size, at + start)
                if len(data) < size:
                    raise ConnectionError("the file became shorter")
                self.send(data)
            return count
        let_the_kernel_wait(client, min(_WAIT, self._limits.piece_seconds))
        begun = time.monotonic()
        done = in_time = 0
        while done < count:
            sent = send_file(client, file.fileno(), at + done, count - done)
            if sent == 0:
                raise ConnectionError("the file became shorter")
            done += sent or 0
            if done - in_time >= PIECE:
                begun, in_time = time.monotonic(), done
            elif done < count and time.monotonic() - begun > self._limits.piece_seconds:
                raise TimeoutError
        return done

    def _linger(self) -> None:
        """Let the client read our answer though it is still sending.

        Closed at once, unread bytes would make the kernel take the answer back.
        """
        self._socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER
        while self.receive(deadline):
            pass


def _opened(reply: Reply, part: FilePart, closing: contextlib.ExitStack) -> tuple[Reply, IO[bytes]]:
    """Return ``reply`` and the file of its body, or what to say in its place.

    Raises:
        OSError: the file is gone, and nobody minds in which state it is.
    """
    try:
        file = closing.enter_context(part.open())
        if part.state in {None, FileState.of(os.fstat(file.fileno()))}:
            return reply, file
    except OSError:
        if part.state is None:
            raise
    return text_reply(503, _REPLACED, {"Retry-After": "1"}), io.BytesIO()


def _check(file: IO[bytes], part: FilePart) -> None:
    if not part.lasts(file):
        raise ConnectionError("the file was written into while it was sent")


class _RequestBody(io.RawIOBase):
    """The body of one request, read from the wire when it is asked for."""

    def __init__(
        self, connection: Connection, length: int | None, seconds: float, *, expects: bool
    ) -> None:
        super().__init__()
        self._connection = connection
        self._left = length or 0  # bytes until the end, or until the end of a chunk
        self._chunked = length is None  # and more chunks may follow
        self._begun = False
        self._expects = expects  # the client waits for a word before it sends
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._since = 0  # bytes since the deadline was set

    @property
    def is_read(self) -> bool:
        """Whether the next request begins where we are."""
        return not self._left and not self._chunked

    def readable(self) -> bool:
        """See ``io.RawIOBase``."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See ``io.RawIOBase``."""
        if self._chunked and not self._left:
            self._next_chunk()
        if not self._left:
            return 0
        data = self._receive()
        taken = min(len(data), len(buffer), self._left)
        buffer[:taken] = data[:taken]
        self._connection.put_back(data[taken:])
        self._left -= taken
        return taken

    def _next_chunk(self) -> None:
        """Read the size of a chunk, after the last the trailers (RFC 9112 section 7.1)."""
        if self._begun and self._line():
            raise Refusal(400, "a chunk is longer than it said")
        self._begun = True
        match = _CHUNK.fullmatch(self._line())
        if match is None:
            raise Refusal(400, "a chunk without its size")
        self._left = int(match[1], 16)
        if not self._left:
            for _ in range(_TRAILERS):
                if not self._line():
                    self._chunked = False
                    return
            raise Refusal(431, "too many trailers")

    def _line(self) -> bytes:
        data = b""
        while (end := data.find(b"\r\n")) < 0 and len(data) <= _LINE:
            data += self._receive()
        if not 0 <= end <= _LINE:
            raise Refusal(431, f"a line of more than {_LINE} bytes between chunks")
        self._connection.put_back(data[end + 2 :])
        return data[:end]

    def _receive(self) -> bytes:
        """Return what comes next, never nothing."""
        if self._expects:
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects = False
        if self._since >= PIECE:
            self._since, self._deadline = 0, time.monotonic() + self._seconds
        data = self._connection.receive(self._deadline)
        if not data:
            raise ConnectionError("the body broke off")
        self._since += len(data)
        return data


def _target(method: bytes, text: str) -> tuple[str, str]:
    """Return path and query of what a request is about (RFC 9112 section 3.2)."""
    if method == b"OPTIONS" and text == "*":  # the whole server
        return "/", ""
    host = re.match("https?://[^/?#]*", text, re.IGNORECASE)
    path, _, query = text[host.end() if host else 0 :].partition("#")[0].partition("?")
    return path or ("/" if host else ""), query


def _length(headers: Mapping[str, str]) -> int | None:
    """Return the bytes of the body, None for chunks."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Refusal(400, "expected chunks, or a length")
        return None
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise Refusal(400, "Content-Length is no number")
    return int(length or 0)
