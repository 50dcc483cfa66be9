"""A proxy before a real registry, which makes of it one that is odd in one way at a time."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

from isobuilder.http.replies import Reply, Request
from isobuilder.http.serving import Server

Oddity = Callable[[Request, Reply], Reply | None]
"""Sees each request with the registry's answer; returns another, or None for that one."""

_SIGNED = "X-Amz-Signature=a%2Bb"
_KEPT = ("Content-Type", "Docker-Content-Digest", "ETag", "Content-Range", "Accept-Ranges")


class OddRegistry(Server):
    """What ``behind``, the address of a registry, answers, as ``oddity`` changes it."""

    def __init__(self, behind: str) -> None:
        super().__init__()
        self._behind = urlsplit(behind).netloc
        self.oddity: Oddity = lambda request, reply: None
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Reply:
        self.asked.append(request)
        reply = self._passed(request)
        return self.oddity(request, reply) or reply

    def _passed(self, request: Request) -> Reply:
        path = request.path.removeprefix("/storage")
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in {"accept", "range", "if-range"}
        }
        with closing(http.client.HTTPConnection(self._behind, timeout=60)) as connection:
            connection.request(request.method, path, headers=headers)
            answer = connection.getresponse()
            kept = {name: value for name in _KEPT if (value := answer.getheader(name))}
            return Reply(answer.status, kept, answer.read())


def blobs(request: Request) -> bool:
    return "/blobs/" in request.path and request.path.startswith("/v2/")


def manifests(request: Request) -> bool:
    return "/manifests/" in request.path


def by_tag(request: Request) -> bool:
    return manifests(request) and "sha256:" not in request.path


def with_headers(which: Callable[[Request], bool], **headers: str | None) -> Oddity:
    """Answers that ``which`` picks have other headers; None leaves one out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def oddity(request: Request, reply: Reply) -> Reply | None:
        if not which(request) or reply.status != 200:
            return None
        both: dict[str, str | None] = {**reply.headers, **named}
        kept = {name: value for name, value in both.items() if value is not None}
        return Reply(reply.status, kept, reply.body)

    return oddity


def instead(which: Callable[[Request], bool], reply: Reply, *, times: int | None = None) -> Oddity:
    """Requests that ``which`` picks get ``reply``, the first ``times`` of them."""
    left = itertools.count() if times is None else iter(range(times))

    def oddity(request: Request, _: Reply) -> Reply | None:
        return reply if which(request) and next(left, None) is not None else None

    return oddity


def in_chunks(request: Request, reply: Reply) -> Reply:
    """No length is told."""
    assert isinstance(reply.body, bytes)
    return Reply(reply.status, reply.headers, iter([reply.body[:7], reply.body[7:]]))


def moved(status: int, *, to: str, ranges: bool = True, relative: bool = False) -> Oddity:
    """Blobs are in a storage elsewhere, at addresses that are signed and take no other login."""

    def oddity(request: Request, reply: Reply) -> Reply | None:
        if blobs(request):
            host = "" if relative else to
            return Reply(
                status, {"Location": f"{host}/storage{request.path}?X-Amz-Signature=a%2Bb"}
            )
        if not request.path.startswith("/storage"):
            return None
        if "authorization" in request.headers or request.query != _SIGNED:
            said = b"<Error><Code>InvalidRequest</Code><Message>Only one auth</Message></Error>"
            return Reply(400, {"Content-Type": "application/xml"}, said)
        headers = {"Content-Type": "binary/octet-stream", "ETag": '"0f-3"'}
        return Reply(200, headers, reply.body) if not ranges else None

    return oddity


class Tokens:
    """A token service whose answers are odd; a token opens one repository, ``uses`` times."""

    def __init__(
        self,
        url: str,
        *,
        names: tuple[str, ...] = ("token",),
        uses: int = 10**6,
        challenge: str = 'Bearer realm="{url}/token",service="odd",scope="repository:{name}:pull"',
        more: dict[str, object] | None = None,
        only_head: bool = False,
    ) -> None:
        self._url, self._names, self._uses = url, names, uses
        self._challenge, self._more, self._only_head = challenge, more or {}, only_head
        self._left: dict[str, int] = {}
        self.scopes: list[str] = []

    def __call__(self, request: Request, reply: Reply) -> Reply | None:
        if request.path == "/token":
            scope = parse_qs(request.query).get("scope", [""])[0]
            self.scopes.append(scope)
            name = scope.removeprefix("repository:").removesuffix(":pull")
            token = f"{name}.{len(self.scopes)}"
            self._left[token] = self._uses
            body = {**dict.fromkeys(self._names, token), **self._more}
            return Reply(200, {"Content-Type": "text/plain"}, json.dumps(body).encode())
        if self._only_head and request.method != "HEAD":
            return None
        found = re.match(r"/v2/(.+)/(?:manifests|blobs)/", request.path)
        name = found[1] if found else ""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token.rpartition(".")[0] == name and self._left.get(token, 0) > 0:
            self._left[token] -= 1
            return None
        challenge = self._challenge.format(url=self._url, name=name)
        return Reply(401, {"WWW-Authenticate": challenge})


def patient(status: int, retry_after: str, *, times: int = 1) -> Oddity:
    """Too many requests, for a while."""
    return instead(lambda request: True, Reply(status, {"Retry-After": retry_after}), times=times)


def in_a_second() -> str:
    return formatdate(time.time() + 1, usegmt=True)


def cut(request: Request, reply: Reply) -> Iterator[bytes]:
    """The first half of a body."""
    assert isinstance(reply.body, bytes)
    yield reply.body[: len(reply.body) // 2]


def cut_once() -> Oddity:
    """Each blob breaks off the first time it is asked for."""
    seen: set[str] = set()

    def oddity(request: Request, reply: Reply) -> Reply | None:
        if not blobs(request) or request.path in seen or reply.status != 200:
            return None
        seen.add(request.path)
        assert isinstance(reply.body, bytes)
        headers = {**reply.headers, "Content-Length": str(len(reply.body))}
        return Reply(200, headers, cut(request, reply))

    return oddity
