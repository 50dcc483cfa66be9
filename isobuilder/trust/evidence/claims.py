"""A claim and its evidence -> one line of proof each, or what of it does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import parse_any
from isobuilder.model.trust.claims import EvidenceFile, SignatureClaim
from isobuilder.model.trust.policies import ExpectedSigner
from isobuilder.text import printable
from isobuilder.trust.evidence.bundle import SignatureBundle, read_bundle
from isobuilder.trust.evidence.openpgp import check_clear_signed, check_detached
from isobuilder.trust.evidence.rekor import payload_digest
from isobuilder.trust.evidence.root import TrustedRoot
from isobuilder.trust.evidence.verify import Proven, verify_bundle, verify_key

Body = Callable[[EvidenceFile], bytes]
"""Gives the text of a file of evidence, proved by its digest."""

Content = Callable[[], bytes]
"""Gives the bytes of the file that a claim is about."""


@dataclass(frozen=True, slots=True)
class ProvenClaim:
    """What was signed, by whom, when, and what proves it."""

    subject: str
    by: str
    moment: datetime | None  # when it was signed at the latest; None: nobody says
    evidence: str  # in words
    file: str  # where on the ISO that is


def prove(
    claim: SignatureClaim,
    expected: ExpectedSigner,
    body: Body,
    content: Content,
    root: TrustedRoot,
) -> list[ProvenClaim]:
    """Return what the evidence of a claim proves; all of it must.

    Raises:
        IntegrityError: something does not prove what it should; says what.
        EnvironmentProblem: the extra ``trust`` is not installed.
    """
    bodies = {one.sha256: body(one) for one in claim.evidence}
    digests = _digests(claim, bodies)
    found = []
    for one in claim.evidence:
        place = one.path
        data = bodies[one.sha256]
        if one.kind == "bundle":
            found.append(_by_bundle(claim, expected, data, bodies, digests, root, place))
        elif one.kind == "openpgp":
            found.append(_by_openpgp(claim, expected, data, content, place))
    if not found:
        raise IntegrityError(f"{claim.subject}: no signature among its evidence")
    return found


def _digests(claim: SignatureClaim, bodies: Mapping[Digest, bytes]) -> set[Digest]:
    """Return what the image may be signed as: itself, or an index that has it."""
    found = {claim.sha256}
    for one in claim.evidence:
        if one.kind != "index":
            continue
        index = parse_any(bodies[one.sha256], place=one.path)
        if claim.sha256 not in {entry.digest for entry in index.manifests}:
            raise IntegrityError(f"{one.path}: an index that does not have {claim.sha256}")
        found.add(one.sha256)
    return found


def _by_bundle(
    claim: SignatureClaim,
    expected: ExpectedSigner,
    data: bytes,
    bodies: Mapping[Digest, bytes],
    digests: set[Digest],
    root: TrustedRoot,
    place: str,
) -> ProvenClaim:
    bundle = read_bundle(data, place)
    proven = _proven(bundle, expected, _subject(claim, bundle, bodies, digests, place), root, place)
    by = "the policy's key"
    if proven.signer is not None:
        by = printable(proven.signer.name, 200)
        if not expected.is_named(proven.signer.name, proven.signer.issuer, claim.url):
            raise IntegrityError(
                f"{place}: signer: expected {expected}, found {by} (logged in at "
                f"{printable(proven.signer.issuer, 200) or 'nowhere'})"
            )
    told = ", ".join(proven.evidence)
    if proven.statement is not None:
        told += f", statement {printable(proven.statement.predicate_type, 120)}"
    return ProvenClaim(claim.subject, by, proven.moment, told, place)


def _proven(
    bundle: SignatureBundle,
    expected: ExpectedSigner,
    subject: Digest,
    root: TrustedRoot,
    place: str,
) -> Proven:
    if expected.key is not None:
        return verify_key(bundle, subject, expected.key.encode(), place)
    return verify_bundle(bundle, subject, root, place)


def _subject(
    claim: SignatureClaim,
    bundle: SignatureBundle,
    bodies: Mapping[Digest, bytes],
    digests: set[Digest],
    place: str,
) -> Digest:
    """Return the digest of what a bundle should be about."""
    if bundle.envelope is not None:  # a statement, which names digests
        told = _named(bundle, place)
        return next((one for one in sorted(digests) if one in told), claim.sha256)
    if claim.what == "files":
        return claim.sha256
    payload = None if bundle.digest is None else bodies.get(bundle.digest)
    if payload is None or bundle.digest is None:
        raise IntegrityError(f"{place}: the text that it signs is not among the evidence")
    named = payload_digest(payload, f"{place}: signed text")
    if named not in digests:
        raise IntegrityError(f"{place}: it is of the image {named}, not of {claim.sha256}")
    return bundle.digest


def _named(bundle: SignatureBundle, place: str) -> set[Digest]:
    from isobuilder.trust.statement import read_statement

    envelope = bundle.envelope
    payload = b"" if envelope is None else envelope.payload
    statement = read_statement(payload, f"{place}: statement")
    return {digest for _, digest in statement.subjects}


def _by_openpgp(
    claim: SignatureClaim, expected: ExpectedSigner, data: bytes, content: Content, place: str
) -> ProvenClaim:
    if expected.form == "clear-signed":
        signed = check_clear_signed(data, expected, place)
        name = claim.url.rpartition("/")[2]
        if not signed.lists(name, claim.sha256):
            raise IntegrityError(f"{place}: it does not say that {name} is {claim.sha256}")
    else:
        signed = check_detached(data, content(), expected, place)
    return ProvenClaim(claim.subject, f"OpenPGP {signed.by}", signed.moment, "signature", place)
