"""Proxies of the environment, in every form in which other clients take them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.proxies import proxy_of
from tests.conftest import QUICK
from tests.fakes.hostile import FileServer
from tests.fakes.proxies import http_proxy, listening, socks_proxy


def place_of(server: FileServer) -> tuple[str, int]:
    parts = urlsplit(server.url())
    return parts.hostname or "", parts.port or 0


@pytest.mark.parametrize(
    "login",
    ["user%40corp:p%40ss%23", "user@corp:p@ss%23", "user@corp:p@ss#"],
)
def test_a_proxy_gets_its_login_decoded(
    login: str, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.add("x", b"by proxy")
    with http_proxy(place_of(files), [], login="user@corp:p@ss#") as proxy:
        monkeypatch.setenv("http_proxy", f"http://{login}@{proxy}/")
        with Http(QUICK) as http:
            assert http.get_small("http://upstream.invalid/x", limit=100).body == b"by proxy"


def test_a_password_may_have_every_character(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.add("x", b"by proxy")
    with http_proxy(place_of(files), [], login="ÿ:@:/?#%[] ö") as proxy:
        login = "%C3%BF:%40%3A%2F%3F%23%25%5B%5D%20%C3%B6"
        monkeypatch.setenv("ALL_PROXY", f"{login}@{proxy}")
        with Http(QUICK) as http:
            assert http.get_small("http://upstream.invalid/x", limit=100).body == b"by proxy"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("login", "told"), [("", "wants a login"), ("u:geheim@", "does not take the login")]
)
def test_a_proxys_407_is_told_as_the_proxys(
    scheme: str, login: str, told: str, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with http_proxy(place_of(files), asked, login="other:one") as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{login}{proxy}")
        with Http(QUICK) as http, pytest.raises(HttpFailure) as caught:
            http.get_small(f"{scheme}://upstream.invalid/x", limit=100)
    assert f"the proxy {proxy} {told} (407 Proxy Authentication Required)" in str(caught.value)
    assert f"{scheme}_proxy" in (caught.value.hint or "")
    assert "geheim" not in f"{caught.value} {caught.value.hint}"
    assert len(asked) == 1


def test_a_tunnel_that_a_proxy_forbids_is_not_asked_for_again(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with http_proxy(place_of(files), asked, refuse="403 Forbidden") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with Http(QUICK) as http, pytest.raises(HttpFailure, match=f"proxy {proxy} failed.*403"):
            http.get_small("https://upstream.invalid/x", limit=100)
    assert [line.rpartition(" ")[0] for line in asked] == ["CONNECT upstream.invalid:443"]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_https_goes_through_a_proxy_and_the_certificate_is_the_servers(
    scheme: str, secure: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.add("x", b"by proxy")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    asked: list[str] = []
    made = http_proxy if scheme == "http" else socks_proxy
    with made(place_of(secure), asked, login="u@x:p w") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://u%40x:p%20w@{proxy}")
        with Http(QUICK) as http:
            assert http.get_small("https://localhost:7777/x", limit=100).body == b"by proxy"
            monkeypatch.setenv("NO_PROXY", "")
            with pytest.raises(HttpFailure, match="TLS failed"):
                http.get_small("https://another.example/x", limit=100)
    assert [line.removeprefix("CONNECT ").split()[0] for line in asked] == [
        "localhost:7777",
        "another.example:443",
    ]


def test_socks5h_leaves_names_to_the_proxy_and_socks5_does_not(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.add("x", b"by proxy")
    asked: list[str] = []
    with socks_proxy(place_of(files), asked) as proxy:
        for scheme, host in (("socks5h", "upstream.invalid"), ("socks5", "localhost")):
            monkeypatch.setenv("all_proxy", f"{scheme}://{proxy}")
            with Http(QUICK) as http:
                assert http.get_small(f"http://{host}:81/x", limit=100).body == b"by proxy"
    assert asked[0] == "upstream.invalid:81"
    assert asked[1] in {"127.0.0.1:81", "::1:81"}


def test_curl_takes_the_same_socks_proxy(files: FileServer) -> None:
    """The proxy of these tests speaks what others speak."""
    files.add("x", b"by proxy")
    with socks_proxy(place_of(files), [], login="u:p") as proxy:
        command = ["curl", "-s", "--proxy", f"socks5h://u:p@{proxy}", "http://upstream.invalid/x"]
        done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"by proxy"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"code": 2}, "its rules forbid this server"),
        ({"code": 5}, "the server refused the connection"),
        ({"login": "other:one"}, "it takes no user and password|refuses the login|wants a login"),
    ],
)
def test_what_a_socks_proxy_refuses_is_told(
    options: dict[str, object], told: str, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy(place_of(files), [], **options) as proxy:  # type: ignore[arg-type]
        monkeypatch.setenv("all_proxy", f"socks5h://u:p@{proxy}")
        with Http(QUICK) as http, pytest.raises(HttpFailure, match=told) as caught:
            http.get("http://upstream.invalid/x")
    assert f"the proxy {proxy} failed" in str(caught.value)


def test_a_server_that_is_no_socks_proxy_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as place:
        monkeypatch.setenv("all_proxy", f"socks5h://{place}")
        with Http(QUICK) as http, pytest.raises(HttpFailure, match="does not speak SOCKS 5"):
            http.get("http://upstream.invalid/x")


@pytest.mark.parametrize(
    ("listed", "direct", "by_proxy"),
    [
        ("*", ["http://any.example/"], []),
        (
            "site.example",
            ["http://site.example/", "http://a.b.site.example:99/"],
            ["http://xsite.example/"],
        ),
        (".site.example", ["http://a.site.example/"], ["http://xsite.example/"]),
        ("*.site.example", ["http://a.SITE.example/"], ["http://site.examples/"]),
        ("site.example:8080", ["http://site.example:8080/"], ["http://site.example/"]),
        ("site.example:80", ["http://site.example/"], ["https://site.example/"]),
        ("10.0.0.0/8", ["http://10.1.2.3:5000/"], ["http://11.0.0.1/", "http://ten.example/"]),
        ("10.1.2.3", ["http://10.1.2.3/"], ["http://10.1.2.33/", "http://110.1.2.3/"]),
        ("10.1.2.3:5000", ["http://10.1.2.3:5000/"], ["http://10.1.2.3:5001/"]),
        ("fd00::/8", ["http://[fd00::5]:80/"], ["http://[fe80::5]/"]),
        ("[fd00::5]:5000", ["http://[fd00::5]:5000/"], ["http://[fd00::5]/"]),
        ("fd00::5", ["http://[fd00::5]/"], ["http://[fd00::6]/"]),
        ("a.example, b.example", ["http://a.example/", "http://b.example/"], ["http://c.example/"]),
        ("a.example b.example,,", ["http://b.example./"], ["http://c.example/"]),
        ("0.1.2.3", [], ["http://10.1.2.3/"]),
        (":80", [], ["http://any.example/"]),
        ("]:x[", [], ["http://any.example/"]),
    ],
)
def test_no_proxy_names_whom_to_reach_directly(
    listed: str, direct: list[str], by_proxy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", listed)
    assert [url for url in direct if proxy_of(url)] == []
    assert [url for url in by_proxy if not proxy_of(url)] == []


def test_names_in_lower_case_come_first_and_each_scheme_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://upper.example:1")
    monkeypatch.setenv("https_proxy", "lower.example")
    monkeypatch.setenv("all_proxy", "socks5h://[fd00::1]")
    secure, plain = proxy_of("https://x.example/"), proxy_of("http://x.example/")
    assert [proxy and (proxy.variable, proxy.address) for proxy in (secure, plain)] == [
        ("https_proxy", "http://lower.example:80"),
        ("all_proxy", "socks5h://[fd00::1]:1080"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "http://",
        "ftp://x.example",
        "socks4://u:geheim@x.example",
        "http://x:99999",
        "a b",
    ],
)
def test_what_is_no_proxy_is_refused_by_the_name_of_its_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(EnvironmentProblem, match="HTTPS_PROXY: not the address") as caught:
        proxy_of("https://x.example/")
    assert "geheim" not in str(caught.value)
