"""DSSE: an envelope around a text with signatures, and the bytes that are signed.

Source: secure-systems-lab/dsse v1.0.2, protocol.md and envelope.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from isobuilder.errors import IntegrityError

IN_TOTO = "application/vnd.in-toto+json"
"""The payload type of in-toto statements."""

_MOST_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class DsseSignature:
    """One signature, and what its maker calls the key: a hint that nobody vouches for."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A text, its type, and signatures over both. Holding one proves nothing."""

    payload_type: str
    payload: bytes
    signatures: tuple[DsseSignature, ...]

    @property
    def signed(self) -> bytes:
        """The bytes that each signature is over."""
        return pae(self.payload_type, self.payload)

    def to_data(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()}
                for one in self.signatures
            ],
        }


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: no two texts or types share one."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope_of(value: object, place: str) -> Envelope:
    """Return the envelope in a value of JSON that was read within bounds.

    Raises:
        IntegrityError: it is none, or has no signature or too many.
    """
    if not isinstance(value, dict):
        raise IntegrityError(f"{place}: expected a DSSE envelope, found none")
    kind, signatures = value.get("payloadType"), value.get("signatures")
    if not isinstance(kind, str) or len(kind) > 200:
        raise IntegrityError(f"{place}: payloadType: expected a type, got {str(kind)[:80]!r}")
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= _MOST_SIGNATURES:
        count = len(signatures) if isinstance(signatures, list) else 0
        raise IntegrityError(
            f"{place}: signatures: expected 1 to {_MOST_SIGNATURES}, found {count}"
        )
    return Envelope(
        kind,
        _from_base64(value.get("payload"), f"{place}: payload"),
        tuple(_signature(one, f"{place}: signatures[{at}]") for at, one in enumerate(signatures)),
    )


def _signature(value: object, place: str) -> DsseSignature:
    if not isinstance(value, dict):
        raise IntegrityError(f"{place}: expected an object with sig")
    keyid = value.get("keyid") or ""
    if not isinstance(keyid, str) or len(keyid) > 500:
        raise IntegrityError(f"{place}: keyid: expected a short text")
    return DsseSignature(_from_base64(value.get("sig"), f"{place}: sig"), keyid)


def _from_base64(value: object, place: str) -> bytes:
    """Return the bytes of base64 in either alphabet, of which nothing is left out or added.

    Raises:
        IntegrityError: it is something else.
    """
    if isinstance(value, str) and value:
        try:
            return base64.b64decode(value.translate(_PLAIN), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise IntegrityError(f"{place}: expected base64, got {str(value)[:40]!r}")


_PLAIN = str.maketrans("-_", "+/")
