"""What lets a machine into a cluster: token, certificate key, certificate authority."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import string
from dataclasses import dataclass, field

from isobuilder.errors import InputError

TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
CERTIFICATE_KEY = re.compile(r"[0-9a-f]{64}")

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----"
)
_LETTERS = string.ascii_lowercase + string.digits
_PEM_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n?")
_RSA, _EC = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
"""Names of the kinds of keys in DER. Source: RFC 3279, section 2.3."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, with its key where the cluster is made with it."""

    certificate: str  # PEM
    hash: str  # sha256:<hex> of its public key, as kubeadm compares it
    key: str | None = field(default=None, repr=False)  # PEM


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets of one cluster, each of the right form."""

    token: str = field(repr=False)
    certificate_key: str | None = field(default=None, repr=False)  # for more control planes
    authority: Authority | None = None
    ca_hash: str | None = None  # None: joining nodes do not check whom they talk to


def new_token() -> str:
    """Return a bootstrap token nobody can guess: 6 public and 16 secret characters."""
    identity, secret = (
        "".join(secrets.choice(_LETTERS) for _ in range(length)) for length in (6, 16)
    )
    return f"{identity}.{secret}"


def new_certificate_key() -> str:
    """Return a new AES key of 32 bytes in hexadecimal, which protects uploaded certificates."""
    return secrets.token_hex(32)


def check_token(text: str, place: str) -> str:
    """Return ``text`` without space around it if it is a bootstrap token.

    Source: Kubernetes, "Authenticating with Bootstrap Tokens", token format.

    Raises:
        InputError: it is not; the message says where it came from and not what it is.
    """
    text = text.strip()
    if not TOKEN.fullmatch(text):
        raise InputError(
            f"{place}: not a bootstrap token ({len(text)} characters)",
            hint="expected 6 and 16 lower-case letters or digits with a dot between",
        )
    return text


def check_certificate_key(text: str, place: str) -> str:
    """Return ``text`` without space around it if it is a certificate key.

    Raises:
        InputError: it is not; the message says where it came from and not what it is.
    """
    text = text.strip()
    if not CERTIFICATE_KEY.fullmatch(text):
        raise InputError(
            f"{place}: not a certificate key ({len(text)} characters)",
            hint="expected 64 lower-case hexadecimal digits, as isobuilder node secrets makes them",
        )
    return text


def check_certificates(text: str, place: str) -> str:
    """Return ``text`` if it has certificates in PEM form and nothing else.

    Raises:
        InputError: it has none, or also a private key, or one of which the end is missing.
    """
    found = _CERTIFICATE.findall(text)
    if not found or text.count("-----BEGIN ") != len(found) or not all(map(_is_der, found)):
        raise InputError(f"{place}: expected certificates in PEM form, whole, and nothing else")
    return text


def _is_der(text: str) -> bool:
    try:
        return base64.b64decode("".join(text.split()), validate=True).startswith(b"\x30")
    except binascii.Error:
        return False


def public_key_hash(pem: str, place: str) -> str:
    """Return kubeadm's name for an authority: the hash of its public key in DER.

    ``pem`` is the public key (SubjectPublicKeyInfo) as ``openssl x509 -pubkey`` prints it.
    Source: RFC 7469, section 2.4, which kubeadm's ``caCertHashes`` names.

    Raises:
        InputError: it is not a public key, or of a kind that kubeadm does not read (source:
            Kubernetes ``cmd/kubeadm/app/util/pkiutil/pki_helpers.go``, RSA and ECDSA).
    """
    match = _PEM_KEY.fullmatch(pem)
    if match is None:
        raise InputError(f"{place}: no public key in the certificate")
    key = base64.b64decode(match[1])
    if not any(kind in key[:32] for kind in (_RSA, _EC)):
        raise InputError(
            f"{place}: its key is neither of RSA nor of ECDSA, and kubeadm reads no other",
            hint="make an authority with such a key, or remove it and its key to have new ones",
        )
    return "sha256:" + hashlib.sha256(key).hexdigest()
