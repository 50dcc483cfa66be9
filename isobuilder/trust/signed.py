"""Whether the signatures of an ISO hold, and whose they are: bytes and keys in, claims out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.trust.publickeys import TrustedKey, TrustedKeys, fingerprint_in
from isobuilder.trust.signature import KeyedBundle, read_signature
from isobuilder.trust.statement import PROVENANCE, SignedStatement, read_statement


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """One signature that holds: whose key, about these very bytes."""

    place: str  # the file it is in
    key: str  # its name in the list, or of its file
    fingerprint: Digest
    predicate: str  # what kind of statement it is over
    builder: str | None  # who says to have built the ISO
    day: date | None  # when, by the signer's own word
    lock: str | None

    def __str__(self) -> str:
        what = "provenance" if self.predicate == PROVENANCE else self.predicate
        by = f", built by {self.builder}" if self.builder else ""
        when = f", on {self.day}" if self.day else ""
        return f"signed by {self.key} ({self.fingerprint}){by}{when}: {what}"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What became of every signature file of one ISO."""

    claims: tuple[SignedClaim, ...]
    refused: tuple[tuple[str, str], ...]  # file and reason: it speaks for a key that counts
    strangers: tuple[tuple[str, str], ...]  # file and reason: it says nothing to us

    @property
    def builders(self) -> int:
        """How many builders with keys of their own say the same."""
        return _pairs(claim for claim in self.claims if claim.builder is not None)

    def missing(self, needed: int) -> str | None:
        """Return what lacks for ``needed`` signatures that are independent; None if nothing does.

        Two are independent if key and builder differ; so more than one needs provenance.
        """
        keys = {claim.fingerprint for claim in self.claims}
        if needed == 1:
            return None if keys else "no signature by a key that counts"
        count = self.builders
        if count >= needed:
            return None
        built = (claim for claim in self.claims if claim.builder is not None)
        who = ", ".join(sorted({f"{claim.key} for {claim.builder}" for claim in built})) or "nobody"
        return f"expected {needed} builders with keys of their own, got {count}: {who}"


def _pairs(claims: Iterable[SignedClaim]) -> int:
    """Return the most claims of which no two share a key or a builder."""
    wanted: dict[Digest, list[str]] = {}
    for claim in claims:
        wanted.setdefault(claim.fingerprint, []).append(claim.builder or "")
    taken: dict[str, Digest] = {}

    def place(key: Digest, tried: set[str]) -> bool:
        for builder in wanted[key]:
            if builder in tried:
                continue
            tried.add(builder)
            if builder not in taken or place(taken[builder], tried):
                taken[builder] = key
                return True
        return False

    return sum(place(key, set()) for key in wanted)


def check_signatures(
    bundles: Iterable[tuple[str, bytes]],
    trusted: TrustedKeys,
    iso: Digest,
    files: Mapping[str, Digest] | None = None,
    *,
    what: str = "ISO",
) -> SignatureCheck:
    """Return which of ``bundles``, each with its place, say by a key that counts what ``iso`` is.

    ``files`` is what the files on it hash to, where that is known. ``what`` it is if it is no ISO.
    """
    claims: list[SignedClaim] = []
    refused: list[tuple[str, str]] = []
    strangers: list[tuple[str, str]] = []
    for place, data in bundles:
        try:
            signed = read_signature(data, place)
        except IntegrityError as error:
            refused.append((place, str(error).removeprefix(f"{place}: ")))
            continue
        key = trusted.find(signed.envelope.signatures[0].sig, signed.envelope.signed)
        if key is None:
            meant = trusted.named(signed.hint)
            if meant is None and signed.hint is not None:
                strangers.append((place, f"by another key, {fingerprint_in(signed.hint)[:80]}"))
                continue
            whose = f"the key {meant}" if meant else "any key that counts"
            refused.append((place, f"its signature is not of {whose}: the statement was changed"))
            continue
        try:
            claims.append(_claim(place, signed, key, trusted, iso, files, what))
        except IntegrityError as error:
            refused.append((place, str(error).removeprefix(f"{place}: ")))
    return SignatureCheck(tuple(claims), tuple(refused), tuple(strangers))


def _claim(
    place: str,
    signed: KeyedBundle,
    key: TrustedKey,
    trusted: TrustedKeys,
    iso: Digest,
    files: Mapping[str, Digest] | None,
    what: str,
) -> SignedClaim:
    """Return the claim that a statement makes, which ``key`` signed.

    Raises:
        IntegrityError: why it does not count.
    """
    fingerprint = key.public.fingerprint
    if fingerprint in trusted.revoked:
        why = trusted.revoked[fingerprint]
        raise IntegrityError(f"{place}: the key {key} was revoked{f': {why}' if why else ''}")
    statement = read_statement(signed.envelope.payload, place)
    if iso not in {digest for _, digest in statement.subjects}:
        name, other = statement.subjects[0] if statement.subjects else ("nothing", None)
        raise IntegrityError(
            f"{place}: signed by {key} for {name} {other}, the {what} is {iso}: it is of another "
            f"{what}"
        )
    if (outside := key.outside(statement.day)) is not None:
        raise IntegrityError(f"{place}: the signature of {key} {outside}")
    if key.builder is not None and statement.builder != key.builder:
        raise IntegrityError(
            f"{place}: the key {key} signs for the builder {key.builder}, "
            f"got {statement.builder or 'none'}"
        )
    _refuse_other_files(place, statement, files)
    return SignedClaim(
        place,
        key.name,
        fingerprint,
        statement.predicate_type,
        statement.builder,
        statement.day,
        statement.lock,
    )


def _refuse_other_files(
    place: str, statement: SignedStatement, files: Mapping[str, Digest] | None
) -> None:
    if files is None or statement.predicate_type != PROVENANCE:
        return
    for name, digest in statement.subjects[1:]:
        if files.get(name) != digest:
            raise IntegrityError(
                f"{place}: it names {name} {digest}, on the ISO it is {files.get(name)}"
            )
