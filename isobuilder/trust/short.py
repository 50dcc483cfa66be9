"""A signature for paper: 64 bytes and a day, over any bytes under a type of their own.

Source: IEEE P1363 and RFC 7515, appendix A.3, for r and s of 32 bytes each in place of DER, which
takes up to 72; DSSE for what is signed, so that no signature of one kind of text is one of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from isobuilder.errors import IntegrityError
from isobuilder.trust.dsse import pae
from isobuilder.trust.publickeys import TrustedKey, TrustedKeys
from isobuilder.trust.signers import Signer

SIGNATURE_SIZE = 64
"""Bytes."""

_FIRST = date(1970, 1, 1)
_DAY_SIZE = 2  # bytes: until 2149


@dataclass(frozen=True, slots=True)
class ShortSignature:
    """Who signs says on which day; nothing is proved by holding one."""

    day: date
    sig: bytes  # r and s

    def to_bytes(self) -> bytes:
        """Return it as bytes, the same for the same signature."""
        return _day_bytes(self.day) + self.sig


SHORT_SIZE = _DAY_SIZE + SIGNATURE_SIZE
"""Bytes of a ``ShortSignature``."""


def _day_bytes(day: date) -> bytes:
    """Return a day as it is signed."""
    return (day - _FIRST).days.to_bytes(_DAY_SIZE, "big")


def read_short(data: bytes) -> ShortSignature:
    """Return the signature in ``SHORT_SIZE`` bytes; whatever they are, they are one."""
    days = int.from_bytes(data[:_DAY_SIZE], "big")
    return ShortSignature(date.fromordinal(_FIRST.toordinal() + days), data[_DAY_SIZE:SHORT_SIZE])


def sign_short(data: bytes, kind: str, day: date, signer: Signer) -> ShortSignature:
    """Return the signature of ``signer`` over ``data`` and ``day``; ``kind`` is the type of both.

    Raises:
        EnvironmentProblem: the signer fails.
        IntegrityError: what it made is no signature of its key.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    signed = pae(kind, _day_bytes(day) + data)
    made = signer.sign(signed)
    if not signer.public.made(made, signed):
        raise IntegrityError(
            f"the signer made no signature of its key {signer.public.fingerprint}",
            hint="expected ECDSA over P-256 with SHA-256, in DER",
        )
    half = SIGNATURE_SIZE // 2
    return ShortSignature(
        day, b"".join(n.to_bytes(half, "big") for n in decode_dss_signature(made))
    )


def prove_short(
    short: ShortSignature, data: bytes, kind: str, trusted: TrustedKeys, place: str
) -> TrustedKey:
    """Return the key that counts and signed ``data``.

    Raises:
        IntegrityError: none did, or the one that did was revoked, or signs on other days or for
            builds only.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = SIGNATURE_SIZE // 2
    r, s = (int.from_bytes(short.sig[at : at + half], "big") for at in (0, half))
    signed = pae(kind, _day_bytes(short.day) + data)
    key = trusted.find(encode_dss_signature(r, s), signed)
    if key is None:
        raise IntegrityError(
            f"{place}: its signature is not of any key that counts: it was changed, or somebody "
            "else signed it"
        )
    if (why := trusted.revoked.get(key.public.fingerprint)) is not None:
        raise IntegrityError(f"{place}: the key {key} was revoked{f': {why}' if why else ''}")
    if (outside := key.outside(short.day)) is not None:
        raise IntegrityError(f"{place}: the signature of {key} {outside}")
    if key.builder is not None:
        raise IntegrityError(
            f"{place}: the key {key} signs for the builder {key.builder} and for nothing else"
        )
    return key
