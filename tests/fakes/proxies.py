"""Proxies on loopback: one that speaks http and CONNECT, one that speaks SOCKS 5.

Both bring every connection to one place, whatever its name is, and note what they were asked for.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Asked = list[str]


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give host and port of a server that hands each connection to ``serve``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=one, args=(client,), daemon=True).start()

        def one(client: socket.socket) -> None:
            with contextlib.suppress(OSError), client:
                serve(client)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def http_proxy(
    to: tuple[str, int], asked: Asked, *, login: str = "", refuse: str = ""
) -> contextlib.AbstractContextManager[str]:
    """A proxy for http and https; ``login`` is user:password, ``refuse`` a status line for all."""

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := client.recv(65536)):
                return
            head += piece
        lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        asked.append(lines[0])
        sent = next((line for line in lines if line.lower().startswith("proxy-auth")), "")
        pair = base64.b64decode(sent.rpartition(" ")[2]).decode()
        if refuse or pair != login:
            status = refuse or "407 Proxy Authentication Required"
            headers = 'Proxy-Authenticate: Basic realm="site"\r\nContent-Length: 0'
            client.sendall(f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n".encode())
            return
        with socket.create_connection(to) as server:
            if lines[0].startswith("CONNECT "):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(re.sub(rb" http://[^/]*", b" ", head, count=1))
            join(client, server)

    return listening(serve)


def socks_proxy(
    to: tuple[str, int], asked: Asked, *, login: str = "", code: int = 0
) -> contextlib.AbstractContextManager[str]:
    """A SOCKS 5 proxy; ``code`` other than 0 is its answer to all. Source: RFC 1928, RFC 1929."""

    def serve(client: socket.socket) -> None:
        stream = client.makefile("rb")
        ways = stream.read(stream.read(2)[1])
        way = 2 if login else 0
        client.sendall(bytes([5, way if way in ways else 255]))
        if way not in ways:
            return
        if login:
            stream.read(1)
            user, password = (stream.read(stream.read(1)[0]).decode() for _ in range(2))
            good = f"{user}:{password}" == login
            client.sendall(bytes([1, 0 if good else 1]))
            if not good:
                return
        kind = stream.read(4)[3]
        if kind == 3:
            host = stream.read(stream.read(1)[0]).decode()
        else:
            packed = stream.read(4 if kind == 1 else 16)
            host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, packed)
        port = int.from_bytes(stream.read(2), "big")
        asked.append(f"{host}:{port}")
        client.sendall(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
        if code == 0:
            with socket.create_connection(to) as server:
                join(client, server)

    return listening(serve)


def join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes between two connections until either ends."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join(60)
