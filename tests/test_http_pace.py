"""Servers that always send a little: each is left in the end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, repeat

import pytest

from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.settings import HttpSettings

SETTINGS = HttpSettings(
    retries=5,
    first_delay=0.01,
    connect_timeout=30.0,  # a busy machine's server may be late
    stall_timeout=1.5,  # and twice that is what a head may take
    least_speed=1000,
    least_speed_seconds=0.6,
)
PATIENT = replace(SETTINGS, stall_timeout=30.0, least_speed_seconds=4.0)
"""For what is waited for: a busy machine may let a server do nothing for a second."""
PAUSE = 0.05  # seconds between two pieces
HEAD = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def drip(pieces: Callable[[], Iterable[bytes]]) -> Iterator[str]:
    """Serve ``pieces``, slowly, to each who connects; give the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in pieces():
                connection.sendall(piece)
                if ended.wait(PAUSE):
                    return

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def bytes_of(text: bytes) -> Iterator[bytes]:
    return (bytes([byte]) for byte in text)


def taken(http: Http, address: str, *, flood: bool = False) -> float:
    began = time.monotonic()
    with pytest.raises(HttpFailure) as caught:
        http.get_small(address, limit=10**9)
    assert not caught.value.temporary
    fact = str(caught.value)
    if flood:
        assert "no whole head" in fact or "hardly any of a body" in fact
    else:
        assert "transfer.least_speed" in str(caught.value.hint)
        assert "no whole head" in fact or "slower than" in fact or "no TLS" in fact
    return time.monotonic() - began


Pieces = Callable[[], Iterable[bytes]]

TRICKLES: dict[str, Pieces] = {
    "head": lambda: bytes_of(HEAD * 1000),
    "headers": lambda: chain([HEAD], (b"X-%d: y\r\n" % number for number in range(10**6))),
    "100": lambda: repeat(CONTINUE),
    "body": lambda: chain([HEAD + b"Content-Length: 100000\r\n\r\n"], repeat(b"x")),
    "body to the end": lambda: chain([HEAD + b"\r\n"], repeat(b"x")),
    "chunks": lambda: chain([CHUNKED], repeat(b"1\r\nx\r\n")),
    "extension": lambda: chain([CHUNKED], repeat(b"1;a=b")),
    "trailer": lambda: chain([CHUNKED + b"1\r\nx\r\n0\r\n"], repeat(b"A: b\r\n")),
}
FLOODS: dict[str, Pieces] = {
    "100": lambda: repeat(CONTINUE * 1000),
    "chunks": lambda: chain([CHUNKED], repeat(b"1\r\nx\r\n" * 1000)),
    "extensions": lambda: chain([CHUNKED], repeat(b"1;" + b"a" * 30_000 + b"\r\nx\r\n")),
    "trailer": lambda: chain([CHUNKED + b"1\r\nx\r\n0\r\n"], repeat(b"A: b\r\n" * 1000)),
}
"""At full speed: whoever waits for nothing would take them for ever."""


@pytest.mark.parametrize("kind", TRICKLES)
def test_what_trickles_is_left(kind: str) -> None:
    with drip(TRICKLES[kind]) as address, Http(SETTINGS) as http:
        assert taken(http, f"http://{address}") < 60


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_nothing_is_left(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.0)
    with drip(FLOODS[kind]) as address, Http(PATIENT) as http:
        assert taken(http, f"http://{address}", flood=True) < 300


def test_a_head_at_full_speed_has_its_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.0)
    monkeypatch.setattr("isobuilder.http.pacing._SPARE", 1 << 62)
    with drip(FLOODS["100"]) as address, Http(SETTINGS) as http:
        assert taken(http, f"http://{address}", flood=True) < 60


def test_honest_chunks_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.0)
    monkeypatch.setattr("isobuilder.http.pacing._SPARE", 512 * 1024)
    ones, twos = b"1\r\nx\r\n" * 20_000, b"2\r\nxx\r\n" * 200_000
    with drip(lambda: [CHUNKED + ones + twos + b"0\r\n\r\n"]) as address, Http(PATIENT) as http:
        assert len(http.get_small(f"http://{address}", limit=10**6).body) == 420_000


def test_tls_that_trickles_is_left() -> None:
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"
    with drip(lambda: chain([record], repeat(b"x"))) as address, Http(SETTINGS) as http:
        assert taken(http, f"https://{address}") < 60


def test_a_slow_line_that_keeps_the_least_speed_is_waited_for() -> None:
    size = 110 * 1000  # 20,000 bytes a second, for longer than the speed is measured over

    def pieces() -> Iterable[bytes]:
        return chain([HEAD + b"Content-Length: %d\r\n\r\n" % size], repeat(b"x" * 1000, 110))

    with drip(pieces) as address, Http(PATIENT) as http:
        assert len(http.get_small(f"http://{address}", limit=size).body) == size


def test_whoever_takes_bytes_slowly_is_not_the_server() -> None:
    body = b"x" * 12_000  # some six seconds at that rate
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    limited = replace(PATIENT, limit_rate=2048, least_speed=100_000)
    with drip(lambda: [head + body]) as address, Http(limited) as http:
        assert http.get_small(f"http://{address}", limit=20_000).body == body


def test_no_least_speed_waits_for_any() -> None:
    body = b"x" * 30
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    patient = replace(PATIENT, least_speed=0)
    with drip(lambda: chain([head], bytes_of(body))) as address, Http(patient) as http:
        assert http.get_small(f"http://{address}", limit=9000).body == body
