from __future__ import annotations

import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.demo.trial import _served


def test_a_client_that_hangs_up_is_not_worth_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "a.iso").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    with _served(tmp_path) as url:
        address = urlsplit(url).hostname, urlsplit(url).port
        for _ in range(5):
            client = socket.create_connection(address)
            client.sendall(b"GET /a.iso HTTP/1.0\r\n\r\n")
            assert client.recv(1000)
            # No lingering: the server's next write fails at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        last = socket.create_connection(address)
        last.sendall(b"GET /nothing HTTP/1.0\r\n\r\n")
        assert b"404" in last.recv(1000)
        last.close()
    assert capfd.readouterr().err == ""
