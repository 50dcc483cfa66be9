"""Whose credentials: the files and helpers that ``docker login`` and ``podman login`` write.

Sources: Docker's ``config.json`` reference, docker-credential-helpers' protocol,
containers-auth.json(5).
"""

from __future__ import annotations

import base64
import logging
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isobuilder.documents.json import LOGINS, parse
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import own_path
from isobuilder.http.access import access_to, configured_login
from isobuilder.http.settings import ServerAccess
from isobuilder.run import run

_log = logging.getLogger(__name__)

DOCKER_HUB = "https://index.docker.io/v1/"
"""The name Docker Hub has in every file and helper."""

_HUB_HOSTS = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_TIMEOUT = 60.0  # seconds; some ask a cloud's own service
_IDENTITY_USER = "<token>"  # says that the secret is an identity token


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """What opens a registry; nothing secret shows when it is printed."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)  # exchanged for bearer tokens
    registry_token: str = field(default="", repr=False)  # a bearer token itself
    source: str = field(default="", compare=False)  # which file or helper it is from

    def __str__(self) -> str:
        who = f"the login {self.user!r}" if self.user else "the token"
        return f"{who} of {self.source}"


class Credentials:
    """Logins of the first file that knows the registry; safe to use from several threads.

    They belong to the host that is really asked: those of ``registry.k8s.io`` are not for its
    mirror. Files are read when a registry first asks for a login.
    """

    def __init__(
        self, paths: Sequence[Path] | None = None, servers: Iterable[ServerAccess] = ()
    ) -> None:
        """Look into ``servers``, then ``paths``, or where ``docker`` and ``podman login`` write."""
        self._servers = tuple(servers)
        self._paths = auth_paths() if paths is None else tuple(paths)
        self._files: list[_AuthFile] | None = None
        self._found: dict[str, RegistryLogin | None] = {}
        self._guard = threading.Lock()

    def find(self, base: str, repository: str) -> RegistryLogin | None:
        """Return the login for a repository at ``base``, the address of a registry or mirror.

        Raises:
            InputError: a file is not what ``docker login`` writes.
            EnvironmentProblem: a file may not be read.
        """
        if own := configured_login(access_to(self._servers, f"{base}/{repository}")):
            return RegistryLogin(own.user, own.password, source=own.source)
        keys = _keys(base, repository)
        with self._guard:  # also: a helper that asks a person must not ask twice at once
            if keys[0] not in self._found:
                if self._files is None:
                    self._files = [_read(path) for path in self._paths if path.is_file()]
                found = (file.find(keys) for file in self._files)
                self._found[keys[0]] = next((login for login in found if login), None)
            return self._found[keys[0]]

    def hint(self, base: str) -> str:
        """Return what a person can do when no login is found, or it is refused."""
        host = urlsplit(base).netloc
        host = "docker.io" if host in _HUB_HOSTS else host
        searched = ", ".join(str(path) for path in self._paths) or "no file"
        return f"log in with docker login {host} or podman login {host}; looked into {searched}"


def auth_paths(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the files to look into, in order; ``REGISTRY_AUTH_FILE`` alone when it is set."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    home = own_path(environment.get("HOME") or "~")
    paths = []
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        paths.append(Path(runtime) / "containers" / "auth.json")
    settings = environment.get("XDG_CONFIG_HOME")
    paths.append((Path(settings) if settings else home / ".config") / "containers" / "auth.json")
    docker = environment.get("DOCKER_CONFIG")
    paths.append((Path(docker) if docker else home / ".docker") / "config.json")
    return tuple(paths)


@dataclass(frozen=True, slots=True)
class _AuthFile:
    path: Path
    auths: Mapping[str, Mapping[str, Any]]
    helpers: Mapping[str, str]  # by host
    store: str | None  # the helper for every other host
    asked: dict[tuple[str, str], RegistryLogin | None] = field(default_factory=dict, repr=False)

    def find(self, keys: Sequence[str]) -> RegistryLogin | None:
        for key in keys:
            if key in self.helpers and (login := self._ask_once(self.helpers[key], key)):
                return login
        if self.store and (login := self._ask_once(self.store, keys[-1])):
            return login
        for key in keys:
            if key in self.auths and (login := self._login(key)):
                return login
        return None

    def _ask_once(self, helper: str, key: str) -> RegistryLogin | None:
        if (helper, key) not in self.asked:
            self.asked[helper, key] = self._ask(helper, key)
        return self.asked[helper, key]

    def _ask(self, helper: str, key: str) -> RegistryLogin | None:
        program = f"docker-credential-{helper}"
        server = DOCKER_HUB if key in _HUB_HOSTS else key
        try:
            # The helper is the user's own: it may need any of their variables to find its secrets.
            printed = run(
                [program, "get"], timeout=_HELPER_TIMEOUT, stdin=server.encode(), env=os.environ
            )
            answer = parse(printed.encode(), program, LOGINS)
        except EnvironmentProblem as error:
            # Also its way to say that it knows no login for this server.
            _log.warning("no login for %s from %s: %s", server, self.path, error)
            return None
        except InputError:  # without its words: they may repeat a part of a secret
            raise EnvironmentProblem(
                f"{program}: expected JSON for {server}, got something else"
            ) from None
        user, secret = _text(answer, "Username"), _text(answer, "Secret")
        source = f"{program} for {server}, which {self.path} names"
        if user == _IDENTITY_USER:
            return RegistryLogin(identity_token=secret, source=source)
        return RegistryLogin(user, secret, source=source) if user else None

    def _login(self, key: str) -> RegistryLogin | None:
        entry = self.auths[key]
        user, password = _text(entry, "username"), _text(entry, "password")
        if packed := _text(entry, "auth"):
            try:
                pair = base64.b64decode(packed, validate=True).decode().rstrip("\0")
            except ValueError as error:  # also what is no ASCII
                raise InputError(f"{self.path}: auths[{key!r}].auth is not base64 text") from error
            user, _, password = pair.partition(":")
        identity, registry = _text(entry, "identitytoken"), _text(entry, "registrytoken")
        if not (user or identity or registry):
            return None
        return RegistryLogin(user, password, identity, registry, f"{self.path}, {key}")


def _keys(base: str, repository: str) -> tuple[str, ...]:
    """Return the names a login may have, the most special first, the host last."""
    parts = urlsplit(base)
    host = "docker.io" if parts.netloc in _HUB_HOSTS else parts.netloc
    path = [part for part in f"{parts.path}/{repository}".split("/") if part]
    return tuple("/".join([host, *path[:count]]) for count in range(len(path), -1, -1))


def _read(path: Path) -> _AuthFile:
    try:
        with path.open("rb") as file:
            document = parse(file.read(LOGINS.size + 1), str(path), LOGINS)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: {error.strerror}") from error
    except InputError:  # without its words: they may repeat a part of the file
        raise InputError(f"{path}: expected the JSON that docker login writes") from None
    auths = _section(document, "auths", path)
    helpers = _section(document, "credHelpers", path)
    for key, entry in auths.items():
        if not isinstance(entry, dict):
            raise InputError(f"{path}: auths[{key!r}]: expected an object")
    store = document.get("credsStore")
    for helper in [*helpers.values(), *([store] if store else [])]:
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            raise InputError(f"{path}: expected the name of a credential helper, got {helper!r}")
    return _AuthFile(
        path,
        {_host_of(key): entry for key, entry in auths.items()},
        {_host_of(key): helper for key, helper in helpers.items()},
        store or None,
    )


def _section(document: object, name: str, path: Path) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected the JSON object that docker login writes")
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise InputError(f"{path}: {name}: expected an object")
    return section


def _host_of(key: str) -> str:
    """Return a key without what older versions of Docker wrote around the host."""
    bare = re.sub(r"^https?://", "", key).rstrip("/")
    bare = re.sub(r"/v[12]$", "", bare)
    return "docker.io" if bare in _HUB_HOSTS else bare


def _text(entry: object, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""
