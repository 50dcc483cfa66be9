"""Logins are used and never shown: not in errors, logs, locks, manifests or side files."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, write_recipes
from tests.cli.calling import call, errors, hints
from tests.fakes.logins import BasicLogin, Login, TokenLogin
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.world import write_config

PASSWORD = "s3cret-word"
PACKED = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
NETRC = "netrc-hush"
WORDS = (PASSWORD, PACKED, NETRC, base64.b64encode(f"bob:{NETRC}".encode()).decode())


@pytest.fixture(params=["basic", "token"])
def upstream(request: pytest.FixtureRequest) -> Iterator[FakeUpstream]:
    login: Login = (
        BasicLogin({"ann": PASSWORD}) if request.param == "basic" else TokenLogin({"ann": PASSWORD})
    )
    with FakeUpstream(login=login) as server:
        fill(server)
        yield server


def env_of(folder: Path, upstream: FakeUpstream, packed: str = PACKED) -> dict[str, str]:
    """Log in to the registry as docker does, and to the file server with ~/.netrc."""
    host = upstream.url.removeprefix("http://")
    auths = folder / "auth.json"
    auths.write_text(json.dumps({"auths": {host: {"auth": packed}}}))
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login bob password {NETRC}\n")
    netrc.chmod(0o600)
    return {"REGISTRY_AUTH_FILE": str(auths), "NETRC": str(netrc)}


def test_no_login_is_in_logs_or_files(upstream: FakeUpstream, tmp_path: Path) -> None:
    recipe, _ = write_recipes(tmp_path)
    env = env_of(tmp_path, upstream)
    shared = ("--config", write_config(tmp_path / "config.yaml", upstream), "-vv")
    done = call(
        *("build", recipe, "--arch", "amd64", "--store", tmp_path / "store"),
        *("--out", tmp_path / "out", *shared),
        env=env,
    )
    assert "DEBUG: isobuilder" in done.stderr
    texts = [done.stdout, done.stderr]
    texts += [
        path.read_bytes().decode("latin-1")
        for folder in (tmp_path / "out", tmp_path / "store")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    texts += [path.read_text() for path in tmp_path.glob("*.lock.json")]
    assert len(texts) > 40
    for word in (*WORDS, "Bearer ", "Basic "):
        assert [text[:200] for text in texts if word in text] == []


def test_a_refused_login_is_told_without_its_password(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    recipe, _ = write_recipes(tmp_path)
    wrong = base64.b64encode(b"ann:wr0ng-word").decode()
    done = call(
        *("lock", recipe, "--arch", "amd64", "--store", tmp_path / "store", "-vv"),
        *("--config", write_config(tmp_path / "config.yaml", upstream)),
        env=env_of(tmp_path, upstream, wrong),
        code=4,
    )
    assert "401" in done.stderr
    for word in (*WORDS, wrong, "wr0ng-word"):
        assert word not in done.output


@pytest.mark.parametrize(
    "env",
    [
        {"ISOBUILDER_MIRRORS": "https://dl.k8s.io=http://bob:netrc-hush@127.0.0.1:9"},
        {"ISOBUILDER_MIRRORS": "registry.k8s.io=http://netrc-hush@127.0.0.1:9/x"},
    ],
)
def test_a_login_in_a_mirrors_address_is_refused_without_repeating_it(env: dict[str, str]) -> None:
    done = call("config", "show", env=env, code=3)
    assert "credentials in a mirror's address" in errors(done)[0]
    assert NETRC not in done.output


@pytest.mark.parametrize("part", ["bob:netrc-hush@", "netrc-hush@"])
def test_a_login_in_a_recipes_address_is_refused_without_repeating_it(
    tmp_path: Path, part: str
) -> None:
    recipe, _ = write_recipes(tmp_path)
    recipe.write_text(recipe.read_text().replace("https://dl.k8s.io", f"https://{part}dl.k8s.io"))
    for command in (("recipe", "check"), ("build",), ("lock",)):
        done = call(*command, recipe, code=3)
        assert any("credentials" in line for line in errors(done)), done.stderr
        assert NETRC not in done.output


def test_a_login_in_a_locks_address_is_refused_without_repeating_it(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    recipe, _ = write_recipes(tmp_path)
    call(
        *("lock", recipe, "--arch", "amd64", "--store", tmp_path / "store"),
        *("--config", write_config(tmp_path / "config.yaml", upstream)),
        env=env_of(tmp_path, upstream),
    )
    lock = next(tmp_path.glob("*.lock.json"))
    lock.write_text(lock.read_text().replace("https://dl.", "https://bob:netrc-hush@dl."))
    done = call("fetch", lock, code=3)
    assert any("credentials" in line for line in errors(done)), done.stderr
    assert NETRC not in done.output


def test_the_password_of_a_proxy_is_not_shown(tmp_path: Path) -> None:
    recipe, _ = write_recipes(tmp_path)
    done = call(
        *("lock", recipe, "--arch", "amd64", "--store", tmp_path / "store", "-vv"),
        env={
            "HTTPS_PROXY": "http://bob:netrc-hush@127.0.0.1:9",
            "ISOBUILDER_RETRIES": "0",
            "ISOBUILDER_CONNECT_TIMEOUT": "1",
        },
        code=4,
    )
    assert "the proxy 127.0.0.1:9 failed: Connection refused" in errors(done)[0]
    assert hints(done)[-1].startswith("hint: check HTTPS_PROXY, and NO_PROXY")
    assert NETRC not in done.output


def test_a_secret_in_the_settings_file_is_refused_without_repeating_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "mold:\n  lab:\n    endpoint: https://mold.example/client/api\n    secret_key: netrc-hush\n"
    )
    done = call("config", "show", "--config", file, code=3)
    assert "secrets are never in this file" in errors(done)[0]
    assert NETRC not in done.output
