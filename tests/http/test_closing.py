"""What waits when an ``Http`` is closed ends soon, at whatever step of a request it is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.settings import HttpSettings
from tests.fakes.proxies import listening

PATIENT = HttpSettings(stall_timeout=600, connect_timeout=600, retry_budget=600)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def waiting(ask: Callable[[], object], ready: threading.Event) -> Iterator[list[HttpFailure]]:
    """Ask in another thread; it ends within the block, and gives what it failed with."""
    failures: list[HttpFailure] = []

    def run() -> None:
        try:
            ask()
        except HttpFailure as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    time.sleep(0.2)  # until it waits
    yield failures
    thread.join(60)
    assert not thread.is_alive()


def silent(asked: threading.Event) -> Callable[[socket.socket], None]:
    """Return a server that says when it was asked, and nothing else."""

    def serve(client: socket.socket) -> None:
        client.recv(65536)
        asked.set()
        client.recv(65536)

    return serve


def test_a_head_is_waited_for_no_longer() -> None:
    asked = threading.Event()

    http = Http(PATIENT, netrc=False)
    with (
        listening(silent(asked)) as place,
        waiting(lambda: http.get(f"http://{place}/x"), asked) as failures,
    ):
        http.close()
    assert "stopped" in str(failures[0])


def test_a_head_on_a_kept_connection_is_waited_for_no_longer() -> None:
    asked = threading.Event()

    def serve(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(ANSWER)
        client.recv(65536)
        asked.set()
        client.recv(65536)

    http = Http(PATIENT, netrc=False)
    with listening(serve) as place:
        assert http.get_small(f"http://{place}/x", limit=9).body == b"ok"
        with waiting(lambda: http.get(f"http://{place}/x"), asked) as failures:
            http.close()
    assert "stopped" in str(failures[0])


@pytest.mark.parametrize("proxied", [False, True], ids=["TLS", "CONNECT"])
def test_tls_and_a_tunnel_are_waited_for_no_longer(
    proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    http = Http(PATIENT, netrc=False)
    with listening(silent(asked)) as place:
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{place}")
        url = "https://elsewhere.invalid/x" if proxied else f"https://{place}/x"
        with waiting(lambda: http.get(url), asked) as failures:
            http.close()
    assert "stopped" in str(failures[0])


def test_whoever_waits_for_a_free_connection_asks_no_more() -> None:
    asked, seen = threading.Event(), []

    def serve(client: socket.socket) -> None:
        seen.append(client.recv(65536))
        asked.set()
        client.recv(65536)

    http = Http(HttpSettings(stall_timeout=600, per_host=1), netrc=False)
    with listening(serve) as place:

        def ask() -> None:
            http.get(f"http://{place}/x")

        with waiting(ask, asked) as one, waiting(ask, asked) as other:
            http.close()
    assert len(seen) == 1
    assert "stopped" in str(one[0])
    assert "stopped" in str(other[0])


def test_nothing_is_asked_of_who_is_closed() -> None:
    seen = []
    with listening(lambda client: seen.append(client.recv(65536))) as place:
        http = Http(PATIENT, netrc=False)
        http.close()
        with pytest.raises(HttpFailure, match="stopped") as caught:
            http.get_small(f"http://{place}/x", limit=9)
    assert not caught.value.temporary
    assert seen == []
