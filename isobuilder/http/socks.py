"""A connection by way of a SOCKS 5 proxy.

Sources: RFC 1928, RFC 1929. ``socks5h`` leaves the resolving of names to the proxy, as curl's does.
"""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

from isobuilder.http.proxies import ProxyServer

_VERSION, _CONNECT = 5, 1
_NO_LOGIN, _PASSWORD = 0, 2
_ADDRESS_BYTES = {1: 4, 4: 16}  # by kind of address; 3 is a name, with its length before it
_NAME = 3
_LONGEST = 255  # bytes of a name, a user or a password

_REASONS = {
    1: "it failed",
    2: "its rules forbid this server",
    3: "the network cannot be reached from it",
    4: "the server cannot be reached from it",
    5: "the server refused the connection",
    6: "it waited too long for the server",
    7: "it opens no connections",
    8: "it takes no address of this kind",
}


class SocksError(OSError):
    """The proxy opens no connection; says why."""


def open_through(proxy: ProxyServer, connection: socket.socket, host: str, port: int) -> None:
    """Make ``connection``, which is one to ``proxy``, one to ``host`` and ``port``.

    All of it must be over within the timeout that ``connection`` has.

    Raises:
        SocksError: the proxy refuses, or is none.
        OSError: the connection broke, or a name cannot be resolved here.
    """
    patience = connection.gettimeout()
    talk = _Talk(connection, None if patience is None else time.monotonic() + patience)
    _log_in(talk, proxy)
    if proxy.scheme == "socks5":
        host = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    talk.send(bytes([_VERSION, _CONNECT, 0]) + _packed(host) + port.to_bytes(2, "big"))
    version, code, _, kind = talk.receive(4)
    if version != _VERSION:
        raise SocksError("it does not speak SOCKS 5")
    if code != 0:
        raise SocksError(_REASONS.get(code, f"it refuses with code {code}"))
    length = talk.receive(1)[0] if kind == _NAME else _ADDRESS_BYTES.get(kind, 0)
    talk.receive(length + 2)  # whence it connected, which nobody needs
    connection.settimeout(patience)


def _log_in(talk: _Talk, proxy: ProxyServer) -> None:
    ways = [_NO_LOGIN, _PASSWORD] if proxy.user else [_NO_LOGIN]
    talk.send(bytes([_VERSION, len(ways), *ways]))
    version, way = talk.receive(2)
    if version != _VERSION:
        raise SocksError("it does not speak SOCKS 5")
    if way == _NO_LOGIN:
        return
    if way != _PASSWORD or not proxy.user:
        raise SocksError("it wants a login" if not proxy.user else "it takes no user and password")
    talk.send(b"\x01" + _counted(proxy.user) + _counted(proxy.password))
    if talk.receive(2)[1] != 0:
        raise SocksError("it refuses the login")


def _packed(host: str) -> bytes:
    try:
        packed = ip_address(host).packed
    except ValueError:
        return bytes([_NAME]) + _counted(host)
    return bytes([1 if len(packed) == _ADDRESS_BYTES[1] else 4]) + packed


def _counted(text: str) -> bytes:
    data = text.encode()
    if len(data) > _LONGEST:
        raise SocksError(f"a name, user or password of {len(data)} bytes is too long for it")
    return bytes([len(data)]) + data


class _Talk:
    """Bytes to and from the proxy, up to one moment."""

    def __init__(self, connection: socket.socket, deadline: float | None) -> None:
        self._connection = connection
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if self._deadline is not None:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise SocksError("it took too long to open a connection")
                self._connection.settimeout(left)
            piece = self._connection.recv(count - len(data))
            if not piece:
                raise SocksError("it closed the connection")
            data += piece
        return data
