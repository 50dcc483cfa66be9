"""Transparency logs: that an entry is in a log whose head the log signed, and of what it is.

Sources: RFC 9162, 2.1.3.2 (inclusion proofs); C2SP's signed-note.md and tlog-checkpoint.md; Rekor's
openapi.yaml and types/*.json for version 1, rekor-tiles' CLIENTS.md for version 2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import UTC, datetime

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.trust.evidence.bundle import InclusionProof, LogEntry, SignatureBundle
from isobuilder.trust.evidence.certificates import certificate_of, der_of
from isobuilder.trust.evidence.fields import Fields
from isobuilder.trust.evidence.keys import is_signed, key_of
from isobuilder.trust.evidence.root import LogKey

_LINE = re.compile(r"— ([^ \n+]+) ([A-Za-z0-9+/=]+)")
_MOST_SIGNATURES = 32  # of a checkpoint: the log's own, and those of its witnesses


def log_of(entry: LogEntry, logs: tuple[LogKey, ...], place: str) -> LogKey:
    """Return the trusted log that an entry says it is in.

    Raises:
        IntegrityError: no such log is trusted.
    """
    for log in logs:
        if log.log_id == entry.log_id:
            return log
    raise IntegrityError(
        f"{place}: log: {entry.log_id.hex()[:16]}... is no log that the trusted root has"
    )


def promised_at(entry: LogEntry, log: LogKey, place: str) -> datetime | None:
    """Return when the log took an entry, by its signed promise; None if it gave none.

    Raises:
        IntegrityError: the promise is not the log's, is of other bytes, or of another time.
    """
    if entry.promise is None or entry.integrated is None:
        return None
    told = {
        "body": base64.b64encode(entry.body).decode("ascii"),
        "integratedTime": entry.integrated,
        "logID": entry.log_id.hex(),
        "logIndex": entry.index,
    }
    signed = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    if not is_signed(key_of(log.key, "the trusted root"), entry.promise, signed):
        raise IntegrityError(f"{place}: log: its promise is not signed by {log.url or 'it'}")
    try:
        moment = datetime.fromtimestamp(entry.integrated, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise IntegrityError(f"{place}: log: {entry.integrated} is no time") from error
    if not log.span.has(moment):
        raise IntegrityError(f"{place}: log: {log.url} was not in use {moment:%Y-%m-%d}")
    return moment


def check_included(entry: LogEntry, log: LogKey, place: str) -> bool:
    """Return True if the log's signed head proves that it has the entry; False if nothing is shown.

    Raises:
        IntegrityError: what is shown does not prove it.
    """
    proof = entry.proof
    if proof is None:
        return False
    size, root = _signed_head(proof.checkpoint, log, place)
    if (size, root) != (proof.size, proof.root):
        raise IntegrityError(
            f"{place}: log: the proof is for a tree of {proof.size} entries, the signed head of "
            f"{size}, or their roots differ"
        )
    if _root_of(proof, hashlib.sha256(b"\0" + entry.body).digest()) != root:
        raise IntegrityError(f"{place}: log: the proof does not lead from the entry to the head")
    return True


def _root_of(proof: InclusionProof, leaf: bytes) -> bytes | None:
    """Return the root that a proof leads to; None if it is too short, too long or of no tree."""
    index, last = proof.index, proof.size - 1
    if not 0 <= index <= last:
        return None
    found = leaf
    for sibling in proof.hashes:
        if last == 0 or len(sibling) != 32:
            return None
        if index & 1 or index == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        index, last = index >> 1, last >> 1
    return found if last == 0 else None


def _signed_head(checkpoint: str, log: LogKey, place: str) -> tuple[int, bytes]:
    """Return size and root of the tree of which ``checkpoint`` is the head that ``log`` signed.

    Raises:
        IntegrityError: it is none, or signed by others.
    """
    text, _, signatures = checkpoint.partition("\n\n")
    lines = text.split("\n")
    if len(lines) < 3 or not signatures:
        raise IntegrityError(f"{place}: log: not a checkpoint")
    key = key_of(log.key, "the trusted root")
    signed = (text + "\n").encode()
    for line in signatures.splitlines()[:_MOST_SIGNATURES]:
        found = _LINE.fullmatch(line)
        own = found is not None and found[1] == lines[0].partition(" ")[0]  # not a witness's
        data = _decoded(found[2]) if found is not None and own else b""
        if data[:4] == log.log_id[:4] and is_signed(key, data[4:], signed):
            break
    else:
        raise IntegrityError(
            f"{place}: log: the checkpoint of {lines[0][:60]!r} is not signed by {log.url or 'it'}"
        )
    root = _decoded(lines[2])
    if not (lines[1].isascii() and lines[1].isdecimal() and len(lines[1]) < 20) or len(root) != 32:
        raise IntegrityError(f"{place}: log: the checkpoint tells no size and no root")
    return int(lines[1]), root


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def check_is_about(entry: LogEntry, bundle: SignatureBundle, signed: Digest, place: str) -> None:
    """Return if an entry is of this signature: same bytes, same signer, same artifact.

    ``signed`` is the digest of what the signature is over.

    Raises:
        IntegrityError: it is of another one, or of a kind that is not known.
    """
    body = Fields.read(entry.body, f"{place}: log entry")
    kind, version = body.text("kind"), body.text("apiVersion")
    if (kind, version) != (entry.kind, entry.version):
        raise IntegrityError(f"{place}: log: the entry is of the kind {kind} {version}")
    spec = body.part("spec")
    if version == "0.0.2" and kind == "hashedrekord":
        told = _hashed_2(spec.part("hashedRekordV002"))
    elif version == "0.0.2" and kind == "dsse":
        told = _dsse_2(spec.part("dsseV002"))
    elif version == "0.0.1" and kind == "hashedrekord":
        told = _hashed_1(spec)
    elif version == "0.0.1" and kind == "dsse":
        told = _dsse_1(spec)
    elif version == "0.0.2" and kind == "intoto":
        told = _intoto(spec)
    else:
        raise IntegrityError(f"{place}: log: an entry of the kind {kind} {version} is not known")
    digest, signature, signer = told
    expected = signed
    if bundle.envelope is not None and kind != "hashedrekord":
        expected = Digest.of(bundle.envelope.payload)
    if digest != expected.hex:
        raise IntegrityError(f"{place}: log: the entry is of sha256:{digest[:64]}, not {expected}")
    if signature != bundle.signed_with:
        raise IntegrityError(f"{place}: log: the entry is of another signature")
    if bundle.certificate is not None and _der(signer, place) != bundle.certificate:
        raise IntegrityError(f"{place}: log: the entry is of another signer")


_Told = tuple[str, bytes, bytes]
"""Hexadecimal digest, signature, and certificate or key, as an entry has them."""


def _hashed_1(spec: Fields) -> _Told:
    hashed = spec.part("data").part("hash")
    if hashed.text("algorithm") != "sha256":
        raise IntegrityError(f"{hashed.place}: expected sha256")
    signature = spec.part("signature")
    return (
        hashed.text("value"),
        signature.data("content"),
        signature.part("publicKey").data("content"),
    )


def _hashed_2(spec: Fields) -> _Told:
    signature = spec.part("signature")
    return _digest_2(spec.part("data")), signature.data("content"), _signer_2(signature)


def _dsse_1(spec: Fields) -> _Told:
    one = _only(spec.parts("signatures"), spec)
    return spec.part("payloadHash").text("value"), one.data("signature"), one.data("verifier")


def _dsse_2(spec: Fields) -> _Told:
    one = _only(spec.parts("signatures"), spec)
    return _digest_2(spec.part("payloadHash")), one.data("content"), _signer_2(one)


def _intoto(spec: Fields) -> _Told:
    content = spec.part("content")
    one = _only(content.part("envelope").parts("signatures"), content)
    # The signature is in base64 twice.
    signature = _decoded(one.data("sig").decode("ascii", "replace"))
    return content.part("payloadHash").text("value"), signature, one.data("publicKey")


def _digest_2(data: Fields) -> str:
    name = "digest"
    if data.text("algorithm") != "SHA2_256":
        raise IntegrityError(f"{data.place}: expected SHA2_256")
    return data.data(name).hex()


def _signer_2(signature: Fields) -> bytes:
    verifier = signature.part("verifier")
    part = "x509Certificate" if verifier.has("x509Certificate") else "publicKey"
    return verifier.part(part).data("rawBytes")


def _only(found: list[Fields], within: Fields) -> Fields:
    if len(found) != 1:
        raise IntegrityError(f"{within.place}: {len(found)} signatures, expected 1")
    return found[0]


def _der(signer: bytes, place: str) -> bytes:
    if not signer.lstrip().startswith(b"-----"):
        return signer
    return der_of(certificate_of(signer, f"{place}: log entry"))
