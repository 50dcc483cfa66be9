"""Connections of urllib3 that keep a ``Pace``: from TLS's first byte to the body's last.

Parts of files leave by way of sendfile, and no further than until the server answers: one that
refuses a body says so before its end, and closes.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import threading
import time
from http.client import HTTPResponse
from typing import Any

from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProxyError
from urllib3.util.connection import create_connection

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.http.access import tls_context
from isobuilder.http.pacing import Pace, current_pace
from isobuilder.http.proxies import ProxyServer
from isobuilder.http.replies import FilePart
from isobuilder.http.sending import let_the_kernel_wait, send_file
from isobuilder.http.socks import open_through

_AT_ONCE = 2 * 1024 * 1024  # bytes that the kernel is given in one call
_LOOK = 1.0  # seconds that it waits for a server before we look whether it has answered


def paced_manager(
    proxy: ProxyServer | None, per_host: int, context: ssl.SSLContext | None
) -> PoolManager:
    """Return a manager of connections by way of ``proxy``; ``context`` is for TLS with servers."""
    if proxy is None or proxy.is_socks:
        manager = PoolManager(num_pools=32, maxsize=per_host, ssl_context=context)
        return keep_pace(manager, proxy)
    return keep_pace(
        ProxyManager(
            proxy.address,
            num_pools=32,
            maxsize=per_host,
            ssl_context=context,
            proxy_ssl_context=tls_context() if proxy.scheme == "https" else None,
            proxy_headers=dict(proxy.headers),
        )
    )


def keep_pace(manager: PoolManager, socks: ProxyServer | None = None) -> PoolManager:
    """Return ``manager``, whose connections now are those of this module, by way of ``socks``."""

    class Plain(_Connection):
        through = socks

    class Secure(_SecureConnection):
        through = socks

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


class _Timed(io.RawIOBase):
    """The bytes of a socket; a pace is told of them, and how long each was waited for."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        began = time.monotonic()
        count = self._raw.readinto(buffer)
        self._pace.received(count or 0, time.monotonic() - began)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer whose head and body are timed."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        if (pace := current_pace()) is not None:
            pace.begin()
            self.fp = io.BufferedReader(_Timed(self.fp.detach(), pace))


class _Connection(HTTPConnection):
    response_class = _Answer
    through: ProxyServer | None = None
    _cut = False  # a body was not sent to its end
    _guard: _Guard | None = None

    def send(self, data: Any) -> None:
        if isinstance(data, FilePart):
            self._send_part(data)
        else:
            super().send(data)

    def connect(self) -> None:
        self._cut = False
        self._note()
        super().connect()
        self._note()

    def putrequest(self, *arguments: Any, **named: Any) -> None:
        self._note()
        super().putrequest(*arguments, **named)

    def interrupt(self) -> None:
        """Let whoever waits for the other side see the end of the connection."""
        if self._guard is not None:
            self._guard.cut()
        sock = getattr(self.sock, "socket", self.sock)  # of TLS within TLS: the outer one's
        if isinstance(sock, socket.socket):
            # The kernel's alone: TLS would forget its state, which another thread is using.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _note(self) -> None:
        """Let the pace of this thread find us, if there still is a use for it."""
        if (pace := current_pace()) is not None:
            pace.connection = self
            if pace.called_off():
                raise ConnectionAbortedError

    @property
    def is_connected(self) -> bool:
        return super().is_connected and not self._cut

    def _send_part(self, part: FilePart) -> None:
        pace = current_pace()
        seconds = pace.head_seconds if pace else 60.0
        self._cut = True
        with _opened(part) as file:
            if not part.lasts(file):
                raise _replaced(part)
            plain = type(self.sock) is socket.socket  # not TLS, whose bytes the kernel cannot send
            if plain:
                let_the_kernel_wait(self.sock, min(_LOOK, seconds))
            else:
                self.sock.settimeout(seconds)
            answers = select.poll()
            answers.register(self.sock, select.POLLIN)
            done, deadline = 0, time.monotonic() + seconds
            while done < part.size:
                if pace is not None and pace.called_off():
                    raise ConnectionAbortedError
                if plain and answers.poll(0):
                    raise BrokenPipeError  # an answer before the end; urllib3 goes on to read it
                if sent := self._send_some(file.fileno(), part, done, plain=plain):
                    done, deadline = done + sent, time.monotonic() + seconds
                elif time.monotonic() > deadline:
                    raise TimeoutError(f"nothing sent for {seconds:g} s")
        self._cut = False

    def _send_some(self, fd: int, part: FilePart, done: int, *, plain: bool) -> int:
        at, left = part.start + done, part.size - done
        if plain:
            sent = send_file(self.sock, fd, at, min(left, _AT_ONCE))
        else:
            data = os.pread(fd, min(left, BUFFER_SIZE), at)
            self.sock.sendall(data)
            sent = len(data)
        if sent == 0:
            raise _replaced(part)
        return sent or 0

    def _new_conn(self) -> socket.socket:
        return super()._new_conn() if self.through is None else _dial(self, self.through)


def _opened(part: FilePart) -> io.FileIO:
    """Open a file of ours; that it cannot be read is no fault of the connection."""
    try:
        return part.open()
    except OSError as error:
        fact = f"{part.path}: cannot be read any more: {error.strerror or error}"
        raise EnvironmentProblem(fact, hint="is what it lies on still mounted?") from error


def _replaced(part: FilePart) -> IntegrityError:
    fact = f"{part.path}: was replaced or cut short while it was sent"
    return IntegrityError(fact, hint="run the same command again once nobody writes there")


def _dial(connection: HTTPConnection, proxy: ProxyServer) -> socket.socket:
    """Return a connection by way of a SOCKS proxy."""
    patience = Timeout.resolve_default_timeout(connection.timeout)
    sock: socket.socket | None = None
    try:
        sock = create_connection(
            (proxy.host, proxy.port), patience, socket_options=connection.socket_options
        )
        open_through(proxy, sock, connection.host, connection.port)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise ProxyError("no connection", error) from error
    return sock


class _SecureConnection(_Connection, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if (pace := current_pace()) is not None:
            self._guard = _Guard(sock, pace)
            self._note()
        return sock

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            if self._guard is not None:
                self._guard.end()


class _Guard:
    """Cuts a connection whose TLS is not established in time: its bytes pass by Python unseen."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._twin = sock.dup()  # for TLS takes the first one's place
        self._pace = pace
        self._timer = threading.Timer(pace.head_seconds, self._late)
        self._timer.daemon = True
        self._timer.start()

    def _late(self) -> None:
        self._pace.failed = f"no TLS within {self._pace.head_seconds:g} s"
        self.cut()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._twin.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._timer.cancel()
        self._twin.close()
