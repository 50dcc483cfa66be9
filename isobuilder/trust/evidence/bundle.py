"""Sigstore bundles: a signature with all that proves it, without a network.

Source: sigstore/protobuf-specs, sigstore_bundle.proto, sigstore_rekor.proto (0.5). Versions 0.1 to
0.3 are read; what is written is 0.3. Reading believes nothing: ``verify.py`` proves.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.model.base import canonical_json
from isobuilder.trust.dsse import Envelope, envelope_of
from isobuilder.trust.evidence.fields import Fields

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MEDIA_TYPES = re.compile(
    r"application/vnd\.dev\.sigstore\.bundle(\.v0\.3\+json|\+json;version=0\.[123])"
)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """The way from an entry to the head of the log that holds it."""

    index: int  # in the tree of which the head is
    size: int  # entries of that tree
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str  # the head, signed by the log


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What a transparency log holds of a signature."""

    index: int
    log_id: bytes
    kind: str
    version: str
    integrated: int | None  # seconds since 1970-01-01 UTC; a log of version 2 tells none
    promise: bytes | None  # the log's signature over entry and time
    proof: InclusionProof | None
    body: bytes


@dataclass(frozen=True, slots=True)
class SignatureBundle:
    """One signature, by whom, and what is known of it elsewhere."""

    certificate: bytes | None  # DER; None: signed with a key that the verifier has
    key_hint: str
    entries: tuple[LogEntry, ...]
    stamps: tuple[bytes, ...]  # answers of timestamp authorities, DER
    signature: bytes | None  # over the artifact; None: there is an envelope
    digest: Digest | None  # what the bundle says that the artifact hashes to
    envelope: Envelope | None

    @property
    def signed_with(self) -> bytes:
        """The signature, whichever form it has."""
        if self.envelope is not None:
            return self.envelope.signatures[0].sig
        return self.signature or b""


def read_bundle(data: bytes, place: str) -> SignatureBundle:
    """Return the bundle that a JSON text is.

    Raises:
        IntegrityError: it is none of a version that we know, or of no form that can be proved.
    """
    top = Fields.read(data, place)
    kind = top.text("mediaType")
    if not _MEDIA_TYPES.fullmatch(kind):
        raise IntegrityError(f"{place}: mediaType: expected {MEDIA_TYPE}, found {kind[:90]!r}")
    material = top.part("verificationMaterial")
    certificate, hint = _signer(material)
    stamps = tuple(
        one.data("signedTimestamp")
        for one in (
            material.part("timestampVerificationData").parts("rfc3161Timestamps")
            if material.has("timestampVerificationData")
            else ()
        )
    )
    entries = tuple(_entry(one) for one in material.parts("tlogEntries"))
    if top.has("dsseEnvelope") == top.has("messageSignature"):
        raise IntegrityError(f"{place}: expected either dsseEnvelope or messageSignature")
    if top.has("dsseEnvelope"):
        envelope = envelope_of(top.value["dsseEnvelope"], f"{place}: dsseEnvelope")
        if len(envelope.signatures) != 1:
            count = len(envelope.signatures)
            raise IntegrityError(f"{place}: {count} signatures in one bundle, expected 1")
        return SignatureBundle(certificate, hint, entries, stamps, None, None, envelope)
    message = top.part("messageSignature")
    return SignatureBundle(
        certificate, hint, entries, stamps, message.data("signature"), _digest(message), None
    )


def _signer(material: Fields) -> tuple[bytes | None, str]:
    if material.has("certificate"):
        return material.part("certificate").data("rawBytes"), ""
    if material.has("x509CertificateChain"):  # before 0.3; its first one is the signer's
        chain = material.part("x509CertificateChain").parts("certificates")
        if chain:
            return chain[0].data("rawBytes"), ""
    if "publicKey" in material.value:
        key = material.part("publicKey")
        return None, key.text("hint") if key.has("hint") else ""
    raise IntegrityError(f"{material.place}: neither a certificate nor a key")


def _digest(message: Fields) -> Digest | None:
    if not message.has("messageDigest"):
        return None
    told = message.part("messageDigest")
    if told.text("algorithm") != "SHA2_256" or len(told.data("digest")) != 32:
        raise IntegrityError(f"{told.place}: expected a digest of SHA2_256")
    return Digest.from_hex(told.data("digest").hex())


def _entry(entry: Fields) -> LogEntry:
    kind = entry.part("kindVersion")
    promise = (
        entry.part("inclusionPromise").data("signedEntryTimestamp")
        if entry.has("inclusionPromise")
        else None
    )
    integrated = entry.number("integratedTime") if entry.has("integratedTime") else 0
    return LogEntry(
        # Zero is what protobuf leaves out.
        index=entry.number("logIndex") if entry.has("logIndex") else 0,
        log_id=entry.part("logId").data("keyId"),
        kind=kind.text("kind"),
        version=kind.text("version"),
        integrated=integrated or None,
        promise=promise,
        proof=_proof(entry.part("inclusionProof")) if entry.has("inclusionProof") else None,
        body=entry.data("canonicalizedBody"),
    )


def _proof(proof: Fields) -> InclusionProof:
    return InclusionProof(
        index=proof.number("logIndex") if proof.has("logIndex") else 0,
        size=proof.number("treeSize"),
        root=proof.data("rootHash"),
        hashes=proof.datas("hashes"),
        checkpoint=proof.part("checkpoint").text("envelope"),
    )


def write_bundle(bundle: SignatureBundle) -> bytes:
    """Return the canonical text of a bundle of version 0.3."""
    material: dict[str, Any] = {"tlogEntries": [_entry_data(one) for one in bundle.entries]}
    if bundle.certificate is not None:
        material["certificate"] = {"rawBytes": _base64(bundle.certificate)}
    else:
        material["publicKey"] = {"hint": bundle.key_hint}
    if bundle.stamps:
        material["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": _base64(one)} for one in bundle.stamps]
        }
    data: dict[str, Any] = {"mediaType": MEDIA_TYPE, "verificationMaterial": material}
    if bundle.envelope is not None:
        data["dsseEnvelope"] = bundle.envelope.to_data()
    else:
        message: dict[str, Any] = {"signature": _base64(bundle.signature or b"")}
        if bundle.digest is not None:
            digest = _base64(bytes.fromhex(bundle.digest.hex))
            message["messageDigest"] = {"algorithm": "SHA2_256", "digest": digest}
        data["messageSignature"] = message
    return canonical_json(data)


def _entry_data(entry: LogEntry) -> dict[str, Any]:
    data: dict[str, Any] = {
        "logIndex": str(entry.index),
        "logId": {"keyId": _base64(entry.log_id)},
        "kindVersion": {"kind": entry.kind, "version": entry.version},
        "canonicalizedBody": _base64(entry.body),
    }
    if entry.integrated is not None:
        data["integratedTime"] = str(entry.integrated)
    if entry.promise is not None:
        data["inclusionPromise"] = {"signedEntryTimestamp": _base64(entry.promise)}
    if entry.proof is not None:
        data["inclusionProof"] = {
            "logIndex": str(entry.proof.index),
            "treeSize": str(entry.proof.size),
            "rootHash": _base64(entry.proof.root),
            "hashes": [_base64(one) for one in entry.proof.hashes],
            "checkpoint": {"envelope": entry.proof.checkpoint},
        }
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
