"""A bundle and what it is about -> who signed it and when, or the claim that does not hold.

Nothing is asked of the network or of the clock: time is what a log or a timestamp authority says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.trust.dsse import IN_TOTO
from isobuilder.trust.evidence.bundle import SignatureBundle
from isobuilder.trust.evidence.certificates import (
    Identity,
    certificate_of,
    check_issued,
    check_logged,
    signer_of,
    signing_key,
)
from isobuilder.trust.evidence.keys import is_signed, is_signed_digest, key_of, need_library
from isobuilder.trust.evidence.logs import check_included, check_is_about, log_of, promised_at
from isobuilder.trust.evidence.root import LogKey, TrustedRoot
from isobuilder.trust.evidence.stamps import stamped_at
from isobuilder.trust.statement import SignedStatement, read_statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_MOST = 8  # entries, or timestamps, of one bundle


@dataclass(frozen=True, slots=True)
class Proven:
    """What a bundle proves."""

    signer: Identity | None  # None: whoever has the key
    moment: datetime | None  # when it was signed at the latest; None: nobody says
    evidence: tuple[str, ...]  # in words, e.g. "log proof of https://rekor.sigstore.dev"
    statement: SignedStatement | None  # what was signed, if it is one


def verify_bundle(
    bundle: SignatureBundle, subject: Digest | None, root: TrustedRoot, place: str
) -> Proven:
    """Return who signed the bytes of ``subject``, as ``bundle`` proves it under ``root``.

    None is for statements alone: it is then proved who signed the statement, whatever it is about.

    Raises:
        IntegrityError: something of it is not proved; says which claim.
        EnvironmentProblem: the extra ``trust`` is not installed.
    """
    need_library()
    if bundle.certificate is None:
        raise IntegrityError(f"{place}: signed with a key, where a certificate is expected")
    certificate = certificate_of(bundle.certificate, place)
    statement = _about(bundle, subject, place)
    moments, evidence = _times(bundle, subject, root, place)
    for moment in moments:
        issuer = check_issued(certificate, moment, root.authorities, place)
        check_logged(certificate, issuer, root.certificate_logs, place)
    _check_signature(bundle, signing_key(certificate, place), subject, place)
    return Proven(signer_of(certificate, place), max(moments), evidence, statement)


def verify_key(bundle: SignatureBundle, subject: Digest, key: bytes, place: str) -> Proven:
    """Return what a bundle proves that was signed with a key, which the verifier has.

    Raises:
        IntegrityError, EnvironmentProblem: as ``verify_bundle``.
    """
    need_library()
    statement = _about(bundle, subject, place)
    _check_signature(bundle, key_of(key, "the policy's key"), subject, place)
    return Proven(None, None, ("the policy's key",), statement)


def _signed_digest(bundle: SignatureBundle, subject: Digest | None, place: str) -> Digest:
    """Return the digest of the bytes that the signature is over."""
    if bundle.envelope is not None:
        return Digest.of(bundle.envelope.signed)
    if subject is None:
        raise IntegrityError(f"{place}: a signature over bytes that nobody named")
    return subject


def _about(bundle: SignatureBundle, subject: Digest | None, place: str) -> SignedStatement | None:
    """Return the statement about ``subject``; None if it is signed itself."""
    if bundle.envelope is None:
        if subject is not None and bundle.digest not in {None, subject}:
            raise IntegrityError(f"{place}: it is of {bundle.digest}, not of {subject}")
        return None
    if bundle.envelope.payload_type != IN_TOTO:
        found = bundle.envelope.payload_type[:60]
        raise IntegrityError(f"{place}: statement: expected one of in-toto, found {found!r}")
    statement = read_statement(bundle.envelope.payload, f"{place}: statement")
    if subject is not None and subject not in {digest for _, digest in statement.subjects}:
        raise IntegrityError(f"{place}: statement: {subject} is none of its subjects")
    return statement


def _times(
    bundle: SignatureBundle, subject: Digest | None, root: TrustedRoot, place: str
) -> tuple[list[datetime], tuple[str, ...]]:
    """Return every time that is told, all of which must agree with the certificate."""
    if len(bundle.entries) > _MOST or len(bundle.stamps) > _MOST:
        raise IntegrityError(f"{place}: more than {_MOST} log entries or timestamps")
    if not bundle.entries:
        raise IntegrityError(f"{place}: log: no entry, so nobody can have seen it being signed")
    moments: list[datetime] = []
    evidence: list[str] = []
    for entry in bundle.entries:
        log = log_of(entry, root.logs, place)
        promised = promised_at(entry, log, place)
        included = check_included(entry, log, place)
        if promised is None and not included:
            raise IntegrityError(f"{place}: log: neither a proof nor a promise of it")
        check_is_about(entry, bundle, _signed_digest(bundle, subject, place), place)
        moments += [] if promised is None else [promised]
        evidence.append(f"log {'proof' if included else 'promise'} of {_name(log)}")
    for stamp in bundle.stamps:
        moments.append(stamped_at(stamp, bundle.signed_with, root.stampers, place))
        evidence.append("timestamp")
    if not moments:
        raise IntegrityError(
            f"{place}: time: the log tells none, and there is no timestamp of an authority"
        )
    return moments, tuple(evidence)


def _name(log: LogKey) -> str:
    return log.url.partition("://")[2] or log.log_id.hex()[:12]


def _check_signature(
    bundle: SignatureBundle, key: PublicKeyTypes, subject: Digest | None, place: str
) -> None:
    if bundle.envelope is not None:
        good = is_signed(key, bundle.signed_with, bundle.envelope.signed)
    else:
        signed = _signed_digest(bundle, subject, place)
        good = is_signed_digest(key, bundle.signed_with, signed, place)
    if not good:
        raise IntegrityError(f"{place}: signature: not made with that key over {subject}")
