"""Signatures and what proves them, as projects, registries and logs serve them: bytes, unjudged.

Sources: cosign's specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md (tags ``.sig`` and ``.att``, bundles as
referrers); GitHub's REST API, "List attestations".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from isobuilder.digest import Digest
from isobuilder.documents.json import ANSWER, parse
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import SIGNED_TEXT, Descriptor
from isobuilder.formats.reference import ImageReference
from isobuilder.http.answer import Answer
from isobuilder.http.failure import HttpFailure
from isobuilder.model.config import mirror_urls
from isobuilder.sources.mirrors import NotThere, if_there
from isobuilder.sources.session import Session

_SMALL = 4 * 1024 * 1024  # bytes of a signature, certificate, bundle or answer
_MOST = 32  # signatures, or referrers, of one image
_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_ABSENT = {400, 404, 410}  # a log answers 400 for a signature that is not one of these bytes


@dataclass(frozen=True, slots=True)
class ImageSignature:
    """One layer of a tag ``.sig`` or ``.att``: a signed text and what cosign noted of it."""

    place: str
    data: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(hash=False)
    is_statement: bool  # data is a DSSE envelope


class EvidenceSource:
    """Asks for evidence wherever a session reaches."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def file(self, url: str) -> bytes | None:
        """Return a small file; None if it is not there.

        Raises:
            UpstreamError: nobody answers.
        """
        return self._asked(url, lambda at: self._session.http.get_small(at, limit=_SMALL))

    def question(self, url: str, body: bytes) -> bytes | None:
        """Return what a log answers to a question of JSON; None if it knows nothing."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}

        def ask(at: str) -> Answer:
            return self._session.http.upload(
                "POST", at, body, limit=_SMALL, headers=headers, accept=(200,)
            )

        return self._asked(url, ask)

    def _asked(self, url: str, ask: Callable[[str], Answer]) -> bytes | None:
        def one(at: str) -> bytes:
            try:
                return ask(at).body
            except HttpFailure as failure:
                if failure.status in _ABSENT:
                    raise NotThere(str(failure)) from failure
                raise

        return if_there(url, mirror_urls(self._session.config, url), one)

    def attestations(self, repository: str, digest: Digest) -> list[bytes]:
        """Return the bundles that GitHub has about a file of a release, none if it has none."""
        url = f"https://api.github.com/repos/{repository}/attestations/{digest}"
        data = self.file(url)
        if data is None:
            return []
        answer = parse(data, url, ANSWER, IntegrityError)
        found = answer.get("attestations") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise IntegrityError(f"{url}: expected attestations, found none")
        bundles = [one.get("bundle") for one in found[:_MOST] if isinstance(one, dict)]
        return [json.dumps(one).encode() for one in bundles if isinstance(one, dict)]

    # --- images ---

    def index(self, reference: ImageReference, digest: Digest) -> bytes:
        """Return the bytes of an index that was locked."""
        found = self._session.registry.artifact(reference.with_digest(digest))
        if found is None:
            raise IntegrityError(f"{reference}: its index {digest} is not there any more")
        return found.data

    def tagged(self, reference: ImageReference, digest: Digest) -> list[ImageSignature]:
        """Return the signatures under the tags ``sha256-<hex>.sig`` and ``.att``."""
        registry, found = self._session.registry, []
        for end in ("sig", "att"):
            name = reference.with_tag(f"sha256-{digest.hex}.{end}")
            tagged = registry.artifact(name)
            for layer in tagged.parsed.layers[:_MOST] if tagged else ():
                if layer.media_type not in {SIGNED_TEXT, _ENVELOPE}:
                    continue
                data = registry.small_blob(name, layer, _SMALL)
                is_statement = layer.media_type == _ENVELOPE
                found.append(ImageSignature(str(name), data, layer.annotations, is_statement))
        return found

    def referring(self, reference: ImageReference, digest: Digest) -> list[bytes]:
        """Return the bundles that the registry has as referrers of an image.

        What is listed is believed only where its own manifest says that it is about the image.
        """
        listed = self._session.registry.referrers(reference, digest)
        found: list[bytes] = []
        for entry in listed.parsed.manifests[:_MOST] if listed else ():
            found += self._referrer(reference, entry, digest)
        return found

    def _referrer(
        self, reference: ImageReference, entry: Descriptor, digest: Digest
    ) -> list[bytes]:
        registry = self._session.registry
        if entry.size > _SMALL or entry.digest == digest:
            return []
        manifest = registry.artifact(reference.with_digest(entry.digest))
        if manifest is None or manifest.parsed.subject != digest:
            return []
        return [
            registry.small_blob(reference, layer, _SMALL)
            for layer in manifest.parsed.layers[:_MOST]
            if layer.media_type.startswith(_BUNDLE)
        ]


def decoded(data: bytes) -> bytes:
    """Return what is in base64, as cosign writes signatures and some certificates; else as is."""
    text = b"".join(data.split())
    try:
        return base64.b64decode(text, validate=True) if text else data
    except binascii.Error:
        return data
