"""Who may talk to the embedded registry: Basic, or Bearer tokens for one repository each."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs

from isobuilder.http.replies import Reply, Request

TOKEN_PATH = "/token"


class Login(Protocol):
    """Decides whether a registry request may pass."""

    def refuse(self, request: Request, repository: str, action: str, url: str) -> Reply | None:
        """Return None to let it pass, else the 401; ``url`` is the registry's own address."""

    def token(self, request: Request) -> Reply | None:
        """Return the answer of the token service, None where there is none."""


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """User and password on every request."""

    users: Mapping[str, str] = field(repr=False)

    def refuse(self, request: Request, repository: str, action: str, url: str) -> Reply | None:
        """See ``Login``."""
        if _basic_user(request, self.users) is not None:
            return None
        return _unauthorized('Basic realm="registry"')

    def token(self, request: Request) -> Reply | None:
        """See ``Login``."""
        return None


class TokenLogin:
    """Bearer tokens as Docker's distribution specifies them, each for one scope and some time.

    Source: distribution's "Token Authentication Specification" and "OAuth2" pages. Without
    ``users`` everybody gets tokens for pulling, as Docker Hub gives them.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        identity_tokens: frozenset[str] = frozenset(),
        lifetime: int = 300,  # seconds
    ) -> None:
        self.users = users
        self.identity_tokens = identity_tokens
        self.lifetime = lifetime
        self.issued: list[str] = []  # the scope of each token ever given, for tests to count
        self._tokens: dict[str, tuple[frozenset[str], float]] = {}
        self._guard = threading.Lock()

    def revoke_all(self) -> None:
        """Make every token given so far invalid, as the passing of time does."""
        with self._guard:
            self._tokens.clear()

    def refuse(self, request: Request, repository: str, action: str, url: str) -> Reply | None:
        """See ``Login``."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        needed = f"repository:{repository}:{action}" if repository else ""
        with self._guard:
            scopes, until = self._tokens.get(token.strip(), (frozenset(), 0.0))
        if kind.lower() == "bearer" and time.monotonic() < until and (needed in scopes | {""}):
            return None
        challenge = f'Bearer realm="{url}{TOKEN_PATH}",service="demo"'
        if repository:
            asked = "pull,push" if action == "push" else "pull"
            challenge += f',scope="repository:{repository}:{asked}"'
        return _unauthorized(challenge)

    def token(self, request: Request) -> Reply | None:
        """See ``Login``."""
        if request.method == "POST":
            form = parse_qs(request.body().decode("utf-8", "replace"))
            allowed = form.get("refresh_token", [""])[0] in self.identity_tokens
            wanted = form.get("scope", [])
        else:
            allowed = self.users is None or _basic_user(request, self.users) is not None
            wanted = list(parse_qs(request.query).get("scope", []))
        if not allowed:
            return _unauthorized('Basic realm="token"')
        token = secrets.token_hex(16)
        with self._guard:
            self.issued.append(" ".join(wanted))
            self._tokens[token] = (_expanded(wanted), time.monotonic() + self.lifetime)
        body = {"token": token, "access_token": token, "expires_in": self.lifetime}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _expanded(scopes: list[str]) -> frozenset[str]:
    """Split ``repository:x:pull,push`` into one scope for each action."""
    single: set[str] = set()
    for scope in " ".join(scopes).split():
        name, _, actions = scope.rpartition(":")
        single.update(f"{name}:{action}" for action in actions.split(","))
    return frozenset(single)


def _basic_user(request: Request, users: Mapping[str, str]) -> str | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user if users.get(user) == password else None


def _unauthorized(challenge: str) -> Reply:
    body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    headers = {"WWW-Authenticate": challenge, "Content-Type": "application/json"}
    return Reply(401, headers, json.dumps(body).encode())
