"""What an ISO's evidence says of its images, as the manifests in which clients look for it.

A signature over a text is given as cosign's tag ``.sig``, a signed statement as a bundle that
refers to the image. Both are manifests of ours over files of the ISO: the same bytes whoever makes
them. Nothing is judged: who pulls it verifies it.

What signs an index, which an ISO does not have, is about nothing that is here, and stays evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import OCI_MANIFEST, SIGNED_TEXT, parse_any
from isobuilder.formats.reference import ImageReference
from isobuilder.http.replies import FilePart
from isobuilder.medium import Medium
from isobuilder.model.trust.claims import CLAIMS, EvidenceFile, LockedTrust, SignatureClaim
from isobuilder.model.validation import parse_json
from isobuilder.site.held import HeldEntry, HeldManifest
from isobuilder.trust.evidence.bundle import MEDIA_TYPE, SignatureBundle, read_bundle
from isobuilder.trust.evidence.notes import notes_of


def signatures_of(
    medium: Medium, files: Mapping[str, FilePart], entries: Sequence[HeldEntry]
) -> Iterator[HeldEntry]:
    """Give what the evidence of an ISO says of the images in ``entries``.

    Raises:
        IntegrityError: its claims are none, or a file of evidence is not the one that was claimed.
    """
    if CLAIMS not in medium.files:
        return
    images = {entry.top: entry for entry in entries}
    for claim in parse_json(medium.read(CLAIMS), CLAIMS, LockedTrust).claims:
        about = images.get(claim.sha256)
        if claim.what != "images" or about is None:
            continue
        if any(one.kind == "index" for one in claim.evidence):
            continue
        yield from _about(_Evidence(medium, files), claim, about)


@dataclass(frozen=True, slots=True)
class _Evidence:
    medium: Medium
    files: Mapping[str, FilePart]

    def read(self, one: EvidenceFile) -> bytes:
        if one.path not in self.files:
            raise IntegrityError(f"{one.path}: missing, or lies in pieces on the ISO")
        data = self.medium.read(one.path)
        if Digest.of(data) != one.sha256:
            raise IntegrityError(f"{one.path}: its content is {Digest.of(data)}")
        return data


def _about(evidence: _Evidence, claim: SignatureClaim, about: HeldEntry) -> Iterator[HeldEntry]:
    texts = {one.sha256: one for one in claim.evidence if one.kind == "payload"}
    homes = sorted({replace(name, tag=None, digest=None) for name in about.names}, key=str)
    noted: list[tuple[EvidenceFile, SignatureBundle]] = []
    for one in claim.evidence:
        if one.kind != "bundle":
            continue
        bundle = read_bundle(evidence.read(one), one.path)
        if bundle.digest in texts:
            noted.append((texts[bundle.digest], bundle))
        elif bundle.envelope is not None:
            made = _referring(one, about.manifests[about.top], evidence.files[one.path])
            names = tuple(home.with_digest(made.digest) for home in homes)
            yield HeldEntry(names, made.digest, {made.digest: made}, about.made)
    if noted:
        made = _tagged(noted, evidence)
        names = tuple(_beside(home, claim.sha256) for home in homes)
        yield HeldEntry(names, made.digest, {made.digest: made}, about.made)


def _beside(home: ImageReference, digest: Digest) -> ImageReference:
    return home.with_tag(f"{digest.replace(':', '-')}.sig")


def _tagged(
    noted: Sequence[tuple[EvidenceFile, SignatureBundle]], evidence: _Evidence
) -> HeldManifest:
    """Return the manifest of cosign's tag ``.sig``, which has a layer for each signature."""
    texts = [text for text, _ in noted]
    for text in texts:
        evidence.read(text)  # which proves it
    layers = [
        {**_described(text, SIGNED_TEXT), "annotations": notes_of(bundle)} for text, bundle in noted
    ]
    return _manifest(_described(texts[0], SIGNED_TEXT), layers, evidence.files, texts)


def _referring(one: EvidenceFile, image: HeldManifest, part: FilePart) -> HeldManifest:
    """Return the manifest of a bundle that refers to an image, as OCI 1.1 has it."""
    subject = {
        "mediaType": image.document.media_type,
        "digest": image.digest,
        "size": len(image.data),
    }
    described = _described(one, MEDIA_TYPE)
    more = {"artifactType": MEDIA_TYPE, "subject": subject}
    return _manifest(described, [described], {one.path: part}, [one], more)


def _manifest(
    config: Mapping[str, object],
    layers: Sequence[Mapping[str, object]],
    files: Mapping[str, FilePart],
    texts: Sequence[EvidenceFile],
    more: Mapping[str, object] | None = None,
) -> HeldManifest:
    """Return a manifest over files of the ISO.

    Its configuration is one of them as well: there is none, and an empty one is not on the ISO.
    """
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    data = json.dumps({**body, **(more or {})}, separators=(",", ":"), sort_keys=True).encode()
    blobs = {one.sha256: files[one.path] for one in texts}
    document = parse_any(data, place="signatures")
    return HeldManifest(data, Digest.of(data), document, None, blobs)


def _described(one: EvidenceFile, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": one.sha256, "size": one.size}
