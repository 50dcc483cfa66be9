"""A key that never leaves its token, by PKCS#11 (Cryptoki 2.40).

Source of addresses: RFC 7512; of signatures: RFC 3279, 2.2.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from isobuilder.errors import EnvironmentProblem, InputError, UsageProblem
from isobuilder.trust.publickeys import PublicKey, library

ADDRESS = "pkcs11:"
PIN = "ISOBUILDER_PKCS11_PIN"
"""The variable with the PIN; PIN_FILE names a file whose first line it is."""

_PARTS = {"token", "object", "id", "type", "module-path"}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Where a key is."""

    module: str  # the library of the token
    token: str | None = None
    label: str | None = None
    ident: bytes | None = None

    @classmethod
    def parse(cls, address: str) -> TokenKey:
        """Return what ``pkcs11:token=T;object=O?module-path=FILE`` means.

        Raises:
            UsageProblem: it names no module or no key, or has a PIN in it.
        """
        path, _, query = address.removeprefix(ADDRESS).partition("?")
        parts = dict(part.partition("=")[::2] for part in path.split(";") if part)
        asked = dict(parse_qsl(query))
        if "pin-value" in {*parts, *asked}:
            raise UsageProblem(
                "--key: a PIN in the address, which everybody on this machine sees",
                hint=f"put it into {PIN}, or the name of its file into {PIN}_FILE",
            )
        unknown = {*parts, *asked} - _PARTS
        module = asked.get("module-path")
        if not module or unknown or not {"object", "id"} & parts.keys():
            fact = f", and not {', '.join(sorted(unknown))}" if unknown else ""
            raise UsageProblem(
                f"--key: expected pkcs11:token=NAME;object=NAME?module-path=FILE{fact}",
                hint="the module is the token's library, as /usr/lib/softhsm/libsofthsm2.so is",
            )
        ident = parts.get("id")
        return cls(
            module,
            unquote(parts["token"]) if "token" in parts else None,
            unquote(parts["object"]) if "object" in parts else None,
            None if ident is None else unquote_to_bytes(ident),
        )

    def __str__(self) -> str:
        name = self.label if self.label is not None else (self.ident or b"").hex()
        return f"the key {name} of the token {self.token or 'in the only slot'}"


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Signs with the key of a token."""

    public: PublicKey
    where: TokenKey
    pin: str | None = field(repr=False)

    @classmethod
    def open(cls, address: str, pin: str | None) -> TokenSigner:
        """Return the signer whose key ``address`` names, once the token told its public half.

        Raises:
            UsageProblem: the address is wrong.
            InputError: there is no such key, or it is of another kind.
            EnvironmentProblem: the library or module is not there, or the PIN is wrong.
        """
        where = TokenKey.parse(address)
        with _session(where, pin) as (session, binding):
            from pkcs11.util.ec import encode_ec_public_key

            key = session.get_key(binding.ObjectClass.PUBLIC_KEY, **_names(where))
            if key.key_type is not binding.KeyType.EC:
                raise InputError(f"{where}: expected a key of an elliptic curve")
            der = encode_ec_public_key(key)
        try:
            public = library().load_der_public_key(der)
        except ValueError as error:
            raise InputError(f"{where}: its public half cannot be read") from error
        return cls(PublicKey.of(public, str(where)), where, pin)

    def sign(self, data: bytes) -> bytes:
        """Return a signature over ``data``.

        Raises:
            EnvironmentProblem: the token does not do it.
        """
        with _session(self.where, self.pin) as (session, binding):
            from pkcs11.util.ec import encode_ecdsa_signature

            key = session.get_key(binding.ObjectClass.PRIVATE_KEY, **_names(self.where))
            raw = key.sign(hashlib.sha256(data).digest(), mechanism=binding.Mechanism.ECDSA)
            return bytes(encode_ecdsa_signature(raw))


def _names(where: TokenKey) -> dict[str, Any]:
    named = {"label": where.label, "id": where.ident}
    return {name: value for name, value in named.items() if value is not None}


@contextmanager
def _session(where: TokenKey, pin: str | None) -> Iterator[tuple[Any, Any]]:
    try:
        import pkcs11
    except ImportError as error:
        raise EnvironmentProblem(
            "PKCS#11: the library python-pkcs11 is not installed",
            hint="pip install 'isobuilder[pkcs11]'",
        ) from error
    from pkcs11 import exceptions

    try:
        found = pkcs11.lib(where.module)
        named = {} if where.token is None else {"token_label": where.token}
        with found.get_token(**named).open(user_pin=pin) as session:
            yield session, pkcs11
    except exceptions.NoSuchKey as error:
        raise InputError(f"{where}: there is no such key") from error
    except exceptions.MultipleObjectsReturned as error:
        raise InputError(f"{where}: there are several", hint="name it by its id as well") from error
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange) as error:
        raise EnvironmentProblem(
            f"{where}: the PIN is wrong", hint=f"{PIN} has it; tokens lock after a few wrong ones"
        ) from error
    except (exceptions.PKCS11Error, OSError) as error:
        name = type(error).__name__
        raise EnvironmentProblem(
            f"{where}: the module {where.module} failed: {name}",
            hint=None if pin is not None else f"no PIN is given in {PIN}",
        ) from error
