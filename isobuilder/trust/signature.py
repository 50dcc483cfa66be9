"""Our own signature: a Sigstore bundle with a key, made over an in-toto statement about an ISO.

Source: sigstore/protobuf-specs, bundle v0.3: with a public key there is only a hint which one, and
exactly one signature in the envelope. ``cosign verify-blob-attestation --key`` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import IntegrityError
from isobuilder.model.base import canonical_json
from isobuilder.trust.dsse import IN_TOTO, DsseSignature, Envelope, envelope_of, pae
from isobuilder.trust.publickeys import hint_of
from isobuilder.trust.signers import Signer

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_ALSO = "application/vnd.dev.sigstore.bundle+json;version=0.3"

BUNDLE_FILE = JsonLimits(size=32 * 1024 * 1024, items=10_000, unique=False)
"""A statement of 16 MiB in base64, beside log entries of some thousand values."""


@dataclass(frozen=True, slots=True)
class KeyedBundle:
    """An envelope as it lay in a bundle, and what the bundle calls the key. Nothing is proved."""

    envelope: Envelope
    hint: str | None


def bundle_bytes(statement: bytes, signer: Signer) -> bytes:
    """Return the bundle with the signature of ``signer`` over ``statement``.

    Raises:
        EnvironmentProblem: the signer fails.
        IntegrityError: what it made is no signature of its key.
    """
    data = pae(IN_TOTO, statement)
    signature = signer.sign(data)
    if not signer.public.made(signature, data):
        raise IntegrityError(
            f"the signer made no signature of its key {signer.public.fingerprint}",
            hint="expected ECDSA over P-256 with SHA-256, in DER",
        )
    # No keyid: verifiers make one up in their own way, and pass over a signature with another.
    envelope = Envelope(IN_TOTO, statement, (DsseSignature(signature),))
    return canonical_json(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": hint_of(signer.public)}},
            "dsseEnvelope": envelope.to_data(),
        }
    )


def read_signature(data: bytes, place: str) -> KeyedBundle:
    """Return what is signed in a bundle, and what it says about the key.

    Raises:
        IntegrityError: it is no bundle of version 0.3 with one signature over a statement.
    """
    value: Any = parse(data, place, BUNDLE_FILE, IntegrityError)
    kind = value.get("mediaType") if isinstance(value, dict) else None
    if kind not in {BUNDLE, _ALSO}:
        raise IntegrityError(
            f"{place}: expected a Sigstore bundle of version 0.3, found {str(kind)[:80]!r}"
        )
    if "dsseEnvelope" not in value:
        raise IntegrityError(f"{place}: no statement in it: it is a signature of bare bytes")
    envelope = envelope_of(value["dsseEnvelope"], place)
    if envelope.payload_type != IN_TOTO:
        raise IntegrityError(
            f"{place}: payloadType: expected {IN_TOTO}, got {envelope.payload_type[:80]!r}"
        )
    if len(envelope.signatures) != 1:
        raise IntegrityError(
            f"{place}: expected one signature in a bundle, found {len(envelope.signatures)}"
        )
    material = value.get("verificationMaterial")
    named = material.get("publicKey") if isinstance(material, dict) else None
    hint = named.get("hint") if isinstance(named, dict) else None
    return KeyedBundle(envelope, hint if isinstance(hint, str) and hint else None)
