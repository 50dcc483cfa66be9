"""A management server behind a proxy: chosen, used and told as for all other connections."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.http import serving
from isobuilder.http.replies import Reply, Request
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.api.errors import MoldUnreachable
from isobuilder.mold.api.records import UploadTicket
from isobuilder.mold.api.upload import send_file
from tests.fakes.proxies import http_proxy, listening, socks_proxy
from tests.mold.clocks import VirtualClock


class Zones(serving.Server):
    """Answers whatever it is asked."""

    def answer(self, request: Request) -> Reply:
        request.body(100_000)
        return Reply(200, {}, b'{"listzonesresponse": {"zone": [{"name": "one"}]}}')

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0


def mold_at(address: str) -> tuple[Mold, VirtualClock]:
    clock = VirtualClock()
    server = MoldServer("lab", f"{address}/client/api", ApiKey("key-0123456789", "s"))
    return Mold(server, clock=clock), clock


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_server_is_reached_through_a_proxy_with_a_login(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    made = http_proxy if scheme == "http" else socks_proxy
    with Zones() as server, made(server.place, asked, login="u@x:p w#") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://u@x:p%20w#@{proxy}")
        mold, clock = mold_at("http://mold.invalid:8080")
        assert mold.list_all("listZones", "zone") == [{"name": "one"}]
    assert "mold.invalid:8080" in asked[0]
    assert clock.slept == []


def test_a_proxys_password_that_is_a_word_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    with Zones() as server, http_proxy(server.place, asked, login="user:name") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://user:name@{proxy}")
        mold, _ = mold_at("http://mold.invalid:8080")
        assert mold.list_all("listZones", "zone") == [{"name": "one"}]


@pytest.mark.parametrize("listed", ["127.0.0.1:{port}", "127.0.0.0/8", "127.0.0.1"])
def test_a_server_that_no_proxy_names_is_asked_itself(
    listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Zones() as server:
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", listed.format(port=server.place[1]))
        mold, _ = mold_at(server.url)
        assert mold.list_all("listZones", "zone") == [{"name": "one"}]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("login", "told"), [("", "wants a login"), ("u:geheim@", "does not take the login")]
)
def test_a_407_is_told_as_the_proxys_and_not_asked_for_again(
    scheme: str, login: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with http_proxy(("127.0.0.1", 9), asked, login="other:one") as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{login}{proxy}")
        mold, clock = mold_at(f"{scheme}://mold.invalid")
        with pytest.raises(MoldUnreachable) as caught:
            mold.call("listZones")
    assert f"lab: the proxy {proxy} {told} (407 Proxy Authentic" in str(caught.value)
    assert f"{scheme}_proxy" in (caught.value.hint or "")
    assert "geheim" not in f"{caught.value} {caught.value.hint}"
    assert len(asked) == 1
    assert clock.slept == []


def test_a_tunnel_that_a_proxy_forbids_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    with http_proxy(("127.0.0.1", 9), asked, refuse="403 Forbidden") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        mold, _ = mold_at("https://mold.invalid")
        with pytest.raises(MoldUnreachable, match=f"proxy {proxy} failed.*403") as caught:
            mold.call("addKubernetesSupportedVersion")
    assert "check HTTPS_PROXY" in str(caught.value.hint)
    assert len(asked) == 1


def test_a_proxy_that_is_away_is_tried_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://u:geheim@127.0.0.1:9")
    mold, clock = mold_at("http://mold.invalid")
    with pytest.raises(MoldUnreachable, match=r"the proxy 127.0.0.1:9 failed: Conn") as caught:
        mold.call("addKubernetesSupportedVersion")  # which it cannot have seen
    assert "check http_proxy" in str(caught.value.hint)
    assert "geheim" not in f"{caught.value} {caught.value.hint}"
    assert clock.slept


def test_a_variable_that_names_no_proxy_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "ftp://u:geheim@x")
    mold, clock = mold_at("http://mold.invalid")
    with pytest.raises(EnvironmentProblem, match="HTTP_PROXY: not the address of a proxy"):
        mold.call("listZones")
    assert clock.slept == []


@pytest.mark.parametrize("status", ["502 Bad", "500 Bad", "200 OK"])
def test_a_proxys_page_that_repeats_the_login_gives_it_not_away(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(client: object) -> None:
        client.recv(65536)  # type: ignore[attr-defined]
        page = b"sent: Basic bWF4OmdlaGVpbQ== max:geheim geheim"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(page)}\r\n\r\n"
        client.sendall(head.encode() + page)  # type: ignore[attr-defined]

    with listening(serve) as proxy:
        monkeypatch.setenv("http_proxy", f"http://max:geheim@{proxy}")
        mold, _ = mold_at("http://mold.invalid")
        with pytest.raises(Exception, match="lab: listZones: HTTP") as caught:
            mold.call("listZones")
    assert "geheim" not in str(caught.value)
    assert "bWF4" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upload_goes_by_the_same_rules(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (iso := tmp_path / "a.iso").write_bytes(b"x" * 10)
    mold, _ = mold_at("http://127.0.0.1:1")
    ticket = UploadTicket(
        id="1", postURL=f"{scheme}://ssvm.invalid/u", metadata="m", signature="s", expires="e"
    )
    with http_proxy(("127.0.0.1", 9), [], login="other:one") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://u:geheim@{proxy}")
        with pytest.raises(MoldUnreachable) as caught:
            send_file(mold, ticket, iso)
    assert f"upload to ssvm.invalid: the proxy {proxy} does not take the login" in str(caught.value)
    assert "geheim" not in str(caught.value)
    with Zones() as server, socks_proxy(server.place, []) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy}")
        if scheme == "http":
            send_file(mold, ticket, iso)
