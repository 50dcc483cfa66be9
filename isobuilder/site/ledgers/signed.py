"""A ledger and, where its site signs, the signature: on paper in the same letters.

What is signed is the ledger with its number and the day, by a key that a person outside got another
way. The signature is no part of the ledger: signed again it is the same ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from isobuilder.errors import InputError, IntegrityError
from isobuilder.site.ledgers.ledger import (
    FORMAT,
    Ledger,
    as_groups,
    first_byte,
    ledger_of,
    of_groups,
    seal_of,
    unsealed,
)
from isobuilder.trust.publickeys import TrustedKey, TrustedKeys
from isobuilder.trust.short import SHORT_SIZE, ShortSignature, prove_short, read_short, sign_short
from isobuilder.trust.signers import Signer

_SIGNED = 0xB2  # the first byte; FORMAT is that of a ledger without a signature
_KIND = "application/vnd.isobuilder.ledger"


@dataclass(frozen=True, slots=True)
class BroughtLedger:
    """A ledger as it came, and a signature that proves nothing before ``proved`` looked at it."""

    ledger: Ledger
    signature: ShortSignature | None = None

    def to_text(self) -> str:
        """Return the text that people print, scan and type."""
        ledger = self.ledger.to_bytes()
        if self.signature is None:
            return as_groups(ledger)
        body = bytes([_SIGNED]) + self.signature.to_bytes() + ledger
        return as_groups(body + seal_of(body))


def sign_ledger(ledger: Ledger, signer: Signer, day: date) -> BroughtLedger:
    """Return ``ledger`` with the signature of ``signer``, made on ``day``.

    Raises:
        EnvironmentProblem: the signer fails.
        IntegrityError: what it made is no signature of its key.
    """
    return BroughtLedger(ledger, sign_short(ledger.to_bytes(), _KIND, day, signer))


def read_brought(text: str, place: str) -> BroughtLedger:
    """Return the ledger of a text, signed or not.

    Raises:
        InputError: as ``read_text``.
    """
    data = of_groups(text, place)
    if data[:1] != bytes([_SIGNED]):
        return BroughtLedger(ledger_of(data, place))
    body = unsealed(data, place)
    if len(body) <= 1 + SHORT_SIZE:
        raise InputError(f"{place}: no ledger, or cut off after {len(data)} bytes")
    ledger = ledger_of(body[1 + SHORT_SIZE :], place)
    return BroughtLedger(ledger, read_short(body[1 : 1 + SHORT_SIZE]))


def begins(text: str) -> bool:
    """Say if a text begins as a ledger does, signed or not, whatever becomes of it later."""
    return first_byte(text) in {FORMAT, _SIGNED}


def proved(brought: BroughtLedger, trusted: TrustedKeys, place: str | Path) -> TrustedKey:
    """Return the key that counts and signed a ledger.

    Raises:
        IntegrityError: it is not signed, or its signature does not count.
    """
    if brought.signature is None:
        raise IntegrityError(
            f"{place}: is not signed, and a signature is demanded",
            hint="let the site make it with --sign",
        )
    data = brought.ledger.to_bytes()
    return prove_short(brought.signature, data, _KIND, trusted, str(place))
