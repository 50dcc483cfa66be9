"""Parts of files are sent by the kernel, and no further than until the server has answered."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.replies import FilePart, FileState, Reply, Request
from isobuilder.http.serving import Server
from tests.conftest import QUICK

DATA = bytes(range(256)) * 4096 * 24  # 24 MiB, more than sockets hold


class Taker(Server):
    """Tells the digest of what it was sent, or refuses it unread."""

    def answer(self, request: Request) -> Reply:
        if request.path == "/no":
            return Reply(413, {}, b"too large")
        return Reply(200, {}, Digest.of(request.body(1 << 30)).encode())


@pytest.fixture
def taker() -> Iterator[Taker]:
    with Taker() as server:
        yield server


@pytest.fixture
def part(tmp_path: Path) -> FilePart:
    path = tmp_path / "file"
    path.write_bytes(b"before" + DATA + b"behind")
    return FilePart(path, 6, len(DATA), FileState.of(path.stat()))


def send(http: Http, url: str, part: FilePart) -> bytes:
    length = {"Content-Length": str(part.size)}
    return http.upload("PUT", url, [part], limit=1000, headers=length).body


def test_a_stretch_of_a_file_arrives_as_it_is(taker: Taker, part: FilePart) -> None:
    with Http(QUICK, netrc=False) as http:
        assert send(http, f"{taker.url}/x", part) == Digest.of(DATA).encode()


def test_it_arrives_by_way_of_tls_too(
    part: FilePart, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with Taker(tls=context) as server, Http(QUICK, netrc=False) as http:
        assert send(http, f"{server.url}/x", part) == Digest.of(DATA).encode()


def test_a_body_that_is_refused_is_not_sent_to_its_end_and_the_next_one_is_whole(
    taker: Taker, part: FilePart
) -> None:
    with Http(QUICK, netrc=False) as http:
        for _ in range(3):
            with pytest.raises(HttpFailure, match="413"):
                send(http, f"{taker.url}/no", part)
            assert send(http, f"{taker.url}/x", part) == Digest.of(DATA).encode()


def test_a_file_that_was_replaced_is_not_sent(taker: Taker, part: FilePart) -> None:
    part.path.with_name("new").write_bytes(b"x" * part.path.stat().st_size)
    part.path.with_name("new").replace(part.path)
    with Http(QUICK, netrc=False) as http:
        with pytest.raises(IntegrityError, match=f"{part.path}: was replaced"):
            send(http, f"{taker.url}/x", part)
        part.path.unlink()
        with pytest.raises(EnvironmentProblem, match=f"{part.path}: cannot be read any more: No"):
            send(http, f"{taker.url}/x", part)


def test_a_file_that_becomes_shorter_is_told_as_such(taker: Taker, part: FilePart) -> None:
    longer = replace(part, size=part.size + 100, state=None)
    with Http(QUICK, netrc=False) as http:
        with pytest.raises(IntegrityError, match="was replaced or cut short"):
            send(http, f"{taker.url}/x", longer)
        assert send(http, f"{taker.url}/x", part) == Digest.of(DATA).encode()


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Give a server that takes connections and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/x"


def test_a_body_that_nobody_reads_is_given_up(deaf: socket.socket, part: FilePart) -> None:
    brief = replace(QUICK, stall_timeout=0.5)
    with Http(brief, netrc=False) as http, pytest.raises(HttpFailure) as caught:
        send(http, address(deaf), part)
    assert caught.value.temporary


def test_a_body_under_way_is_left_when_connections_are_closed(
    deaf: socket.socket, part: FilePart
) -> None:
    patient = replace(QUICK, stall_timeout=200.0)
    with ThreadPoolExecutor(1) as pool, Http(patient, netrc=False) as http:
        sending = pool.submit(send, http, address(deaf), part)
        with deaf.accept()[0] as accepted:
            accepted.recv(100)  # it has begun
            http.close()
            with pytest.raises(HttpFailure, match="stopped"):
                sending.result(100)
