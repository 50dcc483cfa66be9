"""ISO -> a signature beside it; and whose signatures beside an ISO count."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, UsageProblem
from isobuilder.files import is_file, read_bytes, write_whole
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import LABEL, SIGNATURE, Medium
from isobuilder.model.base import LAST_EPOCH
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.mold.catalogue import Item
from isobuilder.pipeline.build import digests_told
from isobuilder.progress import SILENT, Progress
from isobuilder.rules.fit import Unfit
from isobuilder.text import whole_number
from isobuilder.trust.publickeys import TrustedKey, TrustedKeys
from isobuilder.trust.signature import BUNDLE_FILE, bundle_bytes, read_signature
from isobuilder.trust.signed import SignatureCheck, SignedClaim, check_signatures
from isobuilder.trust.signers import Signer
from isobuilder.trust.statement import provenance, statement_bytes

SIGNED = f".{SIGNATURE}"
"""How the name of what lies beside an ISO ends, in the place of ``.iso``."""

_MOST_BUNDLES = 32  # beside one ISO
_RULE = "signature"


@dataclass(frozen=True, slots=True)
class Signatures:
    """What is asked of the signatures beside an ISO."""

    trusted: TrustedKeys
    needed: int = 1  # builders with keys of their own who agree on the digest
    files: tuple[Path, ...] = ()  # in place of those that lie beside the ISO


@dataclass(frozen=True, slots=True)
class Signed:
    """The signature of one ISO."""

    path: Path
    digest: Digest  # of the ISO
    key: Digest  # fingerprint
    builder: str
    reused: bool  # it was there already


def sign_iso(
    iso: Path,
    signer: Signer,
    *,
    lock: Lock | None = None,
    builder: str | None = None,
    moment: datetime | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Signed:
    """Write the signature of an ISO of ours beside it, after a look at its every byte.

    ``lock`` is what it was built from, that beside it if None. ``builder`` is the URI of whoever
    built it, by default one that names the key. ``moment`` is when, by default now.

    Raises:
        InputError: no lock, or it is not the one that the ISO names.
        IntegrityError: something is wrong with the ISO, or it is none of ours.
        EnvironmentProblem: the signer fails, or the folder cannot be written.
    """
    with IsoReader(iso) as reader:
        medium = Medium(reader)
        checked = check_iso(reader, medium=medium, label=LABEL, progress=progress)
        manifest = medium.manifest
    wrong = [finding for finding in checked.findings if finding.severity == "error"]
    if wrong or checked.digest is None:
        raise IntegrityError(
            f"{iso}: not signed: {wrong[0] if wrong else 'it cannot be hashed'}",
            hint="isobuilder verify tells everything that is wrong with it",
        )
    if isinstance(manifest, IntegrityError):
        raise IntegrityError(f"{iso}: not signed: not an ISO of isobuilder: {manifest}")
    lock = lock or load_lock(_beside(iso, ".lock.json"))
    subject = _Subject(iso, checked.digest, checked.files, manifest, lock)
    return subject.sign(signer, builder=builder, moment=moment, out=out)


def sign_built(
    iso: Path, digest: Digest, lock: Lock, signer: Signer, *, builder: str | None = None
) -> Signed:
    """Sign an ISO that was just written: its digests are known, and no byte is read again.

    Raises:
        InputError, IntegrityError, EnvironmentProblem: as ``sign_iso``.
    """
    with IsoReader(iso) as reader:
        medium = Medium(reader)
        manifest = medium.manifest
        if isinstance(manifest, IntegrityError):
            raise manifest
        files = digests_told(medium, manifest)
    return _Subject(iso, digest, files, manifest, lock).sign(signer, builder=builder)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be signed: an ISO with its digests, and the lock that it was built from."""

    iso: Path
    digest: Digest
    files: Mapping[str, Digest]
    manifest: IsoManifest
    lock: Lock

    def sign(
        self,
        signer: Signer,
        *,
        builder: str | None = None,
        moment: datetime | None = None,
        out: Path | None = None,
    ) -> Signed:
        """Write the signature, unless one of this key about these bytes is there."""
        if self.lock.digest.hex != self.manifest.lock_sha256:
            raise InputError(
                f"{self.iso}: built from the lock {self.manifest.lock_sha256}, this lock is "
                f"{self.lock.digest.hex}",
                hint="name the lock it was built from: the one beside it, or --lock",
            )
        key = signer.public.fingerprint
        who = builder or f"urn:isobuilder:key:{key}"
        path = out or self._place(signer)
        if self._is_there(path, signer, who):
            return Signed(path, self.digest, key, who, reused=True)
        said = provenance(
            self.lock, tool=self.manifest.tool, builder=who, finished=moment or signing_moment()
        )
        statement = statement_bytes(self.iso.name, self.digest, self.files, said)
        write_whole(path, bundle_bytes(statement, signer))
        return Signed(path, self.digest, key, who, reused=False)

    def _place(self, signer: Signer) -> Path:
        """Return where the signature goes: another key's, or one that is none, stays."""
        usual = _beside(self.iso, SIGNED)
        key = signer.public.fingerprint
        if not is_file(usual) or _made_by(signer, usual):
            return usual
        return _beside(self.iso, f".{key.hex[:12]}{SIGNED}")

    def _is_there(self, path: Path, signer: Signer, builder: str) -> bool:
        if not is_file(path):
            return False
        ours = TrustedKeys((TrustedKey("own", signer.public),), {})
        claims = _check([path], ours, self.digest, self.files).claims
        return any(claim.builder == builder and claim.lock == self.lock.digest for claim in claims)


def signing_moment() -> datetime:
    """Return the time, or that of SOURCE_DATE_EPOCH, by which two runs sign the same text.

    Raises:
        UsageProblem: that is no time.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return datetime.now(UTC)
    seconds = whole_number(given)
    if seconds is None or seconds > LAST_EPOCH:
        raise UsageProblem("SOURCE_DATE_EPOCH: expected seconds since 1970-01-01")
    return datetime.fromtimestamp(seconds, UTC)


def _beside(iso: Path, end: str) -> Path:
    return iso.with_name(iso.name.removesuffix(".iso") + end)


def _made_by(signer: Signer, path: Path) -> bool:
    """Say if a signature file is of this key, about whatever ISO."""
    try:
        envelope = read_signature(read_bytes(path, BUNDLE_FILE.size), str(path)).envelope
    except (InputError, IntegrityError):
        return False
    return signer.public.made(envelope.signatures[0].sig, envelope.signed)


def bundles_beside(iso: Path) -> tuple[Path, ...]:
    """Return the signature files beside an ISO, or beside its side files: the usual one first.

    ``NAME.sigstore.json``, and ``NAME.WORD.sigstore.json`` of further signers.
    """
    usual = _beside(iso, SIGNED)
    base = f"{iso.name.removesuffix('.iso')}."
    others = (path for path in iso.parent.glob(f"*{SIGNED}") if path.name.startswith(base))
    return tuple(path for path in dict.fromkeys((usual, *sorted(others))) if is_file(path))


def _check(
    paths: Sequence[Path],
    trusted: TrustedKeys,
    digest: Digest,
    files: Mapping[str, Digest] | None = None,
) -> SignatureCheck:
    if len(paths) > _MOST_BUNDLES:
        raise IntegrityError(
            f"{paths[0]}: expected at most {_MOST_BUNDLES} signatures of an ISO, got {len(paths)}"
        )
    read = ((str(path), read_bytes(path, BUNDLE_FILE.size)) for path in paths)
    return check_signatures(read, trusted, digest, files)


def signature_findings(
    iso: Path, digest: Digest, wanted: Signatures, files: Mapping[str, Digest] | None = None
) -> tuple[tuple[SignedClaim, ...], tuple[Finding, ...]]:
    """Return the signatures that hold of an ISO with this digest, and what is wrong with others.

    Raises:
        InputError: a signature file cannot be read.
    """
    paths = wanted.files or bundles_beside(iso)
    check = _check(paths, wanted.trusted, digest, files)
    return check.claims, tuple(_findings(iso, check, wanted, bool(paths)))


def _findings(
    iso: Path, check: SignatureCheck, wanted: Signatures, there: bool
) -> Iterator[Finding]:
    for place, why in check.refused:
        yield Finding(
            rule=_RULE,
            place=place,
            fact=why,
            remedy="do not use the ISO before it is known where this file comes from",
        )
    for place, why in check.strangers:
        yield Finding(
            rule=_RULE,
            place=place,
            fact=f"does not count: {why}",
            remedy="name its key with --key if it should",
            severity="warning",
        )
    if (lacks := check.missing(wanted.needed)) is not None:
        where = f"{iso.name.removesuffix('.iso')}{SIGNED}"
        yield Finding(
            rule=_RULE,
            place="the ISO" if there else where,
            fact=lacks if there else f"{lacks}: there is no such file beside the ISO",
            remedy="get the signature from where the ISO came from; isobuilder sign makes one",
        )


def demand(iso: Path, digest: Digest, wanted: Signatures) -> tuple[SignedClaim, ...]:
    """Return the signatures by which an ISO of this digest may be used.

    ``iso`` is where it lies, or would lie; only its name counts.

    Raises:
        IntegrityError: they are missing, or one is wrong.
        InputError: a signature file cannot be read.
    """
    claims, findings = signature_findings(iso, digest, wanted)
    wrong = [f"{one.place}: {one.fact}" for one in findings if one.severity == "error"]
    if wrong:
        raise IntegrityError(*wrong, hint="isobuilder verify ISO --key KEY tells more")
    return claims


def unsigned(item: Item, wanted: Signatures) -> tuple[Unfit, ...]:
    """Return why an ISO of a catalogue may not be used, by the signatures beside its side file."""
    if item.place is None:
        return ()
    registration = item.registration
    try:
        digest = Digest.from_hex(registration.checksum.hex)
        demand(item.iso or item.place.with_name(registration.filename), digest, wanted)
    except (InputError, IntegrityError) as error:
        facts = error.lines
    else:
        return ()
    hint = "take it from the servers, and ask who put it there"
    return tuple(Unfit("signature", "error", fact, hint, "its signature") for fact in facts)
