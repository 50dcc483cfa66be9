"""Images into a registry: only what is missing, and only what it kept is believed to be there.

Source: OCI distribution specification 1.1, "Push". A blob is asked for, then mounted from another
repository, then sent: in one piece, or in chunks where a proxy or the registry wants that. The
registry proves its digest; only when it objects we look whether ours are the wrong bytes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.formats.oci import ACCEPTED
from isobuilder.http import Answer, Http, HttpFailure, RetryBudget, redact
from isobuilder.http.replies import FilePart
from isobuilder.sources.mirrors import authorized
from isobuilder.sources.reasons import with_reason
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
_PAGES = 1000  # of a list of tags
_BYTES = {"Content-Type": "application/octet-stream"}

T = TypeVar("T")
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
        self._http = http
        self._tokens = RegistryTokens(http, credentials)
        self._chunk: int | None = None  # bytes of a chunk, once one piece was too large
        self._mounts = True  # until it refuses

    def has_blob(self, repository: str, digest: Digest, size: int) -> bool:
        """Tell whether the registry has a blob of this digest and size."""
        answer = self._ask("HEAD", repository, f"blobs/{digest}", accept=(200, 307, 404))
        length = whole_number(answer.headers.get("Content-Length", ""))
        return answer.status == 307 or (answer.status == 200 and length in {None, size})

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
        answer = self._ask("GET", repository, f"blobs/{digest}", accept=(200, 404), limit=OCI.size)
        is_it = answer.status == 200 and Digest.of(answer.body) == digest
        return answer.body if is_it else None

    def referrers(self, repository: str, subject: Digest) -> set[str] | None:
        """Return the digests of what is about ``subject``; None without the referrers API."""
        path = f"referrers/{subject}"
        answer = self._ask("GET", repository, path, accept=(200, 400, 404, 405), limit=OCI.size)
        if answer.status != 200:
            return None
        found = parse(answer.body, redact(answer.url), OCI, UpstreamError)
        listed = found.get("manifests") if isinstance(found, dict) else None
        entries = listed if isinstance(listed, list) else ()
        return {str(entry.get("digest")) for entry in entries if isinstance(entry, dict)}

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Let ``repository`` have a blob that ``source`` has; False if the registry will not."""
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
        return answer.status == 201

    def put_blob(self, repository: str, digest: Digest, part: FilePart, sent: Sent) -> None:
        """Send a blob and return when the registry has taken it.

        Raises:
            IntegrityError: our bytes are not those of the digest.
            UpstreamError: the registry refuses it, or fails again and again.
        """
        patience = self._http.patience()
        upload = None
        while True:
            try:
                upload = upload or self._begin(repository, digest)
                upload.send(part, self._chunk, sent)
                return
            except HttpFailure as failure:
                self._after(failure, part, digest, patience)
                upload = upload and upload.resumed()

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
        """Return the tags of a repository; none if there is no such repository."""
        found: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(_PAGES):
            answer = self._ask("GET", repository, path, accept=(200, 404), limit=_TAGS)
            if answer.status == 404:
                return found
            listed = parse(answer.body, redact(answer.url), OCI, UpstreamError)
            names = listed.get("tags") if isinstance(listed, dict) else None
            page = [name for name in names or () if isinstance(name, str)]
            found += page
            if not page or "next" not in answer.headers.get("Link", ""):
                return found
            path = f"tags/list?n=1000&last={page[-1]}"
        return found

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
        patience.wait_after(failure)

    def _check(self, part: FilePart, digest: Digest) -> None:
        found = _digest_of_part(part)
        if found != digest:
            raise IntegrityError(
                f"{part.path}: byte {part.start}: expected {digest}, got {found}: damaged, and "
                "not taken by the registry",
                hint="mend the ISO with isobuilder site repair, or carry it again",
            )

    def _begin(self, repository: str, digest: Digest) -> _Upload:
        answer = self._ask("POST", repository, "blobs/uploads/", accept=(201, 202))
        least = whole_number(answer.headers.get("OCI-Chunk-Min-Length", ""))
        place = self._location(answer, repository)
        return _Upload(self, repository, digest, place, least=least or 0)

    def _cancel(self, repository: str, answer: Answer) -> None:
        try:
            self._ask("DELETE", repository, url=self._location(answer, repository))
        except UpstreamError as error:
            _log.debug("an upload was not called off: %s", error)

    def _location(self, answer: Answer, repository: str) -> str:
        """Return where an upload goes on. Only path and query count: bytes go to this registry."""
        place = urlsplit(answer.headers.get("Location", ""))
        if not place.path.startswith("/"):
            fact = f"{redact(self._origin)}/{repository}: no place to upload to"
            raise HttpFailure(fact, temporary=False)
        return f"{self._origin}{place.path}" + (f"?{place.query}" if place.query else "")

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
    ) -> Answer:
        """Ask with the right login; what has no body, or a small one, also again and again."""
        url = url or f"{self._origin}/v2/{full_name(self._base, repository)}/{path}"

        def send(login: str | None) -> Answer:
            data = body if isinstance(body, bytes) else body()
            return self._http.upload(
                method, url, data, limit=limit, headers=headers, auth=login, accept=accept
            )

        def login(failure: HttpFailure | None, sent: str | None) -> str | None:
            if failure is None:
                return self._tokens.header(self._base, repository)
            return self._tokens.renew(self._base, repository, failure.headers, sent)

        patience = self._http.patience()
        while True:
            try:
                return authorized(send, login)
            except HttpFailure as failure:
                if not isinstance(body, bytes):
                    raise
                try:
                    patience.wait_after(failure)
                except HttpFailure:
                    raise with_reason(failure) from failure


@dataclass(slots=True)
class _Upload:
    """A blob on its way."""

    writer: RegistryWriter
    repository: str
    digest: Digest
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
            answer = ask("GET", self.repository, url=self.place, accept=(204,))
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
        return self.writer._ask(method, self.repository, url=url, body=body, headers=headers)


def _pieces(part: FilePart, sent: Sent) -> Iterator[FilePart]:
    for at in range(0, part.size, _PIECE):
        size = min(_PIECE, part.size - at)
        yield part.part(at, size)
        sent(size)


def _digest_of_part(part: FilePart) -> Digest:
    """Return what a stretch of a file hashes to."""
    hasher = Hasher()
    with part.path.open("rb", buffering=0) as file:
        at, end = part.start, part.start + part.size
        while at < end and (data := os.pread(file.fileno(), min(BUFFER_SIZE, end - at), at)):
            hasher.update(data)
            at += len(data)
    return hasher.digest()
