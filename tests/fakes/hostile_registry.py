"""A registry that misbehaves in one way at a time; each fault is a hook of the demo upstream."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from isobuilder.demo.images import ImageDocument
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.http.replies import FilePart, Reply, Request
from tests.fakes.upstream import Hook


def only(part: str, fault: Hook, *, times: int | None = None) -> Hook:
    """Apply ``fault`` to GET requests whose path contains ``part``, at most ``times`` times."""
    left = itertools.count() if times is None else iter(range(times))

    def hook(request: Request, reply: Reply) -> Reply | None:
        if request.method != "GET" or part not in request.path or reply.status >= 300:
            return None
        return fault(request, reply) if next(left, None) is not None else None

    return hook


def flipped(request: Request, reply: Reply) -> Reply:
    """One bit of the body is another one."""
    body = _whole(reply)
    return Reply(reply.status, reply.headers, body[:-1] + bytes([body[-1] ^ 1]))


def truncated(request: Request, reply: Reply) -> Reply:
    """The connection breaks in the middle of the body."""
    body = _whole(reply)
    headers = {**reply.headers, "Content-Length": str(len(body))}
    return Reply(reply.status, headers, iter([body[: len(body) // 2]]))


def endless(request: Request, reply: Reply) -> Reply:
    """The body never ends."""

    def body() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    return Reply(reply.status, reply.headers, body())


def page(request: Request, reply: Reply) -> Reply:
    """A friendly HTML page with status 200."""
    return Reply(200, {"Content-Type": "text/html"}, b"<html><body>Please log in</body></html>")


def busy(status: int = 429, seconds: str = "0") -> Hook:
    """The server asks for patience."""

    def hook(request: Request, reply: Reply) -> Reply:
        return Reply(status, {"Retry-After": seconds})

    return hook


def gone(request: Request, reply: Reply) -> Reply:
    """Nothing here."""
    return Reply(404)


def header(name: str, value: str) -> Hook:
    """One header has another value; the empty value leaves it out."""

    def hook(request: Request, reply: Reply) -> Reply:
        headers = {key: text for key, text in reply.headers.items() if key != name}
        return Reply(reply.status, headers | ({name: value} if value else {}), reply.body)

    return hook


def moved_to(other: DemoUpstream) -> Hook:
    """The content is at the same path of another host, as with a registry's CDN."""

    def hook(request: Request, reply: Reply) -> Reply:
        other.put_file(f"/cdn{request.path.replace(':', '-')}", _whole(reply))
        place = f"{other.url}/cdn{request.path.replace(':', '-')}?signature=hush"
        return Reply(307, {"Location": place})

    return hook


def edited(document: ImageDocument, change: Callable[[dict[str, Any]], None]) -> ImageDocument:
    """Return a manifest or index after ``change``; its digest changes with it."""
    body = json.loads(document.data)
    change(body)
    return ImageDocument(json.dumps(body).encode(), document.media_type)


def schema_1(name: str) -> ImageDocument:
    """A manifest as registries served them before 2017."""
    body = {
        "schemaVersion": 1,
        "name": name,
        "tag": "1",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": "sha256:" + 64 * "a"}],
        "history": [{"v1Compatibility": "{}"}],
    }
    return ImageDocument(
        json.dumps(body).encode(), "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )


def _whole(reply: Reply) -> bytes:
    if isinstance(reply.body, FilePart):
        data = reply.body.path.read_bytes()
        return data[reply.body.start : reply.body.start + reply.body.size]
    return reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
