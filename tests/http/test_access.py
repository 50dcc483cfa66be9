"""What opens a server: who gets which login, whose certificates count, and what is said of both."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.http.access import access_to
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.settings import HttpSettings, ServerAccess
from tests.conftest import QUICK
from tests.fakes.hostile import Exchange, FileServer, honest, redirect, refuse

PASSWORD = "geheim:#@ é"


def with_access(*servers: ServerAccess) -> HttpSettings:
    return HttpSettings(retries=0, connect_timeout=30.0, stall_timeout=30.0, servers=servers)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\nnot this\n", encoding="utf-8")
    return path


def sent(files: FileServer, path: str) -> list[str]:
    logins = (seen.headers.get("authorization", "") for seen in files.requests(path))
    return [base64.b64decode(text.removeprefix("Basic ")).decode() for text in logins]


def public_only(exchange: Exchange) -> None:
    """A server that refuses whoever shows a login it does not know."""
    asked = exchange.handler.headers.get("Authorization")
    refuse(401)(exchange) if asked else honest(exchange)


# --- netrc


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_login_of_netrc_is_named_when_it_is_refused(
    status: int, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine other.example login a password b\n\n"
        f"machine 127.0.0.1 login ci password {PASSWORD[:6]}\n"
    )
    monkeypatch.setenv("NETRC", str(netrc))
    url = files.add("a", b"aaa", always=refuse(status))
    with Http(QUICK) as http, pytest.raises(HttpFailure) as caught:
        http.get_small(url, limit=100)
    assert f"to the login 'ci' of {netrc}, line 3" in str(caught.value)
    assert str(netrc) in (caught.value.hint or "")
    assert PASSWORD[:6] not in f"{caught.value} {caught.value.hint}"


def test_the_default_entry_is_named_as_well(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("# work\ndefault\n  login ci\n  password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = files.add("a", b"aaa", always=public_only)
    settings = replace(QUICK, own_hosts=frozenset({"127.0.0.1"}))
    with Http(settings) as http, pytest.raises(HttpFailure, match=f"'ci' of {netrc}, line 2"):
        http.get_small(url, limit=100)


def test_hosts_of_netrc_are_compared_without_case(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine LocalHost login ci password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    files.add("a", b"aaa")
    with Http(QUICK) as http:
        http.get_small(files.url("a", host="localhost"), limit=100)
    assert sent(files, "a") == ["ci:s3cret"]


def test_without_a_login_none_is_named(files: FileServer) -> None:
    url = files.add("a", b"aaa", always=refuse(401))
    with Http(QUICK) as http, pytest.raises(HttpFailure) as caught:
        http.get_small(url, limit=100)
    assert "login" not in str(caught.value)


# --- logins of the configuration


def test_a_server_gets_the_login_that_the_configuration_has_for_it(
    files: FileServer, password_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrc password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for path in ("a/x", "ab/x", "a/b/x"):
        files.add(path, b"content")
    one = ServerAccess(files.url("a"), user="one", password_file=password_file)
    two = ServerAccess(files.url("a/b"), user="two", password_file=password_file)
    with Http(with_access(one, two)) as http:
        for path in ("a/x", "ab/x", "a/b/x"):
            http.get_small(files.url(path), limit=100)
    assert sent(files, "a/x") == [f"one:{PASSWORD}"]
    assert sent(files, "ab/x") == ["netrc:other"]
    assert sent(files, "a/b/x") == [f"two:{PASSWORD}"]


def test_a_configured_login_follows_no_redirect_to_whom_nobody_named(
    files: FileServer, password_file: Path
) -> None:
    url = files.add("a", b"", redirect(files.url("b", host="localhost")))
    files.add("b", b"content")
    access = ServerAccess(files.url().rstrip("/"), user="ci", password_file=password_file)
    with Http(with_access(access)) as http:
        assert http.get_small(url, limit=100).body == b"content"
    assert sent(files, "a") == [f"ci:{PASSWORD}"]
    assert sent(files, "b") == [""]


def test_a_configured_login_that_is_refused_is_named_without_its_password(
    files: FileServer, password_file: Path
) -> None:
    url = files.add("a", b"aaa", always=public_only)
    access = ServerAccess(files.url().rstrip("/"), user="ci", password_file=password_file)
    with Http(with_access(access)) as http, pytest.raises(HttpFailure) as caught:
        http.get_small(url, limit=100)
    assert f"to the login 'ci' of servers in the configuration, {access.address}" in str(
        caught.value
    )
    assert PASSWORD not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"", "first line is empty"), (b"\xff\n", "not text")],
)
def test_a_password_that_is_not_there_is_told_with_its_file(
    content: bytes | None, told: str, files: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    access = ServerAccess(files.url().rstrip("/"), user="ci", password_file=path)
    with Http(with_access(access)) as http, pytest.raises(EnvironmentProblem, match=told) as caught:
        http.get_small(files.url("a"), limit=100)
    assert str(path) in str(caught.value)


def test_another_host_port_or_scheme_is_another_server() -> None:
    access = ServerAccess("https://a.example/x")
    for url in ("https://a.example/x/y", "https://A.example:443/x", "https://a.example/x?y"):
        assert access_to([access], url) is access
    for url in ("http://a.example/x/y", "https://a.example:1/x", "https://a.example/xy"):
        assert access_to([access], url) is None


# --- certificates


def test_a_ca_file_holds_for_its_server_only(
    secure: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.add("x", b"content")
    access = ServerAccess(
        secure.url(host="localhost").rstrip("/"), ca_file=certificate.with_suffix(".crt")
    )
    with Http(with_access(access)) as http:
        assert http.get_small(secure.url("x", host="localhost"), limit=100).body == b"content"
        with pytest.raises(HttpFailure, match="TLS failed"):
            http.get_small(secure.url("x"), limit=100)


@pytest.fixture
def strict(certificate: Path) -> Iterator[FileServer]:
    """A server that wants a certificate of its clients."""
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=certificate.with_suffix(".crt")
    )
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with FileServer(tls=context) as server:
        yield server


def test_a_client_certificate_is_shown(
    strict: FileServer, certificate: Path, tmp_path: Path
) -> None:
    strict.add("x", b"content")
    authority = certificate.with_suffix(".crt")
    address = strict.url().rstrip("/")
    with_one = ServerAccess(address, ca_file=authority, client_certificate=certificate)
    with Http(with_access(with_one)) as http:
        assert http.get_small(strict.url("x"), limit=100).body == b"content"
    without = ServerAccess(address, ca_file=authority)
    with Http(with_access(without)) as http, pytest.raises(HttpFailure):
        http.get_small(strict.url("x"), limit=100)


def test_certificates_that_cannot_be_used_are_told_with_their_file(
    secure: FileServer, certificate: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    command = "openssl ecparam -name prime256v1 -genkey -noout -out"
    subprocess.run([*command.split(), other], check=True, capture_output=True)
    text = tmp_path / "text"
    text.write_text("no PEM")
    address = secure.url().rstrip("/")
    authority = certificate.with_suffix(".crt")
    for wrong in (
        ServerAccess(address, ca_file=text),
        ServerAccess(address, ca_file=tmp_path / "absent"),
        ServerAccess(address, client_certificate=text),
        ServerAccess(address, client_certificate=authority, client_key=other),
        ServerAccess(address, client_certificate=authority),
    ):
        named = wrong.ca_file or wrong.client_certificate
        with Http(with_access(wrong)) as http, pytest.raises(EnvironmentProblem) as caught:
            http.get_small(secure.url("x"), limit=100)
        assert str(named) in str(caught.value)
        assert address in str(caught.value)
