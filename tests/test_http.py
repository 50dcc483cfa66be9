from __future__ import annotations

import base64
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, InputError, UpstreamError
from isobuilder.http.access import Netrc
from isobuilder.http.addresses import is_this_machine, may_share_credentials, redact
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.failure import http_date as date_of_header
from isobuilder.http.pacing import RateLimit
from isobuilder.http.proxies import proxy_of
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config
from tests.conftest import QUICK
from tests.fakes.hostile import (
    FileServer,
    answer,
    cut,
    endless,
    gzipped,
    http_date,
    redirect,
    refuse,
    silent,
    slow,
    stall,
)

BUILDER = """
import sys
import isobuilder.pipeline.build, isobuilder.sources.session
from isobuilder.http.client import Http
with Http():
    pass
print(*sorted(sys.modules.keys() & {"http.client", "requests", "ssl", "urllib3"}))
"""


def test_what_needs_no_connection_imports_no_library_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", BUILDER], check=True, capture_output=True)
    assert done.stdout.split() == []


# --- one request


def test_a_body_arrives_as_it_was_sent(http: Http, files: FileServer) -> None:
    content = bytes(range(256)) * 5000
    url = files.add("kubelet", content)
    with http.get(url) as response:
        assert b"".join(response.chunks()) == content
        assert response.length == len(content)
        assert response.headers["etag"] == '"v1"'
    assert files.requests("kubelet")[0].headers["accept-encoding"] == "identity"


def test_a_chunked_body_arrives_whole(http: Http, files: FileServer) -> None:
    chunked = b"4\r\nkube\r\n3\r\nlet\r\n0\r\n\r\n"
    url = files.add("x", b"", answer(chunked, length=None, Transfer_Encoding="chunked"))
    assert http.get_small(url, limit=7).body == b"kubelet"


def test_connections_are_used_again(http: Http, files: FileServer) -> None:
    url = files.add("x", b"small")
    for _ in range(5):
        http.get_small(url, limit=10)
    (manager,) = http._managers.values()
    (pool,) = [manager.pools.get(key) for key in manager.pools.keys()]  # noqa: SIM118
    assert pool is not None
    assert pool.num_connections == 1


def test_a_broken_connection_is_told_from_an_end(http: Http, files: FileServer) -> None:
    url = files.add("x", b"0123456789", cut(4))
    with http.get(url) as response, pytest.raises(HttpFailure, match="after 4 of 10") as caught:
        list(response.chunks())
    assert caught.value.temporary


def test_a_silent_server_is_left_after_the_stall_timeout(files: FileServer) -> None:
    url = files.add("x", b"0123456789", stall(4), silent)
    settings = HttpSettings(stall_timeout=0.2)
    with Http(settings) as http:
        with http.get(url) as response, pytest.raises(HttpFailure, match=r"stalled: .* 0\.2 s"):
            list(response.chunks())
        with pytest.raises(HttpFailure, match="stalled"):
            http.get(url)


def test_closing_wakes_a_thread_that_waits_for_bytes(files: FileServer) -> None:
    url = files.add("x", b"0123456789", stall(4))
    http = Http(HttpSettings(stall_timeout=60))
    failures: list[HttpFailure] = []
    begun = threading.Event()

    def wait() -> None:
        with http.get(url) as response:
            begun.set()
            try:
                list(response.chunks())
            except HttpFailure as failure:
                failures.append(failure)

    thread = threading.Thread(target=wait)
    thread.start()
    assert files.stalled.wait(60)
    assert begun.wait(60)
    http.close()
    thread.join(60)
    assert not thread.is_alive()
    assert "stopped" in str(failures[0])


@pytest.mark.parametrize(
    ("address", "fact", "temporary"),
    [
        ("http://127.0.0.1:1/x", "cannot connect: Connection refused", True),
        ("http://no-such-host.invalid/x", "name cannot be resolved", None),
        ("file:///no/such/file", "leads out of the folder of the mirror", False),
        ("file://elsewhere/etc/passwd", "no such file", False),
    ],
)
def test_a_failure_says_what_happened_and_if_another_try_can_help(
    http: Http, address: str, fact: str, temporary: bool | None
) -> None:
    with pytest.raises(HttpFailure, match=fact) as caught:
        http.get(address)
    if temporary is not None:
        assert caught.value.temporary == temporary
    assert isinstance(caught.value, UpstreamError)


@pytest.mark.parametrize("address", ["ftp://host/x", "http:///x", "http://[::1/x", "kubelet", ""])
def test_an_address_that_cannot_be_asked_is_refused(http: Http, address: str) -> None:
    with pytest.raises(InputError, match="expected an http or https address"):
        http.get(address)


def test_a_file_of_a_mirror_is_read_from_disk(http: Http, tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"kubelet")
    assert http.get_small(path.as_uri(), limit=10).body == b"kubelet"


def test_a_file_outside_the_mirrors_folder_is_not_read(tmp_path: Path) -> None:
    folder, secret = tmp_path / "mirror", tmp_path / "secret"
    folder.mkdir()
    secret.write_bytes(b"secret")
    (folder / "good").write_bytes(b"good")
    (folder / "link").symlink_to(secret)
    (tmp_path / "mirror-2").mkdir()
    (tmp_path / "mirror-2/file").write_bytes(b"secret")
    base = folder.as_uri()
    with Http(HttpSettings(folders=(folder,))) as http:
        assert http.get_small(f"{base}/good", limit=10).body == b"good"
        for rest in (
            *("/../secret", "/%2e%2e/secret", "/x/%2E./../../secret", "/..%2fsecret", "/link"),
            *("-2/file", "/../../../../../../../../../etc/passwd"),
        ):
            with pytest.raises(HttpFailure, match="leads out of the folder") as caught:
                http.get_small(base + rest, limit=10)
            assert not caught.value.temporary
        for rest in ("/%00", "/none"):
            with pytest.raises(HttpFailure, match="no such file"):
                http.get_small(base + rest, limit=10)


def test_offline_asks_nobody_but_the_disk(files: FileServer, tmp_path: Path) -> None:
    url = files.add("x", b"x")
    path = tmp_path / "x"
    path.write_bytes(b"x")
    with Http(HttpSettings(offline=True, folders=(tmp_path,))) as http:
        with pytest.raises(HttpFailure, match="not asked because of --offline"):
            http.get(url)
        assert http.get_small(path.as_uri(), limit=10).body == b"x"
    assert files.seen == []


def test_a_form_is_sent_and_its_answer_returned(http: Http, files: FileServer) -> None:
    url = files.add("token", b'{"token": "t"}', refuse(503))
    said = http.post_form(url, {"user": "a b", "scope": "x:y"}, limit=100, auth="Basic Zm9v")
    assert said.body == b'{"token": "t"}'
    seen = files.requests("token")[-1]
    assert seen.body == b"user=a+b&scope=x%3Ay"
    assert seen.headers["authorization"] == "Basic Zm9v"


def test_a_form_does_not_follow_redirects(http: Http, files: FileServer) -> None:
    url = files.add("token", b"", redirect("/elsewhere"))
    with pytest.raises(HttpFailure, match="302"):
        http.post_form(url, {"password": "secret"}, limit=100)
    assert not files.requests("elsewhere")


# --- small answers and retries


@pytest.mark.parametrize("fault", [refuse(503), refuse(500), refuse(429), refuse(408), cut(3)])
def test_what_may_pass_is_tried_again(http: Http, files: FileServer, fault: object) -> None:
    assert callable(fault)
    url = files.add("x", b"content", fault, fault)
    assert http.get_small(url, limit=100).body == b"content"
    assert len(files.requests("x")) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_will_not_pass_is_not_tried_again(http: Http, files: FileServer, status: int) -> None:
    url = files.add("x", b"content", refuse(status, WWW_Authenticate="Bearer realm=x"))
    with pytest.raises(HttpFailure, match=str(status)) as caught:
        http.get_small(url, limit=100)
    assert len(files.requests("x")) == 1
    assert caught.value.status == status
    assert caught.value.headers["www-authenticate"] == "Bearer realm=x"


def test_tries_end(http: Http, files: FileServer) -> None:
    url = files.add("x", b"content", always=refuse(502))
    with pytest.raises(HttpFailure, match="502 Bad Gateway"):
        http.get_small(url, limit=100)
    assert len(files.requests("x")) == 1 + QUICK.retries


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(http: Http, files: FileServer, as_date: bool) -> None:
    begin = time.time()
    url = files.add("x", b"content", refuse(429, Retry_After=http_date(2) if as_date else "1"))
    assert http.get_small(url, limit=100).body == b"content"
    # A date has whole seconds, so what it means came more than one after it was written.
    assert 0.9 < time.time() - begin < 60


@pytest.mark.parametrize("said", ["3600", http_date(3600)], ids=["seconds", "date"])
def test_a_retry_after_beyond_the_budget_ends_the_tries(
    http: Http, files: FileServer, said: str
) -> None:
    url = files.add("x", b"content", always=refuse(503, Retry_After=said))
    with pytest.raises(HttpFailure, match="503"):
        http.get_small(url, limit=100)
    assert len(files.requests("x")) == 1


@pytest.mark.parametrize(
    "said", ["", "soon", "-5", "1e9", "Mon, 99 Foo 99999", "Sat, 1 Jan 9999 0:0:0 +999999"]
)
def test_a_senseless_retry_after_is_not_waited_for(
    http: Http, files: FileServer, said: str
) -> None:
    url = files.add("x", b"content", refuse(503, Retry_After=said))
    assert http.get_small(url, limit=100).body == b"content"


def test_an_answer_longer_than_allowed_is_refused(http: Http, files: FileServer) -> None:
    url = files.add("x", b"content")
    assert http.get_small(url, limit=7).body == b"content"
    with pytest.raises(HttpFailure, match="longer than the 6 bytes"):
        http.get_small(url, limit=6)
    files.add("x", b"", endless)
    with pytest.raises(HttpFailure, match="longer than the 1000000 bytes"):
        http.get_small(url, limit=1_000_000)


def test_an_encoded_answer_is_refused(http: Http, files: FileServer) -> None:
    url = files.add("x", b"content", gzipped)
    with pytest.raises(HttpFailure, match="expected the file itself, got it encoded as gzip"):
        http.get_small(url, limit=100)


# --- redirects and credentials


def test_redirects_are_followed_relative_ones_too(http: Http, files: FileServer) -> None:
    url = files.add("a/b", b"", redirect("../c?x=1#fragment", 301))
    files.add("c", b"content")
    said = http.get_small(url, limit=100)
    assert said.body == b"content"
    assert said.url == files.url("c?x=1")


def test_a_redirect_loop_is_named(http: Http, files: FileServer) -> None:
    url = files.add("a", b"", always=redirect("/b"))
    files.add("b", b"", always=redirect("/a"))
    with pytest.raises(HttpFailure, match=r"/a: redirects in a loop by way of .*/a"):
        http.get_small(url, limit=100)


def test_endless_redirects_end(http: Http, files: FileServer) -> None:
    for number in range(20):
        files.add(str(number), b"", redirect(f"/{number + 1}"))
    with pytest.raises(HttpFailure, match="/0: more than 10 redirects"):
        http.get_small(files.url("0"), limit=100)


@pytest.mark.parametrize(
    "target",
    [
        "http://a b.invalid/",
        "http://\x01.invalid/",
        "http://\xff.invalid/",
        "http://" + "a" * 300 + ".invalid/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:http/",
        "http://..invalid/",
        "http://xn--.invalid/",
        # Numbers that some readers take for 127.0.0.1 or another address, and others for names.
        "http://511/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "/" + "a" * 60_000,
    ],
)
def test_a_redirect_to_nonsense_is_a_failure_like_any_other(
    http: Http, files: FileServer, target: str
) -> None:
    url = files.add("a", b"", redirect(target))
    with pytest.raises(HttpFailure):
        http.get(url)


@pytest.mark.parametrize("said", ["9" * 5000, "-1", "1e3", "0x10", "+5", ""])
def test_a_length_that_is_no_number_is_no_length(http: Http, files: FileServer, said: str) -> None:
    url = files.add("a", b"", answer(b"content", length=None, Content_Length=said))
    with http.get(url) as response:
        assert response.length is None


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "http://[::1/", "//"])
def test_redirects_lead_to_no_other_kind_of_address(
    http: Http, files: FileServer, target: str
) -> None:
    url = files.add("a", b"", redirect(target))
    with pytest.raises(HttpFailure, match=r"/a: .*redirect"):
        http.get_small(url, limit=100)


def test_a_login_follows_a_redirect_on_the_same_host(http: Http, files: FileServer) -> None:
    url = files.add("a", b"", redirect("/b"))
    files.add("b", b"content")
    http.get_small(url, limit=100, auth="Bearer secret")
    assert files.requests("b")[0].headers["authorization"] == "Bearer secret"


def test_a_login_never_follows_to_another_host(http: Http, files: FileServer) -> None:
    url = files.add("a", b"", redirect(files.url("b", host="localhost")))
    files.add("b", b"content", redirect(files.url("c")))
    files.add("c", b"content")
    kept = {"Cookie": "secret", "Accept": "text/plain"}
    http.get_small(url, limit=100, auth="Bearer secret", headers=kept)
    seen = files.requests("b")[0].headers
    assert seen["host"].startswith("localhost")
    assert "authorization" not in seen
    assert "cookie" not in seen
    assert seen["accept"] == "text/plain"
    # And not back again: the other host chose where to.
    assert "authorization" not in files.requests("c")[0].headers


def test_another_port_is_another_host(http: Http, files: FileServer) -> None:
    with FileServer() as other:
        other.add("b", b"content")
        url = files.add("a", b"", redirect(other.url("b")))
        http.get_small(url, limit=100, auth="Bearer secret")
        assert "authorization" not in other.requests("b")[0].headers


def test_a_host_we_were_sent_to_cannot_ask_for_the_login(http: Http, files: FileServer) -> None:
    url = files.add("a", b"", redirect(files.url("b", host="localhost")))
    files.add("b", b"", refuse(401, WWW_Authenticate='Bearer realm="http://evil.example/"'))
    with pytest.raises(HttpFailure, match="401") as caught:
        http.get(url)
    assert "WWW-Authenticate" not in caught.value.headers


@pytest.mark.parametrize(
    ("old", "new", "share"),
    [
        ("https://a/x", "https://a/y", True),
        ("https://a/x", "https://A:443/y", True),
        ("http://a/x", "https://a/y", True),
        ("https://a/x", "http://a/y", False),
        ("https://a/x", "https://b/y", False),
        ("https://a/x", "https://a:8443/y", False),
        ("http://a:8080/x", "https://a/y", False),
        ("https://a/x", "https://a.evil.example/y", False),
        ("https://a/x", "https://a@evil.example/y", False),
    ],
)
def test_credentials_belong_to_scheme_host_and_port(old: str, new: str, share: bool) -> None:
    assert may_share_credentials(old, new) == share


def test_netrc_gives_a_login_for_its_host_only(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ci password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = files.add("a", b"", redirect(files.url("b", host="localhost")))
    files.add("b", b"content")
    with Http(QUICK) as http:
        http.get_small(url, limit=100)
    pair = base64.b64encode(b"ci:s3cret").decode()
    assert files.requests("a")[0].headers["authorization"] == f"Basic {pair}"
    assert "authorization" not in files.requests("b")[0].headers


def test_the_default_login_of_netrc_does_not_follow_redirects(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ci password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = files.add("a", b"", redirect(files.url("b", host="localhost")))
    files.add("b", b"content")
    with Http(replace(QUICK, own_hosts=frozenset({"127.0.0.1", "localhost"}))) as http:
        http.get_small(url, limit=100)
    assert "authorization" in files.requests("a")[0].headers
    assert "authorization" not in files.requests("b")[0].headers


@pytest.mark.parametrize("own", [frozenset(), frozenset({"mirror.example"})])
def test_the_default_login_of_netrc_is_only_for_hosts_of_the_configuration(
    own: frozenset[str], files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ci password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Http(replace(QUICK, own_hosts=own)) as http:
        http.get_small(files.add("a", b"content"), limit=100)
    assert "authorization" not in files.requests("a")[0].headers
    assert Netrc(own).login("https://default/x", named_by_server=False) is None


def test_the_hosts_of_mirrors_are_those_of_the_configuration() -> None:
    mirrors: dict[str, tuple[str, ...]] = {
        "https://dl.example": ("https://Mirror.example:8443/x", "file:///srv")
    }
    assert Config(mirrors=mirrors).http.own_hosts == {"mirror.example"}


def test_a_broken_netrc_is_named_without_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine host login ci s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(EnvironmentProblem) as caught:
        Http(QUICK)
    assert str(netrc) in str(caught.value)
    assert "s3cret" not in str(caught.value)


# --- what is shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host:8443/p?X-Sig=abc&y=1#f", "https://host:8443/p?..."),
        ("https://host/p", "https://host/p"),
        ("https://token@host/", "https://host/"),
        ("http://[bad", "(malformed address)"),
    ],
)
def test_addresses_lose_their_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_no_secret_of_an_address_reaches_messages_or_logs(
    http: Http, files: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = files.add("a", b"", always=redirect("/b?signature=topsecret"))
    files.add("b", b"", always=cut(0))
    files.things["b"].content = b"content"
    dressed = url.replace("http://", "http://user:pass9@") + "?token=hidden"
    with pytest.raises(HttpFailure) as caught:
        http.get_small(dressed, limit=100)
    everything = str(caught.value) + caplog.text
    assert files.url("b") in everything
    for secret in ("topsecret", "hidden", "pass9"):
        assert secret not in everything
    assert "authorization" not in files.requests("a")[0].headers


# --- TLS, proxies, settings


def test_an_unknown_certificate_is_refused_at_once(http: Http, secure: FileServer) -> None:
    url = secure.add("x", b"content")
    with pytest.raises(HttpFailure, match=r"/x: TLS failed: ") as caught:
        http.get_small(url, limit=100)
    assert not caught.value.temporary
    assert "SSL_CERT_FILE" in str(caught.value.hint)


def test_ssl_cert_file_names_whom_to_trust(
    secure: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = secure.add("x", b"content")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with Http(QUICK) as http:
        assert http.get_small(url, limit=100).body == b"content"


def test_https_does_not_lead_to_http(
    secure: FileServer, files: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    url = secure.add("x", b"", redirect(files.add("y", b"content")))
    with Http(QUICK) as http, pytest.raises(HttpFailure, match=r"redirects from https to http:"):
        http.get_small(url, limit=100)
    assert files.seen == []


def test_an_ssl_cert_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with Http(QUICK) as http, pytest.raises(EnvironmentProblem, match="SSL_CERT_FILE: /no/such"):
        http.get("https://127.0.0.1:1/")


def test_proxies_come_from_the_environment(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = files.url().rsplit(":", 1)[1].rstrip("/")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pw@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "localhost,10.0.0.0/8,.site.example")
    files.add("http://upstream.invalid/kubelet".lstrip("/"), b"by proxy")
    with Http(QUICK) as http:
        assert http.get_small("http://upstream.invalid/kubelet", limit=100).body == b"by proxy"
    pair = base64.b64encode(b"user:pw").decode()
    assert files.seen[0].headers["proxy-authorization"] == f"Basic {pair}"
    assert proxy_of("http://localhost/") is None
    assert proxy_of("http://10.1.2.3/") is None
    assert proxy_of("http://mirror.site.example/") is None


def test_settings_come_from_the_configuration() -> None:
    config = Config(retries=1, per_host=2, limit_rate=3, offline=True, stall_timeout=4.0)
    settings = config.http
    assert (settings.retries, settings.per_host, settings.limit_rate) == (1, 2, 3)
    assert (settings.offline, settings.stall_timeout) == (True, 4.0)


# --- rates and limits


def test_a_rate_holds_over_all_threads() -> None:
    waited: list[float] = []
    lock = threading.Lock()

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        with lock:
            waited.append(seconds)

    rate = RateLimit(1_000_000, pause=pause)
    begin = time.monotonic()

    def take() -> None:
        for _ in range(10):
            rate.take(5_000)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 400,000 bytes at 1,000,000 a second; a lost update would let them through sooner.
    assert 0.38 < time.monotonic() - begin < 20
    assert waited


def test_transfers_keep_to_the_rate_together(files: FileServer) -> None:
    urls = [files.add(str(number), bytes(100_000)) for number in range(4)]
    with Http(HttpSettings(limit_rate=1_000_000)) as http:
        begin = time.monotonic()
        threads = [
            threading.Thread(target=http.get_small, args=(url,), kwargs={"limit": 100_000})
            for url in urls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.38 < time.monotonic() - begin < 20


def test_no_host_gets_more_connections_than_allowed(files: FileServer) -> None:
    urls = [files.add(str(number), b"x" * 1000, always=slow(20_000)) for number in range(12)]
    with Http(HttpSettings(per_host=2)) as http:
        threads = [
            threading.Thread(target=http.get_small, args=(url,), kwargs={"limit": 1000})
            for url in urls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(files.seen) == 12
    assert files.most_at_once == 2


@pytest.mark.parametrize(
    "said",
    [
        None,
        *("", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"),
        *("1 Jan 2020 00:00:00 +9999999999999999999999", "Fri, 31 Dec 2020 23:59:59 -999999"),
    ],
)
def test_a_date_that_nobody_can_mean_is_none(said: str | None) -> None:
    assert date_of_header(said) is None


def test_a_date_of_a_header_is_a_moment_whatever_its_zone() -> None:
    for said in ("Fri, 02 Jan 2026 10:00:00 +0900", "Fri, 02 Jan 2026 01:00:00 GMT"):
        assert str(date_of_header(said)) == "2026-01-02 01:00:00+00:00"


def test_a_name_that_looks_like_an_address_of_this_machine_is_a_strangers() -> None:
    assert all(map(is_this_machine, ["localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1"]))
    for name in ("127.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "::", "", None):
        assert not is_this_machine(name)
