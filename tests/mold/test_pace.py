"""Management servers and upload hosts that always send a little, or far too much: each is left."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path

import pytest

from isobuilder.errors import IsobuilderError, MoldError
from isobuilder.mold.api.client import MoldClient
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.api.errors import MoldUnreachable, OutcomeUnknown
from isobuilder.mold.api.records import UploadTicket
from isobuilder.mold.api.upload import send_file
from isobuilder.pipeline.upstream.lacking import unregistered
from tests.test_http_pace import FLOODS, HEAD, TRICKLES, drip


def client(address: str, *, timeout: float = 1.5) -> MoldClient:
    key = ApiKey("key-0123456789", "secret-0123456789")
    server = MoldServer(
        "lab", address, key, timeout=timeout, least_speed=1000, least_speed_seconds=0.6
    )
    return MoldClient(server, patience=0.0)


@pytest.mark.parametrize("name", sorted(TRICKLES.keys() - {"extension"}))
@pytest.mark.parametrize(
    ("command", "kind"), [("listZones", MoldUnreachable), ("addKubernetes", OutcomeUnknown)]
)
def test_an_answer_that_trickles_is_left(
    name: str, command: str, kind: type[IsobuilderError]
) -> None:
    began = time.monotonic()
    with drip(TRICKLES[name]) as address, pytest.raises(kind) as caught:
        client(f"http://{address}").call(command)
    assert time.monotonic() - began < 60
    assert "slower than" in str(caught.value) or "no whole head" in str(caught.value)


@pytest.mark.parametrize("name", FLOODS)
def test_an_answer_that_is_a_flood_of_nothing_is_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.0)
    began = time.monotonic()
    with drip(FLOODS[name]) as address, pytest.raises(MoldUnreachable) as caught:
        client(f"http://{address}", timeout=30).call("listZones")
    assert time.monotonic() - began < 300
    assert "no whole head" in str(caught.value) or "hardly any of a body" in str(caught.value)
    assert "who answers" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["nothing", "body", "head", "page after page"])
def test_a_look_ends_when_its_time_is_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time-outs of the settings are, and however many pages there are."""
    page = b'{"listzonesresponse":{"zone":[%s]}}' % b",".join([b'{"id":"%d"}'] * 500)
    count = iter(range(10**9))

    def pages() -> Iterable[bytes]:
        body = page % tuple(next(count) for _ in range(500))
        head = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        return [head + body]

    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.2)
    kinds = {**TRICKLES, "nothing": lambda: repeat(b""), "page after page": pages}
    key = ApiKey("key-0123456789", "secret-0123456789")
    with drip(kinds[name]) as address:
        server = MoldServer("lab", f"http://{address}", key, timeout=600, least_speed=0)
        mold = MoldClient(server)
        began = time.monotonic()
        with pytest.raises(MoldUnreachable), mold.within(2.0):
            mold.list_all("listZones", "zone")
    assert time.monotonic() - began < 60
    assert mold.deadline is None


def test_a_server_that_says_nothing_keeps_no_check_of_upstream_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobuilder.pipeline.upstream.lacking._PATIENCE", 1.0)
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.2)
    key = ApiKey("key-0123456789", "secret-0123456789")
    began = time.monotonic()
    with drip(lambda: repeat(b"")) as address:
        mold = Mold(MoldServer("lab", f"http://{address}", key, timeout=600))
        (told,) = unregistered([], {"lab": mold})
    assert time.monotonic() - began < 60
    assert told.kind == "unreachable"


def test_what_is_told_of_it_names_the_setting() -> None:
    with drip(TRICKLES["body"]) as address, pytest.raises(MoldUnreachable) as caught:
        client(f"http://{address}").call("listZones")
    assert "transfer.least_speed" in str(caught.value.hint)


def test_what_an_upload_host_says_is_read_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_http_pace.PAUSE", 0.0)
    iso = tmp_path / "a.iso"
    iso.write_bytes(b"x" * 1000)
    said = HEAD.replace(b"200 OK", b"500 No\x1b[2J") + b"\r\n" + b"no\nhint: run x " * 20
    with drip(lambda: chain([said], repeat(b"y" * 65536, 4000))) as address:
        ticket = UploadTicket(
            id="1", postURL=f"http://{address}", metadata="m", signature="s", expires="e"
        )
        tracemalloc.start()
        try:
            with pytest.raises(MoldError) as caught:
                send_file(client(f"http://{address}", timeout=30), ticket, iso)
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
        finally:
            tracemalloc.stop()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_an_upload_host_that_trickles_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.mold.api.upload._PATIENCE", 0.4)
    iso = tmp_path / "a.iso"
    iso.write_bytes(b"x" * 1000)
    began = time.monotonic()
    with drip(TRICKLES["headers"]) as address:
        ticket = UploadTicket(
            id="1", postURL=f"http://{address}", metadata="m", signature="s", expires="e"
        )
        with pytest.raises(MoldUnreachable):
            send_file(client(f"http://{address}"), ticket, iso)
    assert time.monotonic() - began < 60


def pages_of(pages: list[list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch) -> MoldClient:
    """A client whose server has these pages, and then the last one for ever."""
    mold = client("http://127.0.0.1:1")

    def call(_command: str, **params: object) -> dict[str, object]:
        return {"zone": pages[min(int(str(params["page"])), len(pages)) - 1]}

    monkeypatch.setattr(mold, "call", call)
    return mold


def test_long_pages_cost_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[list[dict[str, object]]] = [
        [{"id": f"{page}-{n}"} for n in range(20_000)] for page in range(3)
    ]
    began = time.process_time()
    assert len(pages_of(pages, monkeypatch).list_all("listZones", "zone")) == 60_000
    assert time.process_time() - began < 10


def test_a_list_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    endless: list[list[dict[str, object]]] = [
        [{"id": f"{page}-{n}", "name": "x" * 10_000} for n in range(500)] for page in range(20)
    ]
    with pytest.raises(MoldError, match="characters of zone"):
        pages_of(endless, monkeypatch).list_all("listZones", "zone")


def test_an_upload_host_gets_no_login_of_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    iso = tmp_path / "a.iso"
    iso.write_bytes(b"x" * 10)
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/upload"
        ticket = UploadTicket(id="1", postURL=address, metadata="m", signature="s", expires="e")
        mold = client("http://127.0.0.1:1", timeout=30)
        send_file(mold, ticket, iso)
        mold.close()
        thread.join(60)
    assert b"x-signature" in heads[0]
    assert b"authorization" not in heads[0].lower()
