"""What Rekor of version 1 is asked and answers, and what cosign notes of it beside an image.

Sources: Rekor's openapi.yaml (``/api/v1/log/entries/retrieve``) and types/hashedrekord.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

from isobuilder.digest import Digest
from isobuilder.documents.json import parse
from isobuilder.errors import IntegrityError
from isobuilder.trust.dsse import Envelope
from isobuilder.trust.evidence.bundle import InclusionProof, LogEntry, SignatureBundle
from isobuilder.trust.evidence.certificates import certificate_of, der_of
from isobuilder.trust.evidence.fields import EVIDENCE, Fields
from isobuilder.trust.evidence.notes import CERTIFICATE, NOTE, SIGNATURE, STAMP

SEARCH = "/api/v1/log/entries/retrieve"
BY_INDEX = "/api/v1/log/entries?logIndex="


def question(signature: bytes, certificate: bytes, digest: Digest) -> bytes:
    """Return what asks the log for the entry of a signature over a file: a proposed entry.

    ``certificate`` is PEM, as it is published: the log keeps it as it was sent.
    """
    entry = {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex}},
            "signature": {
                "content": base64.b64encode(signature).decode("ascii"),
                "publicKey": {"content": base64.b64encode(certificate).decode("ascii")},
            },
        },
    }
    return json.dumps({"entries": [entry]}).encode()


def answered(answer: bytes, place: str) -> list[LogEntry]:
    """Return the entries of an answer, the oldest first.

    Raises:
        IntegrityError: it is no answer of a log.
    """
    value = parse(answer, place, EVIDENCE, IntegrityError)
    found: list[LogEntry] = []
    for one in value if isinstance(value, list) else [value]:
        by_id = Fields.of(one, place)
        found += [_entry(by_id.part(name)) for name in by_id.value]
    return sorted(found, key=lambda entry: (entry.integrated or 0, entry.index))


def _entry(entry: Fields) -> LogEntry:
    body = entry.data("body")
    kind, version = _kind(body, entry.place)
    told = entry.part("verification")
    has_promise = told.has("signedEntryTimestamp")
    return LogEntry(
        index=entry.number("logIndex"),
        log_id=entry.hexed("logID"),
        kind=kind,
        version=version,
        integrated=entry.number("integratedTime") or None,
        promise=told.data("signedEntryTimestamp") if has_promise else None,
        proof=_proof(told.part("inclusionProof")) if told.has("inclusionProof") else None,
        body=body,
    )


def _proof(proof: Fields) -> InclusionProof:
    return InclusionProof(
        index=proof.number("logIndex"),
        size=proof.number("treeSize"),
        root=proof.hexed("rootHash"),
        hashes=proof.hexes("hashes"),
        checkpoint=proof.text("checkpoint"),
    )


def _kind(body: bytes, place: str) -> tuple[str, str]:
    fields = Fields.read(body, f"{place}: log entry")
    return fields.text("kind"), fields.text("apiVersion")


def noted(
    annotations: Mapping[str, str], payload: bytes | Envelope, place: str
) -> tuple[SignatureBundle, bytes]:
    """Return the bundle of a signature that cosign put beside an image, and its certificate.

    What is noted has the log's promise and no proof; ``with_proof`` adds one. ``payload`` is what
    the signature is over, or the envelope that it is in. Without a certificate a key signed.

    Raises:
        IntegrityError: it is none of cosign's.
    """
    told = Fields(dict(annotations), place)
    pem = told.text(CERTIFICATE).encode() if told.has(CERTIFICATE) else b""
    der = der_of(certificate_of(pem, place)) if pem else None
    entries = (_noted_entry(told.text(NOTE), place),) if told.has(NOTE) else ()
    stamps: tuple[bytes, ...] = ()
    if told.has(STAMP):
        stamp = Fields.read(told.text(STAMP).encode(), f"{place}: {STAMP}")
        stamps = (stamp.data("SignedRFC3161Timestamp"),)
    if isinstance(payload, Envelope):
        return SignatureBundle(der, "", entries, stamps, None, None, payload), pem
    signature = told.data(SIGNATURE)
    digest = Digest.of(payload)
    return SignatureBundle(der, "", entries, stamps, signature, digest, None), pem


def _noted_entry(text: str, place: str) -> LogEntry:
    note = Fields.read(text.encode(), f"{place}: {NOTE}")
    payload = note.part("Payload")
    body = payload.data("body")
    kind, version = _kind(body, place)
    return LogEntry(
        index=payload.number("logIndex"),
        log_id=payload.hexed("logID"),
        kind=kind,
        version=version,
        integrated=payload.number("integratedTime") or None,
        promise=note.data("SignedEntryTimestamp"),
        proof=None,
        body=body,
    )


def with_proof(bundle: SignatureBundle, entry: LogEntry) -> SignatureBundle:
    """Return the bundle with what the log itself says of its entry."""
    return replace(bundle, entries=(entry,))


def payload_digest(payload: bytes, place: str) -> Digest:
    """Return the digest of the image that a signed text of cosign's is about.

    Source: containers/image, "simple signing" (atomic container signature).

    Raises:
        IntegrityError: it is another text.
    """
    told = Fields.read(payload, place).part("critical").part("image")
    try:
        return Digest(told.text("docker-manifest-digest"))
    except ValueError as error:
        raise IntegrityError(f"{place}: it names no image by its digest") from error
