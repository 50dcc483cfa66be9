"""The embedded upstream with signatures of a small Sigstore beside what it serves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isobuilder.demo.images import ImageDocument
from isobuilder.digest import Digest
from isobuilder.formats import oci
from isobuilder.formats.reference import ImageReference
from isobuilder.http.replies import Reply, Request
from isobuilder.trust.evidence.bundle import SignatureBundle, write_bundle
from isobuilder.trust.evidence.rekor import BY_INDEX, SEARCH
from tests.fakes.sigstore import (
    ISSUER,
    RELEASER,
    SmallSigstore,
    cosign_note,
    pem,
    rekor_answer,
    signed_text,
)
from tests.fakes.upstream import FakeUpstream

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNED_TEXT = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY = b"{}"


@dataclass
class SignedUpstream:
    """What is signed is put here; the log answers for it."""

    upstream: FakeUpstream
    sigstore: SmallSigstore
    bundles: list[SignatureBundle] = field(default_factory=list)
    log_is_there: bool = True

    def __post_init__(self) -> None:
        self.upstream.put_file("/log.example.org/health", b"ok")
        self.upstream.put_file("/log2.example.org/health", b"ok")
        self.upstream.hooks.append(self._answer)

    def _answer(self, request: Request, _reply: Reply) -> Reply | None:
        place = request.path.removeprefix("/log.example.org")
        if place == request.path or not self.log_is_there:
            return None
        found = [one.entries[0] for one in self.bundles]
        if place == SEARCH:
            spec = json.loads(request.body())["entries"][0]["spec"]
            signature = base64.b64decode(spec["signature"]["content"])
            found = [one.entries[0] for one in self.bundles if one.signed_with == signature]
            answer: Any = [rekor_answer(one) for one in found]
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
        if place == BY_INDEX.partition("?")[0]:
            number = int(request.first("logIndex") or "-1")
            found = [one for one in found if one.index == number]
            if found:
                return Reply(200, {}, json.dumps(rekor_answer(found[0])).encode())
        return None

    # --- files ---

    def sign_file(self, url: str, digest: Digest, **told: Any) -> SignatureBundle:
        """Put FILE.sig and FILE.cert beside a file, as Kubernetes' releases have them."""
        bundle = self.sigstore.sign(digest, **told)
        assert bundle.certificate is not None
        self.put_pair(url, bundle.signed_with, pem(bundle.certificate))
        self.bundles.append(bundle)
        return bundle

    def put_pair(self, url: str, signature: bytes, certificate: bytes) -> None:
        path = url.removeprefix("https:/")
        self.upstream.put_file(f"{path}.sig", base64.b64encode(signature))
        self.upstream.put_file(f"{path}.cert", base64.b64encode(certificate))

    # --- images ---

    def image_signature(
        self, image: Digest, reference: str, **told: Any
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return a signed text and its annotations."""
        text = signed_text(image, reference)
        bundle = self.sigstore.sign(Digest.of(text), **told)
        self.bundles.append(bundle)
        return text, cosign_note(bundle)

    def put_tag(
        self, reference: ImageReference, image: Digest, signatures: Sequence[tuple[bytes, Any]]
    ) -> None:
        """Put signatures under the tag of an image."""
        layers = [
            {**blob(text, SIGNED_TEXT), "annotations": dict(notes)} for text, notes in signatures
        ]
        name = str(reference.name)
        for text, _ in signatures:
            self.upstream.registry.put_blob(name, text)
        document = self._manifest(name, layers)
        self.upstream.registry.put_manifest(name, document, tag=f"sha256-{image.hex}.sig")

    def sign_image(self, reference: ImageReference, image: Digest, **told: Any) -> None:
        """Put one signature beside an image, as the releases of 2026 have it."""
        self.put_tag(reference, image, [self.image_signature(image, str(reference), **told)])

    def put_referrer(
        self,
        reference: ImageReference,
        image: Digest,
        bundle: SignatureBundle,
        *,
        subject: Digest | None = None,
        kind: str = BUNDLE,
        more: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Put a bundle as a referrer, and list it under the tag that stands in for the list."""
        data = write_bundle(bundle)
        self.put_text_as_referrer(reference, image, data, subject=subject, kind=kind, more=more)

    def put_text_as_referrer(
        self,
        reference: ImageReference,
        image: Digest,
        data: bytes,
        *,
        subject: Digest | None = None,
        kind: str = BUNDLE,
        more: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Put what says to be a bundle, whatever it is."""
        name = reference.name
        self.upstream.registry.put_blob(name, data)
        about = {"mediaType": oci.OCI_MANIFEST, "digest": str(subject or image), "size": 7}
        document = self._manifest(name, [blob(data, kind)], subject=about, artifactType=kind)
        self.upstream.registry.put_manifest(name, document)
        index = {
            "schemaVersion": 2,
            "mediaType": oci.OCI_INDEX,
            "manifests": [*more, document.entry(artifactType=kind)],
        }
        listed = ImageDocument(json.dumps(index).encode(), oci.OCI_INDEX)
        self.upstream.registry.put_manifest(name, listed, tag=f"sha256-{image.hex}")

    def _manifest(self, name: str, layers: list[dict[str, Any]], **more: Any) -> ImageDocument:
        self.upstream.registry.put_blob(name, EMPTY)
        document = {
            "schemaVersion": 2,
            "mediaType": oci.OCI_MANIFEST,
            "config": blob(EMPTY, oci.OCI_CONFIG),
            "layers": layers,
            **more,
        }
        return ImageDocument(json.dumps(document).encode(), oci.OCI_MANIFEST)


def blob(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data)}


def write_policies(path: Path, *, level: str = "needed", more: str = "") -> Path:
    """Write Kubernetes' policy for whoever signs in these tests."""
    who = f"{{identity: {RELEASER}, issuer: '{ISSUER}'}}"
    path.write_text(
        "schema: 1\npolicies:\n  kubernetes:\n"
        f"    files: {who}\n    paths: [k8s/kubeadm, k8s/kubelet, k8s/kubectl]\n"
        f"    images: {who}\n    of: [registry.k8s.io/]\n    level: {level}\n{more}"
    )
    return path
