"""Logging in to registries: whose credentials, which token, and who never sees them."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from isobuilder.errors import EnvironmentProblem, InputError, IsobuilderError, UpstreamError
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config
from isobuilder.sources.registry import RegistryClient
from isobuilder.sources.registry_auth import Credentials, RegistryLogin, auth_paths
from tests.fakes import hostile_registry as hostile
from tests.fakes.images import simple
from tests.fakes.logins import BasicLogin, TokenLogin
from tests.fakes.upstream import FakeUpstream

USERS = {"ann": "s3cret-word"}
PACKED = base64.b64encode(b"ann:s3cret-word").decode()
NAMES = ("a", "b", "c")


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(HttpSettings(retries=1, first_delay=0.001), netrc=False) as opener:
        yield opener


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        for name in NAMES:
            server.put_image(f"r.example/team/{name}", "1", simple(name))
        yield server


def client(http: Http, server: FakeUpstream, credentials: Credentials) -> RegistryClient:
    config = Config(mirrors={"r.example": (f"{server.url}/r.example",)})
    return RegistryClient(http, config, credentials)


def reference(name: str) -> ImageReference:
    return ImageReference.parse(f"r.example/team/{name}:1")


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def logged_in(folder: Path, server: FakeUpstream, **entry: str) -> Credentials:
    auths = {server.url.removeprefix("http://"): entry or {"auth": PACKED}}
    return Credentials([write(folder / "config.json", {"auths": auths})])


# --- tokens ---


def test_each_repository_gets_one_token_for_its_own_scope(
    http: Http, upstream: FakeUpstream
) -> None:
    login = upstream.login = TokenLogin()
    pulls = client(http, upstream, Credentials(()))
    for name in (*NAMES, *NAMES):
        pulls.resolve(reference(name), "amd64")
    assert login.issued == [f"repository:r.example/team/{name}:pull" for name in NAMES]
    # Only the very first request meets a 401: the others know the registry's ways by then.
    assert [line.status for line in upstream.log].count(401) == 1


def test_one_token_serves_all_threads_that_wait_for_it(http: Http, upstream: FakeUpstream) -> None:
    login = upstream.login = TokenLogin()
    pulls = client(http, upstream, Credentials(()))
    together = threading.Barrier(6)

    def pull(_: int) -> str:
        together.wait(60)
        return pulls.resolve(reference("a"), "amd64").digest

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(pull, range(6)))) == 1
    assert login.issued == ["repository:r.example/team/a:pull"]


def test_a_token_that_expires_on_the_way_is_replaced(http: Http, upstream: FakeUpstream) -> None:
    login = upstream.login = TokenLogin()
    pulls = client(http, upstream, Credentials(()))
    pulls.resolve(reference("a"), "amd64")
    login.revoke_all()
    pulls.resolve(reference("a"), "amd64")
    assert login.issued == ["repository:r.example/team/a:pull"] * 2


def test_a_registry_that_refuses_its_own_tokens_is_not_asked_for_ever(
    http: Http, upstream: FakeUpstream
) -> None:
    login = upstream.login = TokenLogin(lifetime=0)
    pulls = client(http, upstream, Credentials(()))
    with pytest.raises(UpstreamError, match=r"/team/a/.*401"):
        pulls.resolve(reference("a"), "amd64")
    assert len(login.issued) <= 3


def test_the_token_service_gets_the_login_and_the_registry_only_the_token(
    http: Http, upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.login = TokenLogin(USERS)
    client(http, upstream, logged_in(tmp_path, upstream)).resolve(reference("a"), "amd64")
    for line in upstream.log:
        sent = line.headers.get("authorization", "")
        assert sent.startswith("Basic ") == (line.path == "/token")


def test_an_identity_token_is_exchanged(http: Http, upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.login = TokenLogin(USERS, identity_tokens=frozenset({"long-lived"}))
    credentials = logged_in(tmp_path, upstream, identitytoken="long-lived")
    client(http, upstream, credentials).resolve(reference("a"), "amd64")
    assert [line.path for line in upstream.log if line.method == "POST"] == ["/token"]


def test_without_a_login_the_hint_says_how_to_log_in(http: Http, upstream: FakeUpstream) -> None:
    upstream.login = TokenLogin(USERS)
    with pytest.raises(UpstreamError, match="a login is needed") as caught:
        client(http, upstream, Credentials(())).resolve(reference("a"), "amd64")
    assert "docker login 127.0.0.1:" in str(caught.value.hint)


def test_a_refused_login_is_tried_once_and_said_so(
    http: Http, upstream: FakeUpstream, tmp_path: Path
) -> None:
    for login in (TokenLogin({"ann": "other"}), BasicLogin({"ann": "other"})):
        upstream.login = login
        upstream.log.clear()
        with pytest.raises(UpstreamError, match=r"the login 'ann' of .* was refused") as caught:
            client(http, upstream, logged_in(tmp_path, upstream)).resolve(reference("a"), "amd64")
        assert "s3cret" not in f"{caught.value} {caught.value.hint}"
        assert sum("authorization" in line.headers for line in upstream.log) == 1


def test_basic_is_answered_with_basic(http: Http, upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.login = BasicLogin(USERS)
    client(http, upstream, logged_in(tmp_path, upstream)).resolve(reference("a"), "amd64")
    assert [line.status for line in upstream.log].count(401) == 1


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        'Bearer realm="ftp://127.0.0.1/token"',
        'Bearer realm="http://user:pw@127.0.0.1/token"',
        'Bearer realm="//[broken"',
    ],
)
def test_a_challenge_without_a_usable_answer_is_an_error(
    http: Http, upstream: FakeUpstream, challenge: str
) -> None:
    def refuse(request: Request, reply: Reply) -> Reply:
        return Reply(401, {"WWW-Authenticate": challenge} if challenge else {})

    upstream.hooks.append(refuse)
    with pytest.raises(UpstreamError, match=r"127.0.0.1") as caught:
        client(http, upstream, Credentials(())).resolve(reference("a"), "amd64")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b"[" * 100_000],
)
def test_a_token_service_that_talks_nonsense_is_an_error(
    http: Http, upstream: FakeUpstream, body: bytes
) -> None:
    upstream.login = TokenLogin()

    def nonsense(request: Request, reply: Reply) -> Reply | None:
        return Reply(200, body=body) if request.path == "/token" else None

    upstream.hooks.append(nonsense)
    with pytest.raises(UpstreamError, match="token"):
        client(http, upstream, Credentials(())).resolve(reference("a"), "amd64")


def test_the_default_login_of_netrc_is_not_for_a_token_service(
    upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    upstream.login = TokenLogin()
    with FakeUpstream() as other:
        other.login = upstream.login

        def elsewhere(request: Request, reply: Reply) -> Reply | None:
            if reply.status != 401:
                return None
            realm = f'Bearer realm="{other.url}/token",service="s",scope="repository:x:pull"'
            return Reply(401, {"WWW-Authenticate": realm})

        upstream.hooks.append(elsewhere)
        with Http(HttpSettings(retries=0)) as http, contextlib.suppress(UpstreamError):
            client(http, upstream, Credentials(())).resolve(reference("a"), "amd64")
        asked = [line for line in other.log if line.path.startswith("/token")]
        assert asked
        assert all("authorization" not in line.headers for line in asked)


def test_a_blob_on_another_host_is_fetched_without_the_token(
    http: Http, upstream: FakeUpstream
) -> None:
    upstream.login = TokenLogin()
    with FakeUpstream() as cdn:
        upstream.hooks.append(hostile.only("/blobs/", hostile.moved_to(cdn)))
        client(http, upstream, Credentials(())).resolve(reference("a"), "amd64")
        assert [line.status for line in cdn.log] == [200]
        assert "authorization" not in cdn.log[0].headers


def test_no_secret_is_logged_or_shown(
    http: Http, upstream: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = upstream.login = TokenLogin(USERS)
    credentials = logged_in(tmp_path, upstream)
    pulls = client(http, upstream, credentials)
    with caplog.at_level(logging.DEBUG):
        pulls.resolve(reference("a"), "amd64")
    given = {line.headers.get("authorization", "Bearer -").split()[1] for line in upstream.log}
    login = credentials.find(f"{upstream.url}/r.example", "team/a")
    shown = f"{caplog.text} {login!r} {pulls!r} {vars(pulls)!r} {credentials!r}"
    shown += repr(vars(vars(pulls)["_tokens"]))
    assert tokens.issued
    for secret in {"s3cret-word", PACKED, *given} - {"-"}:
        assert secret not in shown


# --- files and helpers ---


def test_the_first_file_that_knows_the_host_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "1.json", {"auths": {"a.example": {"auth": PACKED}}})
    entry = {"username": "bob", "password": "x"}
    second = write(tmp_path / "2.json", {"auths": {"a.example": entry, "b.example": entry}})
    found = Credentials([tmp_path / "missing.json", first, second])
    assert found.find("https://a.example", "x/y") == RegistryLogin("ann", "s3cret-word")
    assert found.find("https://b.example", "x/y") == RegistryLogin("bob", "x")
    assert found.find("https://c.example", "x/y") is None


def test_a_login_of_one_repository_comes_before_that_of_the_host(tmp_path: Path) -> None:
    auths = {
        "a.example": {"username": "all", "password": "1"},
        "a.example/team": {"username": "team", "password": "2"},
        "https://old.example/v1/": {"username": "old", "password": "3"},
    }
    found = Credentials([write(tmp_path / "auth.json", {"auths": auths})])
    assert found.find("https://a.example", "team/tool") == RegistryLogin("team", "2")
    assert found.find("https://a.example", "other") == RegistryLogin("all", "1")
    assert found.find("http://a.example/team", "tool") == RegistryLogin("team", "2")
    assert found.find("https://old.example", "x") == RegistryLogin("old", "3")


def test_docker_hub_has_its_old_name_in_files(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"auths": {"https://index.docker.io/v1/": {"auth": PACKED}}})
    found = Credentials([path]).find("https://registry-1.docker.io", "library/nginx")
    assert found == RegistryLogin("ann", "s3cret-word")


def test_the_environment_says_where_to_look(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    assert auth_paths({"HOME": str(home), "XDG_RUNTIME_DIR": str(run)}) == (
        run / "containers" / "auth.json",
        home / ".config" / "containers" / "auth.json",
        home / ".docker" / "config.json",
    )
    assert auth_paths({"HOME": str(home), "DOCKER_CONFIG": "/d"})[-1] == Path("/d/config.json")
    assert auth_paths({"HOME": str(home), "REGISTRY_AUTH_FILE": "/f"}) == (Path("/f"),)


HELPER = """#!/bin/sh
# A credential helper that knows two servers, and writes down who asked.
read server
echo "$1 $server" >> "{log}"
case "$server" in
https://index.docker.io/v1/) echo '{{"Username": "ann", "Secret": "s3cret-word"}}' ;;
b.example) echo '{{"Username": "<token>", "Secret": "long-lived"}}' ;;
broken.example) echo 'hello' ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


@pytest.fixture
def helper_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "asked"
    program = tmp_path / "bin" / "docker-credential-demo"
    program.parent.mkdir()
    program.write_text(HELPER.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return log


def test_a_credential_helper_is_asked_once_for_each_server(
    tmp_path: Path, helper_log: Path
) -> None:
    document = {"credHelpers": {"docker.io": "demo"}, "credsStore": "demo"}
    found = Credentials([write(tmp_path / "config.json", document)])
    for repository in ("library/nginx", "library/redis"):
        hub = found.find("https://registry-1.docker.io", repository)
        assert hub == RegistryLogin("ann", "s3cret-word")
    assert found.find("https://b.example", "x") == RegistryLogin(identity_token="long-lived")
    assert helper_log.read_text().splitlines() == [
        "get https://index.docker.io/v1/",
        "get b.example",
    ]


def test_a_helper_that_knows_nothing_leaves_the_word_to_the_file(
    tmp_path: Path, helper_log: Path
) -> None:
    document = {"credsStore": "demo", "auths": {"c.example": {"auth": PACKED}, "d.example": {}}}
    found = Credentials([write(tmp_path / "config.json", document)])
    assert found.find("https://c.example", "x") == RegistryLogin("ann", "s3cret-word")
    assert found.find("https://d.example", "x") is None


def test_a_helper_that_talks_nonsense_is_named(tmp_path: Path, helper_log: Path) -> None:
    found = Credentials([write(tmp_path / "config.json", {"credsStore": "demo"})])
    with pytest.raises(EnvironmentProblem, match="docker-credential-demo: expected JSON"):
        found.find("https://broken.example", "x")


def test_a_helper_that_is_not_installed_means_no_login(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = Credentials([write(tmp_path / "config.json", {"credsStore": "not-there"})])
    assert found.find("https://a.example", "x") is None
    assert "docker-credential-not-there: not installed" in caplog.text


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"auths": []},
        {"auths": {"a.example": "ann:s3cret-word"}},
        {"auths": {"a.example": {"auth": "s3cret-word!"}}},
        {"credsStore": "../../bin/sh"},
        {"credHelpers": {"a.example": 7}},
    ],
)
def test_a_file_that_docker_login_did_not_write_is_refused_without_its_secrets(
    tmp_path: Path, document: Any
) -> None:
    path = write(tmp_path / "config.json", document)
    with pytest.raises(InputError, match=r"config\.json") as caught:
        Credentials([path]).find("https://a.example", "x")
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_json_is_refused_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"auths": {"a.example": {"auth": s3cret-word')
    with pytest.raises(IsobuilderError, match="expected the JSON") as caught:
        Credentials([path]).find("https://a.example", "x")
    assert "s3cret" not in str(caught.value)


def test_a_login_that_is_no_ascii_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"auths": {"r.example": {"auth": "\u00fc\ud55c="}}}', encoding="utf-8")
    with pytest.raises(InputError, match="auth is not base64 text"):
        Credentials([path]).find("https://r.example", "team/x")
