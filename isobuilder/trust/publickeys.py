"""Public keys that signatures of ISOs are checked with, and the file in which a site lists them.

A list is YAML: keys with the days on which they may have signed, and what was revoked. The time of
a signature is its maker's own word, so a revoked key counts for nothing, whenever it signed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from isobuilder.digest import Digest
from isobuilder.documents.plain_yaml import read_yaml, yaml_map
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import below, read_bytes
from isobuilder.model.base import ONE_LINE, Builder, Model, Name
from isobuilder.model.validation import build

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

CURVE = "ECDSA over P-256"
"""The one kind of key: what cosign, hardware tokens and cloud services all have."""

_MOST = 1024 * 1024  # bytes of a file of keys
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.{1,4096}?-----END PUBLIC KEY-----", re.DOTALL)


def library() -> Any:
    """Return ``cryptography``'s serialization module.

    Raises:
        EnvironmentProblem: the extra is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise EnvironmentProblem(
            "signatures: the library cryptography is not installed",
            hint="pip install 'isobuilder[trust]'",
        ) from error
    return serialization


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of ``CURVE``, which it was checked to be."""

    fingerprint: Digest  # of its DER form (SubjectPublicKeyInfo)
    key: EllipticCurvePublicKey

    @classmethod
    def of(cls, key: object, place: str) -> Self:
        """Return the public half of a key, or the key, as one of ours.

        Raises:
            InputError: it is of another kind or curve.
        """
        serialization = library()
        from cryptography.hazmat.primitives.asymmetric import ec

        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InputError(f"{place}: expected a key for {CURVE}, got {_kind(key)}")
        if not isinstance(key.curve, ec.SECP256R1):
            raise InputError(f"{place}: expected a key for {CURVE}, got one for {key.curve.name}")
        der = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(Digest.of(der), key)

    def to_pem(self) -> bytes:
        """Return it as text."""
        serialization = library()
        return self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def made(self, signature: bytes, data: bytes) -> bool:
        """Say if ``signature`` is of this key over ``data``: ECDSA with SHA-256, in DER."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def _kind(key: object) -> str:
    return type(key).__name__.strip("_").removesuffix("PublicKey").removesuffix("PrivateKey")


def read_pem(data: bytes, place: str) -> PublicKey:
    """Return the public key in a PEM text.

    Raises:
        InputError: there is none, or it is of another kind or curve.
    """
    serialization = library()
    from cryptography.exceptions import UnsupportedAlgorithm

    if b"PRIVATE KEY" in data:
        raise InputError(
            f"{place}: a private key, where its public half is expected",
            hint="isobuilder sign --print-key --key FILE prints that half",
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{place}: not a public key in PEM") from None
    return PublicKey.of(key, place)


class ListedKey(Model):
    """One key of a list."""

    name: Name
    key: str  # PEM, or the file beside the list that has it
    first: date | None = None  # the days on which it may have signed, both included
    last: date | None = None
    builder: Builder | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first and self.last and self.last < self.first:
            raise ValueError(f"expected last not before first, got {self.first} to {self.last}")
        return self


class RevokedKey(Model):
    """A key that counts for nothing any more."""

    key: Digest
    why: Annotated[str, Field(pattern=ONE_LINE, max_length=500)] = ""


class _KeyList(Model):
    """Whose signatures count, and whose do not any more."""

    format: Annotated[Literal[1], Field(alias="schema")]
    keys: tuple[ListedKey, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key whose signatures count, with what its list says of it."""

    name: str
    public: PublicKey
    first: date | None = None
    last: date | None = None
    builder: str | None = None  # the only one it signs for

    def __str__(self) -> str:
        return f"{self.name} ({self.public.fingerprint[:19]}...)"

    def outside(self, day: date | None) -> str | None:
        """Return why a signature of ``day`` does not count, None if it does."""
        if self.first is None and self.last is None:
            return None
        if day is None:
            return "does not say when it was made, and the key is good for some days only"
        if self.first is not None and day < self.first:
            return f"was made on {day}, before the key is good: {self.first}"
        if self.last is not None and day > self.last:
            return f"was made on {day}, after the key was good: {self.last}"
        return None


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The keys that count, and the fingerprints of those that do not any more, with why."""

    keys: tuple[TrustedKey, ...]
    revoked: dict[Digest, str]

    def find(self, signature: bytes, data: bytes) -> TrustedKey | None:
        """Return the key that made a signature over ``data``, revoked ones as well."""
        return next((key for key in self.keys if key.public.made(signature, data)), None)

    def named(self, hint: str | None) -> TrustedKey | None:
        """Return the key that the hint of a signature means."""
        return next((key for key in self.keys if hint == hint_of(key.public)), None)


def hint_of(key: PublicKey) -> str:
    """Return how bundles name a key, as cosign writes it: its DER's SHA-256 in base64."""
    return base64.b64encode(bytes.fromhex(key.fingerprint.hex)).decode()


def fingerprint_in(hint: str) -> str:
    """Return the fingerprint in such a hint as people see it elsewhere, or the hint itself."""
    try:
        raw = base64.b64decode(hint, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    return f"sha256:{raw.hex()}" if len(raw) == 32 else hint


def read_keys(paths: Sequence[Path], revoked: Sequence[Path] = ()) -> TrustedKeys:
    """Return the keys of files: a public key in PEM each, or a list in YAML.

    Raises:
        InputError: a file cannot be read, or has a key of another kind or no key at all.
        InputErrors: all that is wrong with a list.
        EnvironmentProblem: the extra ``trust`` is not installed.
    """
    keys: dict[Digest, TrustedKey] = {}
    gone: dict[Digest, str] = {}
    for path in paths:
        data = read_bytes(path, _MOST)
        if b"-----BEGIN " in data and not re.match(rb"\s*(#[^\n]*\n\s*)*schema\s*:", data):
            found = _plain_keys(data, path)
        else:
            found, out = _listed(data, path)
            gone |= out
        for key in found:
            keys.setdefault(key.public.fingerprint, key)
    for path in revoked:
        gone |= {one.key: one.why for one in build(read_yaml(path), _KeyList).revoked}
    if paths and not keys:
        raise InputError(f"{paths[0]}: no key in it", hint="docs/signing-isos.md shows a list")
    return TrustedKeys(tuple(keys.values()), gone)


def _plain_keys(data: bytes, path: Path) -> list[TrustedKey]:
    blocks = _PEM.findall(data)
    if not blocks:
        return [TrustedKey(path.stem, read_pem(data, str(path)))]  # which says what it is instead
    names = (
        [path.stem] if len(blocks) == 1 else [f"{path.stem}-{n + 1}" for n in range(len(blocks))]
    )
    return [
        TrustedKey(name, read_pem(block, str(path)))
        for name, block in zip(names, blocks, strict=True)
    ]


def _listed(data: bytes, path: Path) -> tuple[list[TrustedKey], dict[Digest, str]]:
    listed = build(yaml_map(data, str(path)), _KeyList)
    keys = []
    for one in listed.keys:
        place = f"{path}: keys: {one.name}"
        if "-----BEGIN" in one.key:
            public = read_pem(one.key.encode(), place)
        else:
            file = below(path.parent, one.key)
            if file is None:
                raise InputError(f"{place}: {one.key!r} is not below {path.parent}")
            public = read_pem(read_bytes(file, _MOST), str(file))
        keys.append(TrustedKey(one.name, public, one.first, one.last, one.builder))
    return keys, {one.key: one.why for one in listed.revoked}
