"""Connections of urllib3 that keep a ``Pace``: from TLS's first byte to the body's last."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from isobuilder.http.pacing import Pace, current_pace


def keep_pace(manager: PoolManager) -> PoolManager:
    """Return ``manager``, whose connections now are those of this module."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
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


class _SecureConnection(HTTPSConnection):
    response_class = _Answer
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


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
