"""Public keys, and whether a signature is theirs: the one door to the library that knows.

Every form that Sigstore's registry of algorithms has for SHA-256 and SHA-384 is taken:
https://github.com/sigstore/architecture-docs, algorithm-registry.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_SMALLEST_RSA = 2048  # bits


def need_library() -> None:
    """Return if the libraries of the extra ``trust`` are installed.

    Raises:
        EnvironmentProblem: they are not.
    """
    try:
        import cryptography
        import rfc3161_client  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(
            "signatures cannot be checked: a library is missing",
            hint="pip install 'isobuilder[trust]'",
        ) from error
    del cryptography


def key_of(data: bytes, place: str) -> PublicKeyTypes:
    """Return the public key in ``data``: PEM, or DER of a SubjectPublicKeyInfo.

    Raises:
        IntegrityError: it is none, or of a kind that is not taken.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        if data.lstrip().startswith(b"-----"):
            key = serialization.load_pem_public_key(data)
        else:
            key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{place}: not a public key in PEM or DER") from error
    refuse_weak(key, place)
    return key


def refuse_weak(key: PublicKeyTypes, place: str) -> None:
    """Return if signatures of this kind of key are taken.

    Raises:
        IntegrityError: another curve, another kind, or too short.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            found = key.curve.name
            raise IntegrityError(f"{place}: a key of the curve {found}, expected P-256 or P-384")
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _SMALLEST_RSA:
            raise IntegrityError(
                f"{place}: an RSA key of {key.key_size} bits, expected {_SMALLEST_RSA}"
            )
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise IntegrityError(f"{place}: a key of a kind that signs nothing here")


def is_signed(key: PublicKeyTypes, signature: bytes, data: bytes) -> bool:
    """Say if ``signature`` is that of ``key`` over ``data``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            wide = isinstance(key.curve, ec.SECP384R1)
            key.verify(signature, data, ec.ECDSA(hashes.SHA384() if wide else hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True


def is_signed_digest(key: PublicKeyTypes, signature: bytes, digest: Digest, place: str) -> bool:
    """Say if ``signature`` is that of ``key`` over bytes of which only the digest is known.

    Raises:
        IntegrityError: keys of this kind sign no digest of SHA-256.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    hashed = Prehashed(hashes.SHA256())
    data = bytes.fromhex(digest.hex)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            key.verify(signature, data, ec.ECDSA(hashed))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashed)
        else:
            raise IntegrityError(f"{place}: a key of a kind that signs no SHA-256 digest of a file")
    except InvalidSignature:
        return False
    return True
