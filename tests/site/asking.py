"""Asking a server of ours as programs do, without a library that would mend what is asked."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from isobuilder.http.serving import Server


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


def ask(server: Server, path: str, *, method: str = "GET", **headers: str) -> Said:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Said(answer.status, found, answer.read())


def raw(server: Server, data: bytes) -> bytes:
    """Send ``data``, nothing more, and return all that comes back."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=60)) as client:
        said = bytearray()
        with suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 20):
                said += piece
        return bytes(said)
