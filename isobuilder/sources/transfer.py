"""One wanted thing on its way into the store: mirrors, retries, resume, checks."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from isobuilder.cancel import Halt
from isobuilder.errors import EnvironmentProblem, IntegrityError, UpstreamError
from isobuilder.http.addresses import redact
from isobuilder.http.answer import Response
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.progress import Task
from isobuilder.sources.download import Authorize, Download
from isobuilder.sources.mirrors import authorized, first_good
from isobuilder.sources.ranges import ByteRange, ByteRanges
from isobuilder.store import Blob, Origin, Partial

_log = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")  # RFC 9110, 14.4
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
_LOOK = 0.02  # seconds between looks at what others bring
_FIRST_BYTES = 256  # enough to recognise a page


def _ends_in(url: str, *endings: str) -> bool:
    """Say if the path of an address ends in one of ``endings``."""
    return urlsplit(url).path.lower().endswith(endings)


class _Mixed(Exception):
    """Bytes of several answers, put together, are not what was promised."""


class Transfer:
    """Brings one thing, wanted once or several times, from the first address that can deliver."""

    def __init__(
        self, wanted: Sequence[Download], *, http: Http, partial: Partial, halt: Halt, work: Task
    ) -> None:
        self._all = wanted
        self._wanted = wanted[0]
        self._http = http
        self._partial = partial
        self._halt = halt
        self._work = work
        self._patience = http.patience(halt.pause)
        self._parts = self._new_parts()
        self._helped: tuple[str, str, Authorize | None] = ("", "", None)  # address, tag, login
        self._showing = threading.Lock()
        self._shown = 0  # bytes reported as progress
        self._may_split = True
        self._furthest = 0  # bytes that the best try reached
        self._resumed = False  # the bytes come from several answers
        self._first = b""
        self._content_type = ""
        self._encoding: str | None = None

    def run(self) -> Blob:
        """Return the blob.

        Raises:
            UpstreamError: no address delivered; names each with its reason.
            IntegrityError: the same, and at least one served other bytes than promised.
            EnvironmentProblem: the disk is full or may not be written.
            CalledOff: it was called off; the bytes so far stay for the next run.
        """
        places = [(url, wanted.authorize) for wanted in self._all for url in wanted.urls]
        try:
            return first_good(self._wanted.name, places, self._from)
        finally:
            self._parts.close()

    def offer(self) -> Callable[[], None] | None:
        """Return work for a thread that has nothing else to do, or None."""
        parts, helped = self._parts, self._helped
        stretch = parts.take()
        return None if stretch is None else lambda: self._help(parts, stretch, *helped)

    def _from(self, place: tuple[str, Authorize | None]) -> Blob:
        """Try one address as often as that makes sense."""
        url, authorize = place
        self._patience.start_over()
        started_over = False
        while True:
            self._halt.check()
            try:
                self._absorb()
                self._receive(url, authorize)
                self._absorb()
                if self._wanted.size in {None, self._partial.size}:
                    return self._checked(url)
            except HttpFailure as failure:
                if self._partial.size > self._furthest:
                    self._furthest = self._partial.size
                    self._patience.start_over()
                self._patience.wait_after(failure)
                _log.info("%s: %s; trying again", self._wanted.name, failure)
            except _Mixed as mixed:
                self._discard()
                if started_over:
                    raise IntegrityError(str(mixed)) from mixed
                started_over = True
                self._may_split = False
                _log.info("%s; fetching it from the start", mixed)

    def _receive(self, url: str, authorize: Authorize | None) -> None:
        """Bring the bytes that are missing, by one request or, if a part cannot be had, two."""
        held = self._held()
        if held and (held == self._wanted.size or self._partial.digest() == self._wanted.digest):
            self._resumed = True  # an earlier run was ended between the last byte and the name
            return
        headers = self._range_headers(url, held) if held else {}
        response = self._open(url, headers, authorize)
        with response, self._halt.covering(response):
            usable = self._usable(url, response, held, authorize)
            if usable:
                self._take(url, response)
        if not usable:
            self._discard()
            self._receive(url, authorize)

    def _usable(self, url: str, response: Response, held: int, authorize: Authorize | None) -> bool:
        """Prepare for the body of an answer; False when it fits nothing that is held."""
        place = redact(url)
        if response.status == 200:
            if held:
                _log.info("%s: %s: begins anew after %d bytes", self._wanted.name, place, held)
            self._begin(url, response)
            self._invite(url, response, authorize)
            return True
        if held and self._continues(response, held):
            self._resumed = True
            self._invite(url, response, authorize)
            self._show()
            return True
        if not held:
            raise HttpFailure(
                f"{place}: answered {response.status} to a request for the whole file",
                temporary=False,
            )
        said = response.headers.get("Content-Range", "no Content-Range")
        _log.info(
            "%s: %s: asked for the bytes from %d, got %d with %s; fetching it from the start",
            *(self._wanted.name, place, held, response.status, said),
        )
        return False

    def _held(self) -> int:
        """Return how many bytes can be built upon; only a digest shows if they fit the rest."""
        if self._wanted.digest is None:
            return 0
        held = self._partial.size
        return held if held <= self._wanted.limit else 0

    def _range_headers(self, url: str, held: int) -> dict[str, str]:
        headers = {"Range": f"bytes={held}-"}
        origin = self._partial.origin
        if origin is not None and origin.url == url:
            # RFC 9110, 13.1.5: a weak entity tag would never match.
            etag = origin.etag if origin.etag and not origin.etag.startswith("W/") else None
            if validator := etag or origin.last_modified:
                headers["If-Range"] = validator
        return headers

    def _open(self, url: str, headers: dict[str, str], authorize: Authorize | None) -> Response:
        accept = (200, 206, 416)
        return authorized(
            lambda login: self._http.get(url, headers=headers, auth=login, accept=accept),
            partial(authorize, url) if authorize else None,
        )

    def _begin(self, url: str, response: Response) -> None:
        """Check what the head of a whole answer tells, and expect its first byte."""
        self._content_type = response.headers.get("Content-Type", "").partition(";")[0].lower()
        self._encoding = response.encoding
        wanted, place = self._wanted, redact(url)
        if wanted.digest is None and self._content_type == "text/html":
            raise _html_page(place)
        # A file called .gz and labelled as encoded is that file: so do many web servers by default.
        of_its_own = self._encoding in {"gzip", "x-gzip"} and _ends_in(url, ".gz", ".tgz")
        if self._encoding and wanted.digest is None and not of_its_own:
            raise HttpFailure(
                f"{place}: expected the file itself, got it encoded as {self._encoding}",
                temporary=False,
            )
        if wanted.size is not None and response.length not in {None, wanted.size}:
            raise IntegrityError(
                f"{place}: expected {wanted.size} bytes, the server offers {response.length}"
                f"{self._looks()}"
            )
        if response.length is not None and response.length > wanted.limit:
            raise self._too_long(place)
        if wanted.size is None and response.length is not None:
            self._work.set_total(response.length)
        self._resumed = False
        self._first = b""
        self._discard()
        self._partial.start(
            Origin(url, response.headers.get("ETag"), response.headers.get("Last-Modified"))
        )
        self._show()

    def _continues(self, response: Response, held: int) -> bool:
        """Say if a partial answer is the part that was asked for."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if response.status != 206 or match is None:
            return False
        start, end, total = match.groups()
        size = self._wanted.size
        whole = size if total == "*" else int(total)
        return (
            int(start) == held
            and size in {None, whole}
            and (whole is None or int(end) == whole - 1)
            and response.length in {None, int(end) - held + 1}
        )

    def _take(self, url: str, response: Response) -> None:
        """Keep the body, as far as nobody else brings what follows."""
        wanted, partial = self._wanted, self._partial
        for chunk in response.chunks():
            self._halt.check()
            if partial.size + len(chunk) > wanted.limit:
                self._discard()
                raise self._too_long(redact(url))
            if len(self._first) < _FIRST_BYTES:
                self._first += chunk[:_FIRST_BYTES]
            fitting = self._parts.accept_head(len(chunk))
            self._append(chunk[:fitting])
            self._show()
            if fitting < len(chunk):
                return
        if wanted.size is not None and not self._parts.head_is_done():
            fact = f"{redact(url)}: ended after {partial.size} of {wanted.size} bytes"
            if looks := self._looks():
                self._discard()
                raise IntegrityError(fact + looks)
            raise HttpFailure(fact, temporary=True)

    def _append(self, chunk: bytes) -> None:
        try:
            self._partial.append(chunk)
        except EnvironmentProblem:
            self._discard()  # a full disk needs the room more than we need the bytes
            raise

    def _invite(self, url: str, response: Response, authorize: Authorize | None) -> None:
        """Let idle threads help, if the server can serve parts of the very same content."""
        etag = response.headers.get("ETag", "")
        ranges = response.headers.get(
            "Accept-Ranges", "none" if response.status == 200 else "bytes"
        )
        if (
            self._may_split
            and etag.startswith('"')
            and ranges == "bytes"
            and None not in {self._wanted.digest, self._wanted.size}
        ):
            self._helped = url, etag, authorize
            self._parts.invite()

    def _help(
        self,
        parts: ByteRanges,
        stretch: ByteRange,
        url: str,
        etag: str,
        authorize: Authorize | None,
    ) -> None:
        """Bring a stretch, trying once: the head fetches what does not come."""
        last = stretch.end - 1  # now; others may take the second half of it later
        headers = {"Range": f"bytes={stretch.start}-{last}", "If-Range": etag}
        try:
            response = self._open(url, headers, authorize)
            with response, self._halt.covering(response):
                said = response.headers.get("Content-Range")
                if said != f"bytes {stretch.start}-{last}/{self._wanted.size}":
                    return
                with self._partial.open_stretch(stretch.start) as file:
                    for chunk in response.chunks():
                        fitting = parts.accept(stretch, len(chunk))
                        file.write(chunk[:fitting])
                        self._show()
                        if fitting < len(chunk):
                            return
        except (UpstreamError, EnvironmentProblem, OSError) as failure:
            _log.info("%s: bytes from %d: %s", self._wanted.name, stretch.start, failure)
        finally:
            parts.settle(stretch)

    def _absorb(self) -> None:
        """Append what others brought of the bytes that come next."""
        while (stretch := self._parts.following(self._partial.size)) is not None:
            while stretch.busy:
                self._halt.pause(_LOOK)
            self._resumed = True
            try:
                amount = self._partial.absorb(stretch.start)
            except EnvironmentProblem:
                self._discard()
                raise
            self._parts.collect(stretch, amount)
            self._show()

    def _new_parts(self) -> ByteRanges:
        size = self._wanted.limit
        return ByteRanges(size, min(self._partial.size, size), self._partial.stretches())

    def _checked(self, url: str) -> Blob:
        """Name the bytes, if they are the promised ones."""
        expected, found = self._wanted.digest, self._partial.digest()
        place = redact(url)
        if expected is None and self._is_html():
            self._discard()
            raise _html_page(place)
        if expected in {None, found}:
            return self._partial.finish()
        fact = f"{place}: expected {expected}, got {found} ({self._partial.size} bytes)"
        if self._resumed:
            raise _Mixed(fact + self._looks())
        self._discard()
        raise IntegrityError(fact + self._looks())

    def _discard(self) -> None:
        self._parts.close()
        self._partial.discard()
        self._parts = self._new_parts()
        self._show()

    def _show(self) -> None:
        with self._showing:
            received = self._partial.size + self._parts.received
            self._work.advance(received - self._shown)
            self._shown = received

    def _too_long(self, place: str) -> IntegrityError:
        if self._wanted.size is not None:
            return IntegrityError(f"{place}: longer than the promised {self._wanted.size} bytes")
        return IntegrityError(
            f"{place}: longer than the {self._wanted.ceiling} bytes allowed",
            hint=self._wanted.if_larger,
        )

    def _is_html(self) -> bool:
        return self._content_type == "text/html" or _HTML.match(self._first) is not None

    def _looks(self) -> str:
        """Return a remark on what wrong bytes could be."""
        if self._is_html():
            return "; it looks like an HTML page"
        if self._encoding:
            return f"; the server encoded it as {self._encoding} without being asked"
        return ""


def _html_page(place: str) -> HttpFailure:
    return HttpFailure(
        f"{place}: answered with an HTML page in place of the file",
        temporary=False,
        hint="open the address in a browser: it may be a login, a proxy or a moved file",
    )
