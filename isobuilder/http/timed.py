"""Connections of urllib3 that keep a ``Pace``: from TLS's first byte to the body's last."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any

from urllib3 import PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProxyError
from urllib3.util.connection import create_connection

from isobuilder.http.pacing import Pace, current_pace
from isobuilder.http.proxies import ProxyServer
from isobuilder.http.socks import open_through


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
    """The bytes of a socket, and how long each was waited for."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        began = time.monotonic()
        count = self._raw.readinto(buffer)
        self._pace.waited(time.monotonic() - began)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer whose head and body are timed."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        if (pace := current_pace()) is not None:
            self.fp = io.BufferedReader(_Timed(self.fp.detach(), pace))


class _Connection(HTTPConnection):
    response_class = _Answer
    through: ProxyServer | None = None

    def _new_conn(self) -> socket.socket:
        return super()._new_conn() if self.through is None else _dial(self, self.through)


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
    _guard: _Guard | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if (pace := current_pace()) is not None:
            self._guard = _Guard(sock, pace)
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
        self._timer = threading.Timer(pace.head_seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self._pace.failed = f"no TLS within {self._pace.head_seconds:g} s"
        with contextlib.suppress(OSError):
            self._twin.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._timer.cancel()
        self._twin.close()
