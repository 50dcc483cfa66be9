"""Answers: those still on their way, and whole ones."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.parse import urljoin, urlsplit

from isobuilder.http.access import ServerLogin, secrets_of
from isobuilder.http.addresses import local_path, origin, redact
from isobuilder.http.failure import HttpFailure, of_status
from isobuilder.http.settings import PIECE

_ENCODINGS = {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"}
_MOST_REDIRECTS = 10
_MOST_SAID = 16 * 1024  # bytes of an answer that says no


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer in memory."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes
    url: str  # where it came from after redirects; redact before showing
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what was sent, and may be in it

    @property
    def encoding(self) -> str | None:
        """See ``encoding_in``."""
        return encoding_in(self.headers)


def encoding_in(headers: Mapping[str, str]) -> str | None:
    """Return how HTTP encoded a body, None if not at all.

    Object stores keep whatever whoever stored a file said of it (``aws-chunked``, ``utf-8``): only
    what HTTP itself knows counts. Sources: RFC 9110, 8.4.1; RFC 7932; RFC 8878.
    """
    told = headers.get("Content-Encoding", "").lower().split(",")
    return next((name for text in told if (name := text.strip()) in _ENCODINGS), None)


class Response:
    """An answer whose body is still on its way; close it, best as a context manager."""

    def __init__(
        self,
        *,
        status: int,
        headers: Mapping[str, str],
        url: str,
        read: Callable[[], bytes],
        close: Callable[[], None],
        interrupt: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers  # names in any case
        self.url = url  # after redirects; redact before showing
        self._read = read
        self._close = close
        self._interrupt = interrupt
        self.auth: str | None = None  # the Authorization header that was sent for it

    @property
    def encoding(self) -> str | None:
        """See ``encoding_in``."""
        return encoding_in(self.headers)

    @property
    def length(self) -> int | None:
        """Bytes the server says the body has, or None when it does not say."""
        text = self.headers.get("Content-Length", "").strip()
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it was sent, in pieces of at most 256 KiB, never decoded.

        Raises:
            HttpFailure: the connection broke or stalled, or ended before the promised length.
        """
        while chunk := self._read():
            yield chunk

    def close(self) -> None:
        """Give the connection back, or up when a body is left on it."""
        self._close()

    def interrupt(self) -> None:
        """Make the body end now for the thread that waits for it; it raises ``HttpFailure``."""
        self._interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def accepted(
    response: Response, accept: Collection[int], login: ServerLogin | None = None
) -> Response:
    """Return ``response`` if its status is wanted; else close it and raise.

    ``login`` is the one that was sent, if nobody but the user's own files chose it.
    """
    if response.status in accept:
        return response
    reason = next((known.phrase for known in HTTPStatus if known == response.status), "")
    said = _beginning(response)
    failure = of_status(
        redact(response.url), response.status, reason, response.headers, said=said, login=login
    )
    failure.secrets = secrets_of(response.auth or "")
    raise failure


def _beginning(response: Response) -> bytes:
    """Return what a server says to an unwanted status, as far as it comes, and close."""
    body = bytearray()
    with response, contextlib.suppress(HttpFailure):
        for chunk in response.chunks():
            body += chunk
            if len(body) >= _MOST_SAID:
                break
    return bytes(body[:_MOST_SAID])


def whole(response: Response, limit: int, *, proven: bool = False) -> Answer:
    """Read all of a body of at most ``limit`` bytes.

    It must not be encoded, unless it is ``proven`` by its digest what the bytes are.
    """
    place = redact(response.url)
    if response.encoding and not proven:
        raise HttpFailure(
            f"{place}: expected the file itself, got it encoded as {response.encoding}",
            temporary=False,
        )
    body = bytearray()
    for chunk in response.chunks():
        body += chunk
        if len(body) > limit:
            raise HttpFailure(f"{place}: longer than the {limit} bytes allowed", temporary=False)
    secrets = secrets_of(response.auth or "")
    return Answer(response.status, response.headers, bytes(body), response.url, secrets)


def refuse_loop(seen: Sequence[str], url: str) -> None:
    """Refuse to go on to ``url`` after all that were ``seen`` if that has no end."""
    fact = ""
    if url in seen:
        fact = f"redirects in a loop by way of {redact(url)}"
    elif len(seen) > _MOST_REDIRECTS:
        fact = f"more than {_MOST_REDIRECTS} redirects"
    if fact:
        raise HttpFailure(f"{redact(seen[0])}: {fact}", temporary=False)


def redirect_target(response: Response) -> str:
    """Return where a redirect leads, if one may go there."""
    place = redact(response.url)
    location = response.headers.get("Location")
    if not location:
        raise HttpFailure(f"{place}: a redirect without an address", temporary=False)
    try:
        target = urljoin(response.url, location)
        scheme, host, _ = origin(target)
    except ValueError as error:
        raise HttpFailure(f"{place}: a redirect to a malformed address", temporary=False) from error
    if scheme not in {"http", "https"} or not host:
        raise HttpFailure(
            f"{place}: redirects to {redact(target)}, expected an http or https address",
            temporary=False,
        )
    if urlsplit(response.url).scheme == "https" and scheme == "http":
        raise HttpFailure(
            f"{place}: redirects from https to {redact(target)}, expected https",
            temporary=False,
        )
    return target


def open_file(url: str, folders: Iterable[Path]) -> Response:
    """Answer a ``file:`` address from this machine, if it leads to a file below ``folders``.

    The part of the address behind the folder is a stranger's.
    """
    from urllib3 import HTTPHeaderDict

    path = local_path(url)
    if path is not None and not _is_below(path, folders):
        fact = f"{redact(url)}: leads out of the folder of the mirror, so it is not read"
        raise HttpFailure(fact, temporary=False, hint="see mirrors in the configuration")
    if path is None or not path.is_file():
        raise HttpFailure(
            f"{redact(url)}: no such file",
            temporary=False,
            hint="put it there, or see mirrors in the configuration",
            status=404,
        )
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise HttpFailure(f"{redact(url)}: {error.strerror}", temporary=False) from error
    return Response(
        status=200,
        headers=HTTPHeaderDict({"Content-Length": str(path.stat().st_size)}),
        url=url,
        read=lambda: file.read(PIECE),
        close=file.close,
        interrupt=lambda: None,  # a disk does not keep anyone waiting
    )


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    """Say if ``path`` is in one of ``folders``, whatever links there are on the way."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def without(headers: Mapping[str, str], *names: str) -> Mapping[str, str]:
    """Return ``headers`` less those with one of ``names``, given in lower case."""
    from urllib3 import HTTPHeaderDict

    kept = {name: value for name, value in headers.items() if name.lower() not in names}
    return HTTPHeaderDict(kept)
