"""Who signs: a key in a file, a token or module by PKCS#11, or a program of the user.

Passphrases and PINs come from the environment or from files, never from the command line, which
everybody on the machine sees; nothing of them is ever in a text of ours.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isobuilder.errors import InputError, IntegrityError, UsageProblem
from isobuilder.files import read_bytes
from isobuilder.run import run_signer
from isobuilder.trust.pkcs11 import ADDRESS, PIN, TokenSigner
from isobuilder.trust.publickeys import CURVE, PublicKey, library, read_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PROGRAM = "ISOBUILDER_SIGNER"
PASSWORD = "ISOBUILDER_KEY_PASSWORD"  # noqa: S105 - the name of a variable
"""Variables: the signer program, the passphrase of a key file; with _FILE at its end the variable
names a file whose first line it is."""

_MOST = 64 * 1024  # bytes of a key
_PATIENCE = 120.0  # seconds; somebody may have to touch a token


class Signer(Protocol):
    """Whoever makes signatures with one key."""

    @property
    def public(self) -> PublicKey:
        """The public half of its key."""

    def sign(self, data: bytes) -> bytes:
        """Return a signature over ``data``: ECDSA with SHA-256, in DER."""


def open_signer(key: str | None, environment: Mapping[str, str] | None = None) -> Signer:
    """Return the signer that ``key`` means: a file, a ``pkcs11:`` address, or None for a program.

    Raises:
        UsageProblem: None, and no program is named in the environment.
        InputError: the key is of another kind or curve, or its passphrase is missing or wrong.
        EnvironmentProblem: a library, module or program is not there or fails.
    """
    environment = os.environ if environment is None else environment
    if key is None:
        if not (words := environment.get(PROGRAM)):
            raise UsageProblem(
                "what is to be signed with? no --key",
                hint=f"give --key FILE or --key pkcs11:..., or name a program in {PROGRAM}",
            )
        return ProgramSigner.open(words, environment)
    if key.startswith(ADDRESS):
        return TokenSigner.open(key, _secret(PIN, environment))
    return FileSigner.open(Path(key), _secret(PASSWORD, environment))


def _secret(variable: str, environment: Mapping[str, str]) -> str | None:
    if (value := environment.get(variable)) is not None:
        return value
    if (file := environment.get(f"{variable}_FILE")) is None:
        return None
    text = read_bytes(Path(file), _MOST).decode("utf-8", "replace")
    return text.split("\n", 1)[0].rstrip("\r")


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A private key in a PEM file."""

    public: PublicKey
    key: EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def open(cls, path: Path, password: str | None) -> FileSigner:
        """Return the signer with the key in ``path``.

        Raises:
            InputError: see ``open_signer``.
        """
        data = read_bytes(path, _MOST)
        if b"ENCRYPTED SIGSTORE PRIVATE KEY" in data or b"ENCRYPTED COSIGN PRIVATE KEY" in data:
            raise InputError(
                f"{path}: a key in cosign's own form, which only cosign opens",
                hint="make one that both read: openssl genpkey -algorithm EC -pkeyopt "
                "ec_paramgen_curve:P-256 -aes256 -out KEY; cosign import-key-pair takes it",
            )
        serialization = library()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec

        secret = None if password is None else os.fsencode(password)
        try:
            try:
                key = serialization.load_pem_private_key(data, secret)
            except TypeError:  # a passphrase that is missing, or that nothing needs
                if password is None:
                    raise InputError(
                        f"{path}: the key has a passphrase, and none is given",
                        hint=f"put it into {PASSWORD}, or its file into {PASSWORD}_FILE",
                    ) from None
                key = serialization.load_pem_private_key(data, None)
        except (ValueError, UnsupportedAlgorithm):
            if b"ENCRYPTED" in data:
                raise InputError(f"{path}: the passphrase does not open the key") from None
            raise InputError(f"{path}: not a private key in PEM") from None
        public = PublicKey.of(key.public_key(), str(path))
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InputError(f"{path}: expected a key for {CURVE}")
        return cls(public, key)

    def sign(self, data: bytes) -> bytes:
        """Return a signature over ``data``."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class ProgramSigner:
    """A program of the user, for keys that are kept by a service.

    It is started with one more word: ``public-key``, and prints the public key in PEM; or ``sign``,
    and reads what is to be signed and prints the signature in base64. It gets our environment.
    """

    public: PublicKey
    words: tuple[str, ...] = field(repr=False)  # where somebody may have put a secret
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def open(cls, text: str, environment: Mapping[str, str]) -> ProgramSigner:
        """Return the signer that the words of ``text`` start, once it told its key.

        Raises:
            UsageProblem: there is no word in it.
            EnvironmentProblem: it cannot be started or fails.
            InputError: it prints no key for ``CURVE``.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError:
            words = ()
        if not words:
            raise UsageProblem(f"{PROGRAM}: expected a program and its words")
        printed = _asked(words, "public-key", b"", environment)
        return cls(read_pem(printed, f"{words[0]} public-key"), words, environment)

    def sign(self, data: bytes) -> bytes:
        """Return its signature over ``data``, which it was seen to be.

        Raises:
            EnvironmentProblem: it fails.
            IntegrityError: it prints something else.
        """
        printed = _asked(self.words, "sign", data, self.environment)
        try:
            signature = base64.b64decode(printed.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise IntegrityError(f"{self.words[0]} sign: expected a signature in base64") from None
        return signature


def _asked(words: tuple[str, ...], what: str, data: bytes, environment: Mapping[str, str]) -> bytes:
    return run_signer([*words, what], data, timeout=_PATIENCE, most_output=_MOST, env=environment)
