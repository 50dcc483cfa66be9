"""Answering a registry's 401: Basic, or tokens for one repository at a time.

Sources: distribution's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from isobuilder.documents.json import TOKEN, parse
from isobuilder.errors import InputError, UpstreamError
from isobuilder.http.addresses import redact
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.sources.reasons import reason_in
from isobuilder.sources.registry_auth import Credentials, RegistryLogin

_log = logging.getLogger(__name__)

_MAX_TOKEN = 256 * 1024  # bytes of a token service's answer; some tokens list every permission
_SHORTEST_LIFE = 60  # seconds; what a token service that names none promises
_MAX_CHALLENGE = 8192  # characters
_CHALLENGE = re.compile(
    r"(?<![A-Za-z])([A-Za-z]{1,32})\s+"  # begins nowhere in a word: long ones take no long time
    r'((?:[\s,]*[A-Za-z_]+\s*=\s*(?:"[^"]*"|[^",\s]+))*)'
)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^",\s]+))')
_TOKEN = re.compile(r"[!-~]{1,65536}")  # printable ASCII: nothing that could end a header


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry asks for with a 401."""

    scheme: str  # "bearer" or "basic"
    realm: str = ""
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    until: float  # seconds on the monotonic clock


class RegistryTokens:
    """Knows which Authorization header a registry wants; safe to use from several threads.

    Tokens are kept for (origin, scope) until shortly before they expire, and one thread at a time
    asks for one. Credentials go to the origin they belong to and to the token service it names.
    """

    def __init__(self, http: Http, credentials: Credentials) -> None:
        self._http = http
        self._credentials = credentials
        self._challenges: dict[str, Challenge] = {}  # by base: the last one, for later requests
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._guards: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def header(self, base: str, repository: str) -> str | None:
        """Return the header for pulling ``repository``, None while the registry asked for none.

        Raises:
            UpstreamError: the token service gives none.
        """
        with self._guard:
            challenge = self._challenges.get(base)
        if challenge is None:
            return None
        return self._header(base, repository, challenge, refused=None)

    def renew(
        self, base: str, repository: str, headers: Mapping[str, str], refused: str | None
    ) -> str:
        """Return another header after a 401 with ``headers``; ``refused`` is the one it had.

        Raises:
            UpstreamError: there is none: no credentials, or these were refused.
        """
        place = f"{urlsplit(base).netloc}/{repository}"
        challenge = parse_challenge(headers.get("WWW-Authenticate", ""))
        if challenge is None:
            raise UpstreamError(
                f"{place}: 401 without a challenge we can answer (Bearer or Basic)",
                hint="check that the address is a registry's; isobuilder config show tells which "
                "mirrors are asked",
            )
        with self._guard:
            self._challenges[base] = challenge
        better = self._header(base, repository, challenge, refused=refused)
        if better is None or better == refused:
            login = self._credentials.find(base, repository)
            fact = f"{login} was refused" if login else "a login is needed"
            raise UpstreamError(f"{place}: {fact}", hint=self._credentials.hint(base))
        return better

    def _header(
        self, base: str, repository: str, challenge: Challenge, *, refused: str | None
    ) -> str | None:
        if challenge.scheme == "basic":
            login = self._credentials.find(base, repository)
            return _basic(login) if login and login.user else None
        scope = _scope(challenge, base, repository)
        key = (base, scope)
        with self._guard:
            guard = self._guards[key]
        with guard:
            known = self._tokens.get(key)
            if known and known.header != refused and time.monotonic() < known.until:
                return known.header
            token = self._fetch(base, repository, challenge, scope)
            self._tokens[key] = token
            return token.header

    def _fetch(self, base: str, repository: str, challenge: Challenge, scope: str) -> _Token:
        _check_realm(challenge.realm, base)
        login = self._credentials.find(base, repository)
        if login and login.registry_token:
            return _Token(f"Bearer {login.registry_token}", time.monotonic() + _SHORTEST_LIFE)
        fields = {"service": challenge.service, "scope": scope}
        fields = {name: value for name, value in fields.items() if value}
        _log.debug("%s: asking for a token, scope %s", redact(challenge.realm), scope)
        try:
            if login and login.identity_token:
                grant = {"grant_type": "refresh_token", "client_id": "isobuilder"}
                grant["refresh_token"] = login.identity_token
                answer = self._http.post_form(
                    challenge.realm, grant | fields, limit=_MAX_TOKEN, named_by_server=True
                )
            else:
                joint = "&" if urlsplit(challenge.realm).query else "?"
                url = f"{challenge.realm}{joint}{urlencode(fields)}"
                auth = _basic(login) if login else None
                answer = self._http.get_small(
                    url, limit=_MAX_TOKEN, auth=auth, named_by_server=True
                )
        except HttpFailure as failure:
            if failure.status not in {400, 401, 403}:
                raise
            place = f"{redact(challenge.realm)}: no token for {repository}"
            fact = f"{login} was refused" if login else "a login is needed"
            secrets = (*failure.secrets, login.identity_token if login else "")  # sent in a form
            words = reason_in(failure.said, failure.headers.get("Content-Type", ""), secrets)
            raise UpstreamError(
                f"{place}: {failure.status}, {fact}{words and f': {words}'}",
                hint=self._credentials.hint(base),
            ) from failure
        return _token(answer.body, redact(challenge.realm))


def parse_challenge(header: str) -> Challenge | None:
    """Return the challenge we can answer best, Bearer before Basic, or None.

    ``header`` may hold several, as RFC 9110 section 11.6.1 allows.
    """
    found: dict[str, Challenge] = {}
    for scheme, listed in _CHALLENGE.findall(header[:_MAX_CHALLENGE]):
        pairs = _PARAMETER.findall(listed)
        values = {name.lower(): quoted or bare for name, quoted, bare in pairs}
        found.setdefault(
            scheme.lower(),
            Challenge(
                scheme.lower(),
                values.get("realm", ""),
                values.get("service", ""),
                values.get("scope", ""),
            ),
        )
    return found.get("bearer") or found.get("basic")


def _scope(challenge: Challenge, base: str, repository: str) -> str:
    """Return the scope for pulling ``repository``.

    It is the one the registry named, if that is about this repository, else the usual form; so the
    challenge of one repository serves for all others without another 401.
    """
    full = full_name(base, repository)
    for scope in challenge.scope.split():
        if scope.startswith((f"repository:{full}:", f"repository:{repository}:")):
            return scope
    return f"repository:{full}:pull"


def full_name(base: str, repository: str) -> str:
    """Return the name of ``repository`` at ``base``, whose path is a prefix of repositories."""
    prefix = urlsplit(base).path.strip("/")
    return f"{prefix}/{repository}" if prefix else repository


def _check_realm(realm: str, base: str) -> None:
    try:
        parts = urlsplit(realm)
        host, user = parts.hostname, parts.username
    except ValueError:
        host, user = None, None
    place = urlsplit(base).netloc
    if not host or user is not None or parts.scheme not in {"http", "https"}:
        raise UpstreamError(f"{place}: its token service has no usable address: {redact(realm)}")
    if parts.scheme == "http" and urlsplit(base).scheme == "https":
        raise UpstreamError(
            f"{place}: its token service {redact(realm)} would see the credentials unencrypted"
        )


def _token(body: bytes, place: str) -> _Token:
    try:
        answer = parse(body, place, TOKEN)
    except InputError:  # without its words: they may repeat a part of a token
        raise UpstreamError(f"{place}: the token service did not answer with JSON") from None
    found = answer if isinstance(answer, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise UpstreamError(f"{place}: the token service's answer has no token")
    life = found.get("expires_in")
    seconds = life if isinstance(life, int) and 0 < life < 10**7 else _SHORTEST_LIFE
    # A margin for the request that uses it; half of a life that is shorter than the margin.
    return _Token(f"Bearer {token}", time.monotonic() + max(seconds - 10, seconds / 2))


def _basic(login: RegistryLogin) -> str | None:
    if not login.user:
        return None
    pair = f"{login.user}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
