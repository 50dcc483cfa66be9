"""Container images from registries: what a reference means, and where its blobs are.

Source: OCI distribution specification 1.1. Every digest is computed here, from the bytes that
arrived. ``Docker-Content-Digest`` is a second opinion: where nothing is pinned yet (a tag), an
answer that contradicts its own header is refused; where the bytes are what was pinned they are
proven, and a lying header is only logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from isobuilder.cancel import pooled
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, UpstreamError
from isobuilder.formats import oci
from isobuilder.formats.oci import (
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    RegistryDocument,
)
from isobuilder.formats.reference import ImageReference
from isobuilder.http.addresses import redact
from isobuilder.http.answer import Answer
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.model.config import Config, registry_bases
from isobuilder.sources.download import Download
from isobuilder.sources.mirrors import NotThere, OfNoUse, authorized, first_good, if_there
from isobuilder.sources.reasons import reason_in
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.registry_tokens import RegistryTokens, full_name
from isobuilder.sources.remote import RemoteStore
from isobuilder.store import Blob, Store

_log = logging.getLogger(__name__)

_ACCEPT = {"Accept": ", ".join(oci.ACCEPTED)}
_SHOWN = 60  # bytes of an answer that is none
_NOT_IT = "a proxy, a login page or a damaged cache may be in the way: ask for it with curl"
_NOT_THERE = {400, 404, 405}  # the last two are how older registries answer for referrers
_DEEPEST = 2  # indexes on the way to a manifest: an index, and one index within it

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedDocument:
    """A manifest or index as a registry serves it, its digest computed here."""

    data: bytes = field(repr=False)
    digest: Digest
    parsed: ImageManifest | ImageIndex


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """One image of one platform: what a reference means at this moment."""

    reference: ImageReference  # as it was asked for
    index: Digest | None  # None when the reference names the manifest of a single platform
    digest: Digest  # of the platform's manifest
    manifest_bytes: bytes = field(repr=False)
    manifest: ImageManifest
    config: ImageConfig

    @property
    def size(self) -> int:
        """Bytes of manifest, configuration and layers, each blob once."""
        return len(self.manifest_bytes) + sum(blob.size for blob in self.manifest.blobs)

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""
        return self.manifest.layers


@dataclass(frozen=True, slots=True)
class RegistryArtifact:
    """A manifest or index of any kind, its digest computed here."""

    digest: Digest
    data: bytes = field(repr=False)
    parsed: RegistryDocument


@dataclass(frozen=True, slots=True)
class ImagePin:
    """One image of one platform, as a lock pins it."""

    reference: ImageReference
    digest: Digest  # of the platform's manifest


class RegistryClient:
    """Asks registries, or their mirrors, for images. Safe to use from several threads."""

    def __init__(self, http: Http, config: Config, credentials: Credentials) -> None:
        self._http = http
        self._config = config
        self._tokens = RegistryTokens(http, credentials)

    def resolve(self, reference: ImageReference, architecture: str) -> ResolvedImage:
        """Return the image that ``reference`` means on Linux and ``architecture``.

        Raises:
            InputError: there is no such image for this architecture, or none a node can run.
            IntegrityError: bytes contradict a digest, or are no image.
            UpstreamError: the registry, and each of its mirrors, failed.
        """
        place = str(reference)
        document = self.document(reference, architecture=architecture)
        index = document.digest if isinstance(document.parsed, ImageIndex) else None
        depth = 0
        while isinstance(parsed := document.parsed, ImageIndex):
            depth += 1
            if depth > _DEEPEST:
                raise IntegrityError(f"{place}: more than {_DEEPEST} indexes within each other")
            entry = oci.choose_platform(parsed, architecture, place=place)
            document = self.document(
                reference.with_digest(entry.digest), of=entry, architecture=architecture
            )
        config = self._image_config(reference, parsed)
        oci.check_config(config, parsed, architecture, place=place)
        return ResolvedImage(reference, index, document.digest, document.data, parsed, config)

    def labels(self, resolved: ResolvedImage) -> Mapping[str, str]:
        """Return the labels of an image's configuration."""
        return resolved.config.labels

    def document(
        self,
        reference: ImageReference,
        *,
        of: Descriptor | None = None,
        architecture: str | None = None,
    ) -> ServedDocument:
        """Return the manifest or index that ``reference`` names, at most 4 MiB.

        ``of`` is what an index says of it; with ``architecture`` an index must have that.

        Raises:
            IntegrityError: not the bytes of the digest, not as ``of`` says, or malformed.
            InputError: nothing a node can run, or not for ``architecture``.
            UpstreamError: the registry, and each of its mirrors, failed.
        """

        def check(answer: Answer) -> ServedDocument:
            place = redact(answer.url)
            digest = _checked_digest(answer, reference.digest, place)
            if of is not None and len(answer.body) != of.size:
                raise IntegrityError(f"{place}: expected {of.size} bytes, got {len(answer.body)}")
            kind = of.media_type if of else answer.headers.get("Content-Type")
            try:
                parsed = oci.read_document(answer.body, place=place, content_type=kind)
                if isinstance(parsed, ImageIndex) and architecture is not None:
                    oci.choose_platform(parsed, architecture, place=place)
            except InputError as error:
                raise OfNoUse(str(error), hint=error.hint) from error
            return ServedDocument(answer.body, digest, parsed)

        name = reference.digest or reference.tag or "latest"
        return self._first(reference, f"manifests/{name}", _ACCEPT, check)

    def artifact(self, reference: ImageReference) -> RegistryArtifact | None:
        """Return a manifest or index of any kind that ``reference`` names; None if there is none.

        Raises:
            IntegrityError: not the bytes of the digest, or malformed.
            UpstreamError: the registry, and each of its mirrors, failed.
        """
        name = reference.digest or reference.tag or "latest"
        return self._any(reference, f"manifests/{name}", reference.digest)

    def referrers(self, reference: ImageReference, digest: Digest) -> RegistryArtifact | None:
        """Return the index of what the registry has about ``digest``; None if it tells nothing.

        Source: OCI distribution specification 1.1, "Listing Referrers", and the tag that stands in
        for it where a registry does not know them.
        """
        found = self._any(reference, f"referrers/{digest}", None)
        if found is not None:
            return found
        return self.artifact(reference.with_tag(f"sha256-{digest.hex}"))

    def small_blob(self, reference: ImageReference, blob: Descriptor, limit: int) -> bytes:
        """Return the bytes of a blob, which are those of its digest and size.

        Raises:
            IntegrityError: they are others, or more than ``limit``.
            UpstreamError: the registry, and each of its mirrors, failed.
        """
        if blob.size > limit:
            raise IntegrityError(f"{reference}: {blob.digest}: {blob.size} bytes, at most {limit}")

        def check(answer: Answer) -> bytes:
            _checked_digest(answer, blob.digest, redact(answer.url))
            return answer.body

        return self._first(reference, f"blobs/{blob.digest}", {}, check)

    def _any(
        self, reference: ImageReference, path: str, pinned: Digest | None
    ) -> RegistryArtifact | None:
        def ask(base: str) -> RegistryArtifact:
            try:
                answer = self._ask(base, reference.repository, path, _ACCEPT)
            except HttpFailure as failure:
                if failure.status in _NOT_THERE:
                    raise NotThere(f"{reference}: {path}: {failure.status}") from failure
                raise
            place = redact(answer.url)
            digest = _checked_digest(answer, pinned, place)
            return RegistryArtifact(digest, answer.body, oci.parse_any(answer.body, place=place))

        bases = registry_bases(self._config, reference.registry)
        return if_there(str(reference), bases, ask)

    def blob_wanted(self, reference: ImageReference, blob: Digest, size: int | None) -> Download:
        """Return what the fetcher needs to bring a blob of an image from the first good mirror."""
        bases = registry_bases(self._config, reference.registry)
        places = {_address(base, reference.repository, f"blobs/{blob}"): base for base in bases}
        return Download(
            name=f"{reference.name}@{blob}",
            urls=tuple(places),
            digest=blob,
            size=size,
            ceiling=oci.MAX_LAYER,
            authorize=_Authorizer(self._tokens, reference.repository, places),
        )

    @property
    def jobs(self) -> int:
        """How many requests to have under way at once."""
        return self._config.jobs

    def _image_config(self, reference: ImageReference, manifest: ImageManifest) -> ImageConfig:
        wanted = manifest.config.digest

        def check(answer: Answer) -> bytes:
            _checked_digest(answer, wanted, redact(answer.url))
            return answer.body

        data = self._first(reference, f"blobs/{wanted}", {}, check)
        return oci.parse_config(data, place=f"{reference}: configuration")

    def _first(
        self,
        reference: ImageReference,
        path: str,
        headers: Mapping[str, str],
        check: Callable[[Answer], T],
    ) -> T:
        """Return the first good answer of the registry or its mirrors, in their order."""
        return first_good(
            str(reference),
            registry_bases(self._config, reference.registry),
            lambda base: check(self._ask(base, reference.repository, path, headers)),
        )

    def _ask(self, base: str, repository: str, path: str, headers: Mapping[str, str]) -> Answer:
        url = _address(base, repository, path)

        def send(login: str | None) -> Answer:
            return self._http.get_small(
                url,
                limit=oci.MAX_DOCUMENT,
                headers=headers,
                auth=login,
                proven="sha256:" in path,  # by its own name, which whoever asks compares
            )

        return authorized(
            send,
            partial(_Authorizer(self._tokens, repository, {url: base}), url),
        )


def fetch_manifests(
    client: RegistryClient,
    store: Store,
    images: Sequence[ImagePin],
    remote: RemoteStore | None = None,
) -> None:
    """Bring the manifests of ``images`` into ``store``, several at once.

    Raises:
        IntegrityError: a manifest that is not the pinned one, or malformed.
        UpstreamError: a manifest could not be had from any mirror.
    """
    unique = {pin.digest: pin for pin in images if store.find(pin.digest) is None}
    bring = partial(_fetch_manifest, client, store, remote)
    with pooled(client.jobs, "manifest", end=client._http.close) as pool:
        for _ in pool.map(bring, unique.values()):
            pass


@dataclass(frozen=True, slots=True)
class _Authorizer:
    """Finds the Authorization header for one blob at each of its places."""

    tokens: RegistryTokens = field(repr=False)
    repository: str
    places: Mapping[str, str]  # address -> base of the registry or mirror

    def __call__(self, url: str, failure: HttpFailure | None, sent: str | None) -> str | None:
        base = self.places[url]
        if failure is None:
            return self.tokens.header(base, self.repository)
        return self.tokens.renew(base, self.repository, failure.headers, sent)


def _address(base: str, repository: str, path: str) -> str:
    parts = urlsplit(base)
    if parts.scheme == "file":  # a tree on disk, laid out as the API's paths
        return f"{base}/v2/{repository}/{path}"
    return f"{parts.scheme}://{parts.netloc}/v2/{full_name(base, repository)}/{path}"


def _checked_digest(answer: Answer, pinned: Digest | None, place: str) -> Digest:
    """Return the digest of an answer.

    Raises:
        IntegrityError: not the pinned bytes, or the registry contradicts itself.
        UpstreamError: nothing is pinned, and it is no answer of a registry.
    """
    digest, looks = Digest.of(answer.body), _looks(answer)
    if pinned is not None and digest != pinned:
        raise IntegrityError(
            f"{place}: expected {pinned}, got {digest}{looks and f'; it is {looks}'}"
        )
    if pinned is None and looks:
        raise UpstreamError(
            f"{place}: expected the manifest of an image, got {looks}", hint=_NOT_IT
        )
    claimed = answer.headers.get("Docker-Content-Digest", "")
    if claimed.startswith("sha256:") and claimed != digest:
        if pinned is None:
            raise IntegrityError(f"{place}: the registry says {claimed[:71]}, but sent {digest}")
        _log.warning("%s: the registry's header says %.71r about the right bytes", place, claimed)
    return digest


def _looks(answer: Answer) -> str:
    """Say what an answer is if it cannot be a registry's; empty if it can."""
    begin = answer.body[:_SHOWN].strip()
    if not begin:
        return "nothing"
    if begin[:1] == b"{":
        error = b'"errors"' in begin and reason_in(answer.body, "application/json", answer.secrets)
        return f"an error in place of an answer: {error}" if error else ""
    if answer.encoding:
        return f"it encoded as {answer.encoding}"
    what = "an HTML page" if begin[:1] == b"<" else f"{len(answer.body)} bytes"
    return f"{what} that begins with {begin[:_SHOWN]!r}"


def _fetch_manifest(
    client: RegistryClient, store: Store, remote: RemoteStore | None, pin: ImagePin
) -> None:
    place = str(pin.reference)

    def bring(_claim: object = None) -> Blob:
        document = client.document(pin.reference.with_digest(pin.digest))
        if isinstance(document.parsed, ImageIndex):
            raise IntegrityError(f"{place}: expected the manifest of one platform, got an index")
        return store.add_bytes(document.data)

    if remote is None:
        bring()
        return
    want = Download(f"{place}: manifest", (), pin.digest, None, oci.MAX_DOCUMENT)
    while (blob := remote.turn(want, store, bring)) is None:
        remote.wait()
    oci.parse_manifest(blob.read(), place=place)
