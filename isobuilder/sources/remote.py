"""A store that machines share: a repository of a registry, to read blobs from and give them to.

Nothing in it is believed: bytes count only with the digest that was wanted anyway, so whoever may
write there can keep others waiting, for a quarter of an hour, and nothing else.

Each blob has a tag, ``sha256-<64 digits>``. The tag names a manifest whose one layer is

- the blob: it is there;
- the blob behind 32 bytes of salt: the registry has damaged bytes under the blob's own digest, and
  registries keep what they have, whatever is sent again;
- two bytes, ``{}``: some machine is fetching it from upstream, and says so anew every few seconds,
  or it has given up.

So that of several machines one asks upstream, each writes that it wants to, waits, and looks
whether that still stands. Where a registry is slower than the wait, two ask; nothing worse.
Sources: OCI distribution specification 1.1 (push); L. Lamport, "A Fast Mutual Exclusion Algorithm",
1987, which has M. Fischer's idea.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.documents.json import OCI
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.http.addresses import is_this_machine, redact
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.pacing import RetryBudget
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.sources.download import Download
from isobuilder.sources.mirrors import authorized
from isobuilder.sources.reasons import with_reason
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.registry_tokens import RegistryTokens
from isobuilder.sources.shared_entry import (
    EMPTY,
    FREE,
    MANIFEST,
    NOTHING,
    Claim,
    SharedEntry,
    manifest_of,
    read_entry,
    tag_of,
)
from isobuilder.store import Blob, Store

_log = logging.getLogger(__name__)

SETTLE = 0.5  # seconds, and twice what the registry took, before a claim counts
STALE = 20.0  # seconds without a new word after which a claim is nobody's
PATIENCE = 900.0  # seconds after which a claim is not waited for any longer
ELSEWHERE = 0.4  # seconds between looks at what another machine is fetching
_SALT = 32  # bytes
_MOST_SAID = 64 * 1024  # bytes of an answer to something sent
_RETRIES, _BUDGET = 2, 15.0  # tries after the first, seconds of waiting: upstream is there, too

_REFUSED = {400, 401, 403, 405, 413}  # not now and not later

T = TypeVar("T")
Bring = Callable[[Task], Blob]
"""Fetch from upstream; the task is to be told of bytes that come."""


class RemoteStore:
    """Shares blobs with other machines. Safe to use from several threads.

    A registry that fails is told once and left alone from then on, unless it is ``required``; one
    that may only be read is read. ``notices`` has what was told.
    """

    def __init__(
        self,
        address: str,
        http: Http,
        credentials: Credentials,
        *,
        required: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        self.address = address
        self.notices: list[str] = []
        self._base, self._repository = _registry_of(address)
        self._http = http
        self._tokens = RegistryTokens(http, credentials)
        self._required = required
        self._progress = progress
        self._owner = secrets.token_hex(8)
        self._off = False
        self._read_only = False
        self._greeted = False  # the empty blob is there
        self._guard = threading.Lock()
        self._greeting = threading.Lock()
        self._damaged: set[Digest] = set()  # manifests that lead to no use
        self._salted: set[Digest] = set()  # blobs that the registry has other bytes of
        self._seen: dict[Digest, tuple[Digest, float]] = {}  # claims of others, and since when
        self._waited_for: dict[Digest, float] = {}  # blobs that others fetch, and since when

    def turn(self, want: Download, store: Store, bring: Bring) -> Blob | None:
        """Return a blob: of the shared store, or what ``bring`` fetches, which then is shared.

        None while another machine is fetching it: ask again after ``ELSEWHERE`` seconds.

        Raises:
            UpstreamError: the shared store cannot be reached, and it is required.
            IsobuilderError: whatever ``bring`` raises.
        """
        digest = want.digest
        if digest is None or digest == EMPTY or self._off:
            return bring(Claim(None))
        claim = Claim(None)
        try:
            entry = self._entry(digest)
            usable = entry and not entry.is_claim and entry.document not in self._damaged
            if entry and usable and (blob := self._read(want, digest, entry, store)):
                return blob
            if not self._is_tired(digest):
                if entry and entry.is_claim and not self._is_nobodys(digest, entry):
                    return None
                if not self._read_only:
                    claim = Claim(partial(self._announce, digest))
                    if not self._won(digest, claim, entry):
                        return None
        except UpstreamError as error:
            self._give_up(error)
            claim = Claim(None)
        return self._bring(bring, claim)

    def wait(self) -> None:
        """Sleep until it is time to look again what became of another machine's claim."""
        self._http.pause(ELSEWHERE)

    def _bring(self, bring: Bring, claim: Claim) -> Blob:
        try:
            blob = bring(claim)
            if claim.is_held:
                self._give(blob, claim)
        finally:
            claim.free()  # whatever ended it, the next machine need not wait
        return blob

    def _give(self, blob: Blob, claim: Claim) -> None:
        """Share a blob, and put its entry in the place of the claim."""
        try:
            self._share(blob, claim)
            claim.drop()
        except UpstreamError as error:
            if isinstance(error, HttpFailure) and error.status in _REFUSED:
                self._tell(f"{blob.digest}: could not be given to it: {with_reason(error)}")
            else:
                claim.free()
                self._give_up(error)

    # --- reading ---

    def _entry(self, digest: Digest) -> SharedEntry | None:
        url = self._url(f"manifests/{tag_of(digest)}")
        headers = {"Accept": MANIFEST}

        def ask(login: str | None) -> SharedEntry | None:
            with self._http.get(url, headers=headers, auth=login, accept=(200, 404)) as response:
                data = b"".join(_at_most(response.chunks(), OCI.size, redact(url)))
            return None if response.status == 404 else read_entry(data, redact(url))

        try:
            return self._persist(url, ask)
        except IntegrityError as error:
            self._tell(f"{error}; what it should name is taken from upstream and put there anew")
            return None

    def _read(
        self, want: Download, digest: Digest, entry: SharedEntry, store: Store
    ) -> Blob | None:
        """Return the blob, None if what is there is of no use."""
        url = self._url(f"blobs/{entry.layer}")
        skipped = 0 if entry.layer == digest else _SALT

        def ask(login: str | None) -> Blob:
            with (
                self._http.get(url, auth=login) as response,
                task(self._progress, want.name, total=want.size) as work,
            ):
                pieces = _at_most(response.chunks(), want.limit + skipped, redact(url))
                chunks = _counted(_behind(pieces, skipped), work)
                return store.add(chunks, digest=digest, name=redact(url), size=want.size)

        try:
            blob = self._persist(url, ask)
        except IntegrityError as error:
            self._tell(f"{want.name}: damaged in the shared store, so it is not taken: {error}")
            self._salted.add(digest)
        except HttpFailure as failure:
            if failure.status != 404:
                raise
            self._tell(f"{want.name}: the shared store names it and has it not: {failure}")
        else:
            _log.info("%s: %d bytes from %s", want.name, blob.size, self.address)
            return blob
        self._damaged.add(entry.document)
        return None

    # --- writing ---

    def _is_nobodys(self, digest: Digest, entry: SharedEntry) -> bool:
        """Say if a claim was given up, or nothing was heard of its owner for long."""
        now = time.monotonic()
        document, since = self._seen.get(digest, (None, now))
        if document != entry.document:
            self._seen[digest] = entry.document, now
            since = now
        return entry.document == Digest.of(FREE) or now - since > STALE

    def _is_tired(self, digest: Digest) -> bool:
        """Say if others were waited for long enough, whatever they say."""
        now = time.monotonic()
        return now - self._waited_for.setdefault(digest, now) > PATIENCE

    def _won(self, digest: Digest, claim: Claim, before: SharedEntry | None) -> bool:
        """Claim a blob, and say if it is ours to fetch, or nobody's because we may not write."""
        began = time.monotonic()
        try:
            self._greet()
            claim.say()
        except UpstreamError as error:
            if not _is_refusal(error):
                raise
            self._tell(f"may be read only, what is fetched is not shared: {with_reason(error)}")
            self._read_only = True
            claim.drop()
            return True
        self._http.pause(SETTLE + 2 * (time.monotonic() - began))
        entry = self._entry(digest)
        if entry is not None and entry.document == claim.document:
            return True
        if entry in {None, before}:
            raise UpstreamError(f"{redact(self._url(''))}: it does not keep what it is given")
        claim.drop()
        return False

    def _greet(self) -> None:
        """Put the empty blob there, which every manifest names."""
        with self._greeting:
            if self._greeted:
                return
            url = self._url(f"blobs/{EMPTY}")

            def ask(login: str | None) -> bool:
                with self._http.get(url, auth=login, accept=(200, 404)) as response:
                    return response.status == 200

            if not self._persist(url, ask):
                self._upload(EMPTY, len(NOTHING), lambda: [NOTHING])
            self._greeted = True

    def _announce(self, digest: Digest, number: int | None) -> Digest:
        """Say for the ``number``-th time that the blob is being fetched; None: not any more."""
        data = FREE if number is None else manifest_of(None, f"{self._owner} {number}")
        self._put(digest, data)
        return Digest.of(data)

    def _share(self, blob: Blob, claim: Claim) -> None:
        layer, size, salt = blob.digest, blob.size, b""
        if blob.digest in self._salted:
            salt = secrets.token_bytes(_SALT)
            hasher = Hasher()
            for piece in itertools.chain([salt], _counted(_pieces(blob), claim)):
                hasher.update(piece)
            layer, size = hasher.digest(), hasher.size
        self._upload(layer, size, lambda: itertools.chain([salt], _counted(_pieces(blob), claim)))
        self._put(blob.digest, manifest_of((layer, size)))
        _log.info("%s: given to %s", blob.digest, self.address)
        if salt:
            self._tell(f"{blob.digest}: replaced in the shared store")

    def _put(self, digest: Digest, manifest: bytes) -> None:
        url = self._url(f"manifests/{tag_of(digest)}")
        headers = {"Content-Type": MANIFEST}

        def send(login: str | None) -> None:
            try:
                self._http.upload(
                    "PUT", url, manifest, limit=_MOST_SAID, headers=headers, auth=login
                )
            except HttpFailure as failure:
                # docker-registry has no blob for the moment in which another machine gives it.
                failure.temporary |= failure.status == 400
                raise

        self._persist(url, send)

    def _upload(self, digest: Digest, size: int, body: Callable[[], Iterable[bytes]]) -> None:
        begin = self._url("blobs/uploads/")

        def send(login: str | None) -> None:
            answer = self._http.upload("POST", begin, b"", limit=_MOST_SAID, auth=login)
            if answer.status == 201:
                return
            # Only its path counts: whatever host it names, bytes and login go to this registry.
            place = urlsplit(answer.headers.get("Location", ""))
            if not place.path:
                raise HttpFailure(f"{redact(begin)}: no place to upload to", temporary=False)
            query = f"{place.query}&" if place.query else ""
            url = f"{self._base}{place.path}?{query}digest={digest}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            self._http.upload("PUT", url, body(), limit=_MOST_SAID, headers=headers, auth=login)

        self._persist(begin, send)

    # --- both ---

    def _persist(self, url: str, ask: Callable[[str | None], T]) -> T:
        """Do one thing with the right login, some times if that may help."""

        def login(failure: HttpFailure | None, sent: str | None) -> str | None:
            if failure is None:
                return self._tokens.header(self._base, self._repository)
            return self._tokens.renew(self._base, self._repository, failure.headers, sent)

        patience = RetryBudget(
            retries=_RETRIES, budget=_BUDGET, first_delay=0.5, pause=self._http.pause
        )
        while True:
            try:
                return authorized(ask, login)
            except HttpFailure as failure:
                patience.wait_after(failure)
                _log.info("%s: %s; trying again", redact(url), failure)

    def _give_up(self, error: UpstreamError) -> None:
        if self._required:
            raise UpstreamError(
                f"the shared store {self.address}: {with_reason(error)}",
                hint=error.hint or "without remote_store_required upstream is asked instead",
            ) from error
        with self._guard:
            first, self._off = not self._off, True
        if first and not self._http.closed:
            self._tell(f"cannot be used, so upstream is asked: {with_reason(error)}")

    def _tell(self, fact: str) -> None:
        with self._guard:
            self.notices.append(fact)
        _log.warning("%s: %s", self.address, fact)

    def _url(self, path: str) -> str:
        return f"{self._base}/v2/{self._repository}/{path}"


def _registry_of(address: str) -> tuple[str, str]:
    """Return the base address of the registry, and the repository; on this machine without TLS."""
    parts = urlsplit(address)
    own = is_this_machine(parts.hostname)
    scheme = "http" if own or parts.scheme == "oci+http" else "https"
    return f"{scheme}://{parts.netloc}", parts.path.strip("/")


def _is_refusal(error: UpstreamError) -> bool:
    """Say if a registry answered that this may not be written; logins that fail have no status."""
    return not isinstance(error, HttpFailure) or error.status in _REFUSED


def _pieces(blob: Blob) -> Iterator[bytes]:
    with blob.open() as file:
        while piece := file.read(BUFFER_SIZE):
            yield piece


def _at_most(chunks: Iterable[bytes], limit: int, place: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise IntegrityError(f"{place}: longer than {limit} bytes")
        yield chunk


def _behind(chunks: Iterable[bytes], skipped: int) -> Iterator[bytes]:
    """Yield what follows the first ``skipped`` bytes."""
    for chunk in chunks:
        rest, skipped = chunk[skipped:], max(0, skipped - len(chunk))
        if rest:
            yield rest


def _counted(chunks: Iterable[bytes], work: Task) -> Iterator[bytes]:
    for chunk in chunks:
        work.advance(len(chunk))
        yield chunk
