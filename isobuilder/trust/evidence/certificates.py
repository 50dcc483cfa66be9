"""Certificates of signers: who it is, who issued it, and that a public log was told of it.

Sources: RFC 5280; RFC 6962, 3.2; Fulcio's oid-info.md and certificate-specification.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from isobuilder.errors import IntegrityError
from isobuilder.text import printable
from isobuilder.trust.evidence.keys import is_signed, key_of, refuse_weak
from isobuilder.trust.evidence.root import CertificateAuthority, LogKey

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_ISSUER = ("1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.1")  # the newer one first
_OTHER_NAME = "1.3.6.1.4.1.57264.1.7"
_UTF8 = 0x0C


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate was given to, in the words of who logged them in."""

    name: str  # a mail address, or the address of a workflow
    issuer: str


def certificate_of(data: bytes, place: str) -> x509.Certificate:
    """Return the certificate in ``data``: PEM or DER.

    Raises:
        IntegrityError: it is none.
    """
    from cryptography import x509

    try:
        if data.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise IntegrityError(f"{place}: not a certificate") from error


def der_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate as bundles have it."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def signer_of(certificate: x509.Certificate, place: str) -> Identity:
    """Return whom a certificate names.

    Raises:
        IntegrityError: nobody, or several.
    """
    from cryptography import x509

    names: list[str] = []
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise IntegrityError(f"{place}: certificate: it names nobody") from error
    for name in found:
        if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
            names.append(name.value)
        elif isinstance(name, x509.OtherName) and name.type_id.dotted_string == _OTHER_NAME:
            names.append(_utf8(name.value, place))
    if len(names) != 1:
        raise IntegrityError(f"{place}: certificate: it names {len(names)} signers, expected 1")
    return Identity(names[0], _issuer(certificate, place))


def _issuer(certificate: x509.Certificate, place: str) -> str:
    from cryptography import x509

    for oid in _ISSUER:
        try:
            extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
        except x509.ExtensionNotFound:
            continue
        data = extension.value.public_bytes()
        return _utf8(data, place) if oid == _ISSUER[0] else data.decode("utf-8", "replace")
    return ""


def _utf8(data: bytes, place: str) -> str:
    """Return the text of a DER UTF8String."""
    head, length = 2, data[1] if len(data) > 1 else 0
    if length == 0x81 and len(data) > 2:
        head, length = 3, data[2]
    if data[:1] != bytes([_UTF8]) or len(data) != head + length:
        raise IntegrityError(f"{place}: certificate: a name that is not UTF-8 text")
    return data[head:].decode("utf-8", "replace")


def signing_key(certificate: x509.Certificate, place: str) -> PublicKeyTypes:
    """Return the key that a certificate is about."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{place}: certificate: its key cannot be read") from error
    refuse_weak(key, f"{place}: certificate")
    return key


def check_issued(
    certificate: x509.Certificate,
    moment: datetime,
    authorities: tuple[CertificateAuthority, ...],
    place: str,
) -> x509.Certificate:
    """Return the certificate of the trusted authority that issued ``certificate``.

    ``moment`` is when it signed, as somebody else than the signer says; everything must have been
    valid then.

    Raises:
        IntegrityError: expired or not yet valid then, for another purpose, or issued by others.
    """
    _check_purpose(certificate, place)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= moment <= end:
        raise IntegrityError(
            f"{place}: certificate: valid from {begin:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC, "
            f"and it signed {moment:%Y-%m-%d %H:%M:%S}"
        )
    for authority in authorities:
        chain = [certificate_of(one, "the trusted root") for one in authority.chain]
        if authority.span.has(moment) and _leads(certificate, chain, moment):
            return chain[0]
    who = printable(certificate.issuer.rfc4514_string(), 90)
    raise IntegrityError(
        f"{place}: certificate: issued by {who or 'nobody'}, whom the trusted root does not have "
        f"for {moment:%Y-%m-%d}"
    )


def _check_purpose(certificate: x509.Certificate, place: str) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        extensions = certificate.extensions
        uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise IntegrityError(f"{place}: certificate: it does not say what it is for") from error
    if ExtendedKeyUsageOID.CODE_SIGNING not in uses or not usage.digital_signature:
        raise IntegrityError(f"{place}: certificate: it is not for signing code")
    if _is_authority(certificate):
        raise IntegrityError(f"{place}: certificate: it is one of an authority, not of a signer")


def _leads(certificate: x509.Certificate, chain: list[x509.Certificate], moment: datetime) -> bool:
    """Say if each certificate was issued by the next, all of them authorities at ``moment``."""
    from cryptography.exceptions import InvalidSignature

    below = certificate
    for above in chain:
        if not above.not_valid_before_utc <= moment <= above.not_valid_after_utc:
            return False
        if not _is_authority(above):
            return False
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            return False
        below = above
    return bool(chain)


def _is_authority(certificate: x509.Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def check_logged(
    certificate: x509.Certificate, issuer: x509.Certificate, logs: tuple[LogKey, ...], place: str
) -> None:
    """Return if a trusted log of certificates promised to show this one to everybody.

    Raises:
        IntegrityError: no such promise, or none of a log that is trusted.
    """
    from cryptography import x509

    try:
        promises = certificate.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        ).value
        signed = certificate.tbs_precertificate_bytes
    except (x509.ExtensionNotFound, ValueError) as error:
        raise IntegrityError(f"{place}: certificate: no log was told of it") from error
    for promise in promises:
        for log in logs:
            if log.log_id != promise.log_id or not log.span.has(_moment(promise)):
                continue
            data = _promised(promise, signed, issuer)
            if is_signed(key_of(log.key, "the trusted root"), promise.signature, data):
                return
    raise IntegrityError(f"{place}: certificate: no log that the trusted root has was told of it")


def _moment(promise: x509.certificate_transparency.SignedCertificateTimestamp) -> datetime:
    return promise.timestamp.replace(tzinfo=UTC)  # the library tells it without a zone


def _promised(
    promise: x509.certificate_transparency.SignedCertificateTimestamp,
    signed: bytes,
    issuer: x509.Certificate,
) -> bytes:
    """Return what a log signs of a certificate that is to be: RFC 6962, 3.2."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    milliseconds = round(_moment(promise).timestamp() * 1000)
    return b"".join(
        (
            b"\0\0",  # version 1, a timestamp of a certificate
            milliseconds.to_bytes(8, "big"),
            b"\0\1",  # of one that is to be
            hashlib.sha256(key).digest(),
            len(signed).to_bytes(3, "big"),
            signed,
            len(promise.extension_bytes).to_bytes(2, "big"),
            promise.extension_bytes,
        )
    )
