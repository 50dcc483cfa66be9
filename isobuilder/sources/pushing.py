"""Images into a registry: only what is missing, and only what it kept is believed to be there.

Source: OCI distribution specification 1.1, "Push". A blob is asked for, then mounted from another
repository, then sent: in one piece, or in chunks where a proxy or the registry wants that. The
registry proves its digest; only when it objects we look whether ours are the wrong bytes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urljoin, urlsplit

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.formats.oci import ACCEPTED
from isobuilder.http.addresses import redact
from isobuilder.http.answer import Answer
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.pacing import RetryBudget
from isobuilder.http.presence import is_there
from isobuilder.http.replies import FilePart
from isobuilder.sources.mirrors import authorized
from isobuilder.sources.reasons import refuse_other_door, why_refused
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.registry_tokens import RegistryTokens, full_name
from isobuilder.text import whole_number

_log = logging.getLogger(__name__)

CHUNK = 64 * 1024 * 1024
"""Bytes of a chunk to begin with; half of it after each 413."""

_SMALLEST = 256 * 1024  # bytes of a chunk
_PIECE = 8 * 1024 * 1024  # bytes between two looks at progress and rate
_MOST_SAID = 64 * 1024  # bytes of an answer to something sent
_TAGS = 4 * 1024 * 1024  # bytes of a list of tags
_PAGES = 1000  # of one list
_BYTES = {"Content-Type": "application/octet-stream"}
_ELSEWHERE = {301, 302, 303, 307, 308}
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_NEXT = re.compile(r'\brel\s*=\s*(?:next\b|"[^"]*\bnext\b)', re.IGNORECASE)
_NO_END = "not all of it is known, so nothing is done with it; look at the registry, or its proxy"

Sent = Callable[[int], None]
"""Is told how many more bytes are on their way."""


@dataclass(frozen=True, slots=True)
class KeptManifest:
    """A manifest as a registry has it, its digest computed here."""

    data: bytes
    digest: Digest


class RegistryWriter:
    """Writes to one registry; ``base`` is its address, whose path is in front of every name.

    Safe to use from several threads.
    """

    def __init__(self, base: str, http: Http, credentials: Credentials) -> None:
        self._base = base.rstrip("/")
        parts = urlsplit(self._base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.http = http
        self._tokens = RegistryTokens(http, credentials)
        self._chunk: int | None = None  # bytes of a chunk, once one piece was too large
        self._mounts = True  # until it refuses

    def has_blob(self, repository: str, digest: Digest, size: int) -> bool:
        """Tell whether the registry has a blob of this digest and size."""
        accept = (200, 404, *_ELSEWHERE)
        answer = self._ask("HEAD", repository, f"blobs/{digest}", accept=accept)
        if answer.status in _ELSEWHERE:  # to the storage where it lies
            refuse_other_door(answer)
            return self._is_elsewhere(
                self._address(repository, f"blobs/{digest}"), repository, size
            )
        length = whole_number(answer.headers.get("Content-Length", ""))
        return answer.status == 200 and length in {None, size}

    def _is_elsewhere(self, url: str, repository: str, size: int) -> bool:
        """Tell whether a storage has what a registry's redirect promises."""
        patience = self.http.patience()
        while True:
            try:
                return authorized(
                    lambda login: is_there(self.http, url, size, auth=login),
                    self._login(repository),
                )
            except HttpFailure as failure:
                _wait(patience, failure)

    def manifest(self, repository: str, reference: str) -> KeptManifest | None:
        """Return what a tag or digest names, None if nothing."""
        answer = self._ask(
            "GET",
            repository,
            f"manifests/{reference}",
            headers={"Accept": ", ".join(ACCEPTED)},
            accept=(200, 404),
            limit=OCI.size,
        )
        return None if answer.status == 404 else KeptManifest(answer.body, Digest.of(answer.body))

    def small_blob(self, repository: str, digest: Digest) -> bytes | None:
        """Return a small blob, such as an image's configuration, if that is what is there."""
        url = self._address(repository, f"blobs/{digest}")

        def send(login: str | None) -> Answer:  # follows redirects: the storage may have it
            return self.http.get_small(
                url, limit=OCI.size, auth=login, accept=(200, 404), proven=True
            )

        try:
            answer = authorized(send, self._login(repository))
        except HttpFailure as failure:
            raise why_refused(failure) from failure
        is_it = answer.status == 200 and Digest.of(answer.body) == digest
        return answer.body if is_it else None

    def referrers(self, repository: str, subject: Digest) -> set[str] | None:
        """Return the digests of what is about ``subject``; None without the referrers API."""
        path, without = f"referrers/{subject}", (400, 404, 405)
        found = self._listed(repository, path, _digests, without=without, limit=OCI.size)
        return None if found is None else set(found)

    def mount(self, repository: str, digest: Digest, size: int, source: str) -> bool:
        """Let ``repository`` have a blob that ``source`` has; False if the registry has it not."""
        if not self._mounts:
            return False
        place = f"blobs/uploads/?mount={digest}&from={full_name(self._base, source)}"
        try:
            answer = self._ask("POST", repository, place, accept=(201, 202))
        except UpstreamError as error:  # 401 for the other repository, 405, whatever: then send it
            _log.info("%s is not mounted from %s: %s", digest, source, error)
            self._mounts = False
            return False
        if answer.status == 202:  # it began an upload in its place, which nobody will end
            self._mounts = False
            self._cancel(repository, answer)
            return False
        if not self.has_blob(repository, digest, size):  # it said so, and did nothing
            self._mounts = False
            return False
        return True

    def put_blob(self, repository: str, digest: Digest, part: FilePart, sent: Sent) -> None:
        """Send a blob and return when the registry has taken it.

        Raises:
            IntegrityError: our bytes are not those of the digest.
            UpstreamError: the registry refuses it, or fails again and again.
        """
        patience = self.http.patience()
        upload = None
        while True:
            upload = upload or self._begin(repository, digest, patience)
            try:
                upload.send(part, self._chunk, sent)
                return
            except HttpFailure as failure:
                self._after(failure, part, digest, patience)
                upload = upload.resumed()

    def put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str
    ) -> Mapping[str, str]:
        """Send a manifest under a tag or its digest; return the headers of the answer."""
        answer = self._ask(
            "PUT",
            repository,
            f"manifests/{reference}",
            data,
            headers={"Content-Type": media_type},
            accept=(200, 201, 202),
        )
        return answer.headers

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Delete a manifest and with it every tag that names it; False if it is not there."""
        answer = self._ask("DELETE", repository, f"manifests/{digest}", accept=(200, 202, 404))
        return answer.status != 404

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository; none if there is no such repository.

        Raises:
            UpstreamError: the registry does not tell all of them.
        """
        return (
            self._listed(repository, "tags/list?n=1000", _names, without=(404,), limit=_TAGS) or []
        )

    def _listed(
        self,
        repository: str,
        path: str,
        read: Callable[[object], list[str] | None],
        *,
        without: Collection[int],
        limit: int,
    ) -> list[str] | None:
        """Return what all pages of a list name; None if the first has a status of ``without``.

        Source: OCI distribution specification 1.1, "Listing Tags" and "Listing Referrers": where
        the next page is tells the header Link (RFC 8288).
        """
        found: dict[str, None] = {}
        url, accept = self._address(repository, path), (200, *without)
        place, asked = redact(url), {url}
        for _ in range(_PAGES):
            answer = self._ask("GET", repository, url=url, accept=accept, limit=limit)
            if answer.status != 200:
                return None
            page = read(parse(answer.body, redact(answer.url), OCI, UpstreamError))
            if page is None:
                raise UpstreamError(f"{redact(answer.url)}: not the list that was asked for")
            known = len(found)
            found |= dict.fromkeys(page)
            following = self._next_page(answer)
            if following is None:
                return list(found)
            if following in asked or (page and len(found) == known):
                raise UpstreamError(f"{place}: its pages repeat themselves", hint=_NO_END)
            asked.add(following)
            url, accept = following, (200,)
        raise UpstreamError(f"{place}: more than {_PAGES} pages", hint=_NO_END)

    def _next_page(self, answer: Answer) -> str | None:
        links = _LINK.findall(answer.headers.get("Link", ""))
        target = next((target for target, said in links if _NEXT.search(said)), None)
        return None if target is None else self._here(answer, target)

    def _after(
        self, failure: HttpFailure, part: FilePart, digest: Digest, patience: RetryBudget
    ) -> None:
        """Return when another try makes sense.

        Raises:
            HttpFailure: it makes none.
            IntegrityError: because our bytes are wrong.
        """
        if failure.status == 413 or (failure.status in {400, 405, 411, 501} and not self._chunk):
            self._check(part, digest)
            size = (self._chunk or 2 * CHUNK) // 2
            if size >= _SMALLEST and (failure.status == 413 or not self._chunk):
                self._chunk = size
                _log.info("%s; in chunks of %d bytes from now on", failure, size)
                return
        if failure.status == 400:
            self._check(part, digest)
        if failure.status in {404, 416}:  # an upload that it knows no more: once again from zero
            failure.temporary = True
        _wait(patience, failure)

    def _check(self, part: FilePart, digest: Digest) -> None:
        found = _digest_of_part(part)
        if found != digest:
            raise IntegrityError(
                f"{part.path}: byte {part.start}: expected {digest}, got {found}: damaged, and "
                "not taken by the registry",
                hint="mend the ISO with isobuilder site repair, or carry it again",
            )

    def _begin(self, repository: str, digest: Digest, patience: RetryBudget) -> _Upload:
        accept = (201, 202)
        answer = self._ask("POST", repository, "blobs/uploads/", accept=accept, patience=patience)
        least = whole_number(answer.headers.get("OCI-Chunk-Min-Length", ""))
        place = self._location(answer, repository)
        return _Upload(self, repository, digest, patience, place, least=least or 0)

    def _cancel(self, repository: str, answer: Answer) -> None:
        try:
            self._ask("DELETE", repository, url=self._location(answer, repository))
        except UpstreamError as error:
            _log.debug("an upload was not called off: %s", error)

    def _location(self, answer: Answer, repository: str) -> str:
        """Return where an upload goes on."""
        place = answer.headers.get("Location", "")
        if not place:
            fact = f"{redact(self._origin)}/{repository}: no place to upload to"
            raise HttpFailure(fact, temporary=False)
        return self._here(answer, place)

    def _here(self, answer: Answer, target: str) -> str:
        """Return an address in an answer. Only path and query count: bytes go to this registry."""
        try:
            place = urlsplit(urljoin(answer.url, target))
        except ValueError as error:
            fact = f"{redact(answer.url)}: names an address that is none: {target[:200]!r}"
            raise HttpFailure(fact, temporary=False) from error
        return f"{self._origin}{place.path}" + (f"?{place.query}" if place.query else "")

    def _address(self, repository: str, path: str) -> str:
        return f"{self._origin}/v2/{full_name(self._base, repository)}/{path}"

    def _login(self, repository: str) -> Callable[[HttpFailure | None, str | None], str | None]:
        def login(failure: HttpFailure | None, sent: str | None) -> str | None:
            if failure is None:
                return self._tokens.header(self._base, repository)
            return self._tokens.renew(self._base, repository, failure.headers, sent)

        return login

    def _ask(
        self,
        method: str,
        repository: str,
        path: str = "",
        body: bytes | Callable[[], Iterator[bytes | FilePart]] = b"",
        *,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (200, 201, 202, 204),
        limit: int = _MOST_SAID,
        patience: RetryBudget | None = None,
    ) -> Answer:
        """Ask with the right login; what has no body, or a small one, also again and again.

        How often is for ``patience`` to say, or as usual.
        """
        url = url or self._address(repository, path)

        def send(login: str | None) -> Answer:
            data = body if isinstance(body, bytes) else body()
            return self.http.upload(
                method, url, data, limit=limit, headers=headers, auth=login, accept=accept
            )

        patience = patience or self.http.patience()
        while True:
            try:
                return authorized(send, self._login(repository))
            except HttpFailure as failure:
                if not isinstance(body, bytes):
                    raise
                _wait(patience, failure)


@dataclass(slots=True)
class _Upload:
    """A blob on its way."""

    writer: RegistryWriter
    repository: str
    digest: Digest
    patience: RetryBudget
    place: str
    least: int  # bytes of a chunk that the registry wants at least
    done: int = 0  # bytes that it has

    def send(self, part: FilePart, chunk: int | None, sent: Sent) -> None:
        """Send what is left: in one piece, or in chunks of ``chunk`` bytes."""
        if chunk is None and not self.done:
            self._call("PUT", self._named(), part, sent, {})
            return
        size = max(chunk or CHUNK, self.least)
        while self.done < part.size:
            some = part.part(self.done, min(size, part.size - self.done))
            stretch = {"Content-Range": f"{self.done}-{self.done + some.size - 1}"}
            answer = self._call("PATCH", self.place, some, sent, stretch)
            self.place = self.writer._location(answer, self.repository)
            self.done += some.size
        self._call("PUT", self._named(), None, sent, {})

    def resumed(self) -> _Upload | None:
        """Return the upload from where the registry has it; None: begin anew."""
        if not self.done:
            return None
        ask = self.writer._ask
        try:
            answer = ask(
                "GET", self.repository, url=self.place, accept=(204,), patience=self.patience
            )
        except UpstreamError:
            return None
        last = whole_number(answer.headers.get("Range", "").rpartition("-")[2])
        if last is None or last + 1 < self.done:
            return None
        self.done = last + 1
        self.place = self.writer._location(answer, self.repository)
        return self

    def _named(self) -> str:
        return f"{self.place}{'&' if '?' in self.place else '?'}digest={self.digest}"

    def _call(
        self, method: str, url: str, part: FilePart | None, sent: Sent, more: Mapping[str, str]
    ) -> Answer:
        size = part.size if part else 0
        headers = {**_BYTES, **more, "Content-Length": str(size)}
        body = partial(_pieces, part, sent) if part else b""
        return self.writer._ask(
            method, self.repository, url=url, body=body, headers=headers, patience=self.patience
        )


def _pieces(part: FilePart, sent: Sent) -> Iterator[FilePart]:
    for at in range(0, part.size, _PIECE):
        size = min(_PIECE, part.size - at)
        yield part.part(at, size)
        sent(size)


def _names(document: object) -> list[str] | None:
    """Return the tags of a page; None if it is no list of tags."""
    listed = document.get("tags", False) if isinstance(document, dict) else False
    if listed is None:  # how some say that there are none
        return []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return None
    return listed


def _digests(document: object) -> list[str]:
    """Return the digests in a page of referrers."""
    listed = document.get("manifests") if isinstance(document, dict) else None
    entries = listed if isinstance(listed, list) else ()
    return [str(entry.get("digest")) for entry in entries if isinstance(entry, dict)]


def _wait(patience: RetryBudget, failure: HttpFailure) -> None:
    """Return when another try is due, or raise ``failure`` with what the registry said."""
    try:
        patience.wait_after(failure)
    except HttpFailure:
        raise why_refused(failure) from failure


def _digest_of_part(part: FilePart) -> Digest:
    """Return what a stretch of a file hashes to."""
    hasher = Hasher()
    with part.open() as file:
        at, end = part.start, part.start + part.size
        while at < end and (data := os.pread(file.fileno(), min(BUFFER_SIZE, end - at), at)):
            hasher.update(data)
            at += len(data)
    return hasher.digest()
