"""Lock -> the same lock with what proves, years later and offline, who signed what it names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from isobuilder.cancel import pooled
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError, IsobuilderError, UpstreamError
from isobuilder.files import own_path, read_bytes, write_whole
from isobuilder.model.lock import Lock, LockedFile, LockedImage
from isobuilder.model.recipe import Recipe
from isobuilder.model.trust.claims import (
    EVIDENCE,
    EvidenceFile,
    EvidenceKind,
    LockedTrust,
    SignatureClaim,
)
from isobuilder.model.trust.policies import ExpectedSigner, SignaturePolicy, repository_of
from isobuilder.sources.evidence import EvidenceSource, ImageSignature, decoded
from isobuilder.sources.session import Session
from isobuilder.text import printable
from isobuilder.trust.dsse import envelope_of
from isobuilder.trust.evidence import rekor
from isobuilder.trust.evidence.bundle import SignatureBundle, write_bundle
from isobuilder.trust.evidence.certificates import certificate_of, der_of
from isobuilder.trust.evidence.claims import ProvenClaim, prove
from isobuilder.trust.evidence.fields import Fields
from isobuilder.trust.evidence.keys import need_library
from isobuilder.trust.evidence.policies import policies_for
from isobuilder.trust.evidence.root import TrustedRoot, load_root

_log = logging.getLogger(__name__)

_MOST_KEPT = 4  # signatures of one image
_LARGEST = 16 * 1024 * 1024  # bytes of one text of evidence
_ENDS: Mapping[EvidenceKind, str] = {
    "bundle": "sigstore.json",
    "payload": "signed.json",
    "index": "index.json",
    "openpgp": "asc",
}

Text = tuple[EvidenceKind, bytes]


class _NotSigned(IntegrityError):
    """There is no signature, or none that proves anything; says why."""


def with_evidence(
    lock: Lock,
    recipe: Recipe,
    session: Session,
    *,
    folder: str,
    before: Lock | None,
    enforced: bool = False,
) -> Lock:
    """Return ``lock`` with a claim for each file and image that a policy expects to be signed.

    The texts go into the store; ``write_evidence`` puts them into ``folder`` beside the lock. What
    ``before`` has of the same bytes, and still proves them, is kept as it is. What a shipped policy
    needs is refused only if ``enforced``; what a recipe or a file of policies needs is needed.

    Raises:
        IntegrityError: a policy needs a signature that is not there, or proves nothing.
        InputError: a file names a policy that there is not, or a policy or root is wrong.
        EnvironmentProblem: a policy needs signatures, and the extra ``trust`` is not installed.
    """
    policies = policies_for(lock, recipe, _path(session.config.policies), enforced)
    subjects = [*_subjects(lock, policies)]
    if not subjects:
        return lock
    try:
        need_library()
    except EnvironmentProblem as problem:
        if any(one.policy.level == "needed" for one in subjects):
            raise
        _log.warning("%s; %s", problem, problem.hint)
        return lock
    session.progress.step("signatures and what proves them")
    capture = _Capture(lock, session, load_root(_path(session.config.trusted_root)), before)
    with pooled(session.registry.jobs, "evidence", end=session.http.close) as pool:
        claims = list(pool.map(capture.claim, subjects))
    used = {one.name: one.policy for one in subjects}
    trust = LockedTrust(
        kubernetes=lock.kubernetes, policies=used, claims=tuple(claims), folder=folder
    )
    return lock.model_copy(update={"trust": trust})


def write_evidence(lock: Lock, folder: Path, session: Session) -> None:
    """Write the texts of evidence beside the lock: for reviews, and for builds elsewhere."""
    if lock.trust is None or lock.trust.folder is None:
        return
    for path, one in lock.trust.files.items():
        blob = session.store.find(one.sha256)
        target = folder / lock.trust.folder / path.removeprefix(f"{EVIDENCE}/")
        if blob is not None:
            target.parent.mkdir(exist_ok=True)
            write_whole(target, blob.read())


def locked_text(lock: Lock, one: EvidenceFile, session: Session) -> bytes:
    """Return a text of a lock's evidence, of the store or beside the lock; then the store has it.

    Raises:
        EnvironmentProblem: neither has it.
    """
    blob = session.store.find(one.sha256)
    if blob is not None:
        return blob.read()
    folder = None if lock.trust is None else lock.trust.folder
    if lock.folder is None or folder is None:
        raise EnvironmentProblem(f"{one.path}: not here")
    beside = lock.folder / folder / one.path.removeprefix(f"{EVIDENCE}/")
    try:
        data = read_bytes(beside, _LARGEST)
    except IsobuilderError as error:
        raise EnvironmentProblem(f"{one.path}: not here") from error
    if Digest.of(data) != one.sha256:
        raise EnvironmentProblem(f"{one.path}: not here: {beside} is another text")
    session.store.add_bytes(data)
    return data


def _path(text: str | None) -> Path | None:
    return None if text is None else own_path(text)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A file or image of which a policy expects a signature."""

    item: LockedFile | LockedImage
    name: str  # of the policy
    policy: SignaturePolicy
    expected: ExpectedSigner

    @property
    def title(self) -> str:
        return self.item.name if isinstance(self.item, LockedFile) else self.item.reference

    @property
    def base(self) -> str:
        """How its evidence is called."""
        if isinstance(self.item, LockedFile):
            return self.item.name
        last = self.item.parsed.repository.rpartition("/")[2]
        return f"{last}-{self.item.digest.hex[:12]}"

    def claim(self, *texts: EvidenceFile, why: str = "", excepted: bool = False) -> SignatureClaim:
        """Return what is known of it."""
        is_file = isinstance(self.item, LockedFile)
        status = "signed" if texts else "excepted" if excepted else "unsigned"
        data = {
            "subject": self.title,
            "what": "files" if is_file else "images",
            "path": self.item.path if isinstance(self.item, LockedFile) else self.item.archive,
            "sha256": self.item.sha256 if isinstance(self.item, LockedFile) else self.item.digest,
            "url": self.item.url if isinstance(self.item, LockedFile) else self.item.reference,
            "policy": self.name,
            "status": status,
            "why": printable(why, 1000),
            "evidence": texts,
        }
        return SignatureClaim.model_validate(data)


def _subjects(lock: Lock, policies: Mapping[str, SignaturePolicy]) -> Iterator[_Subject]:
    for file in lock.files:
        name = file.evidence.signature
        if name is not None and (expected := policies[name].files) is not None:
            yield _Subject(file, name, policies[name], expected)
    for image in lock.images:
        for name, policy in sorted(policies.items()):
            if policy.images is not None and policy.covers_image(image.parsed.name):
                yield _Subject(image, name, policy, policy.images)
                break


@dataclass(slots=True)
class _Capture:
    lock: Lock
    session: Session
    root: TrustedRoot
    before: Lock | None
    source: EvidenceSource = field(init=False)

    def __post_init__(self) -> None:
        self.source = EvidenceSource(self.session)

    def claim(self, subject: _Subject) -> SignatureClaim:
        """Return what there is to say about the signature of a file or image."""
        if (known := self._known(subject)) is not None:
            return known
        try:
            texts = self._texts(subject)
        except (IntegrityError, UpstreamError) as error:
            return self._without(subject, error)
        for _, data in texts:
            self.session.store.add_bytes(data)
        return subject.claim(*_named(subject.base, texts))

    def _without(self, subject: _Subject, error: IsobuilderError) -> SignatureClaim:
        """Return the claim of what is not signed, where the policy puts up with that."""
        what = "files" if isinstance(subject.item, LockedFile) else "images"
        known = subject.policy.exception(self.lock.kubernetes, what)  # type: ignore[arg-type]
        today = datetime.now(UTC).date()
        if known is not None and (known.until is None or today <= known.until):
            return subject.claim(why=known.reason, excepted=True)
        if subject.policy.level == "needed":
            raise type(error)(
                f"{subject.title}: the policy {subject.name} needs a signature of "
                f"{subject.expected}: {error}",
                hint="isobuilder trust show tells what is expected; an exception with a reason and "
                "a day is written into the recipe's trust",
            ) from error
        _log.warning("%s: unsigned: %s", subject.title, error)
        return subject.claim(why=str(error))

    def _known(self, subject: _Subject) -> SignatureClaim | None:
        """Return the claim of the lock that was there, if it still proves the same bytes."""
        trust = None if self.before is None else self.before.trust
        wanted = subject.claim(why="-")
        old = None if trust is None else trust.claim_of(wanted.path)
        if trust is None or old is None or old.status != "signed":
            return None
        if (old.sha256, old.url, old.policy) != (wanted.sha256, wanted.url, wanted.policy):
            return None
        try:
            prove(old, subject.expected, self._body, lambda: self._content(subject), self.root)
        except (IntegrityError, EnvironmentProblem):
            return None
        return old

    def _body(self, one: EvidenceFile) -> bytes:
        if self.before is None:
            raise EnvironmentProblem(f"{one.path}: not here")
        return locked_text(self.before, one, self.session)

    def _content(self, subject: _Subject) -> bytes:
        wanted = subject.claim(why="-").sha256
        blob = self.session.store.find(wanted)
        if blob is None:
            raise EnvironmentProblem(f"{subject.title}: not here")
        return blob.read()

    # --- what is served ---

    def _texts(self, subject: _Subject) -> list[Text]:
        if isinstance(subject.item, LockedImage):
            return self._of_image(subject, subject.item)
        texts = self._of_file(subject.item, subject.expected)
        if len(texts) > 1:
            return self._good(subject, ([text] for text in texts))
        self._proven(subject, texts)
        return texts

    def _good(self, subject: _Subject, candidates: Iterable[list[Text]]) -> list[Text]:
        """Return what proves something: others may have signed as well, or something else."""
        kept: list[Text] = []
        reasons: dict[str, None] = {}
        for texts in candidates:
            try:
                self._proven(subject, texts)
            except IntegrityError as error:
                _log.info("%s: %s", subject.title, error)
                reasons[str(error)] = None
                continue
            kept += [text for text in texts if text not in kept]
            if sum(kind == "bundle" for kind, _ in kept) == _MOST_KEPT:
                break
        if not kept and reasons:
            raise _NotSigned("; ".join(reasons))
        return kept

    def _proven(self, subject: _Subject, texts: Sequence[Text]) -> list[ProvenClaim]:
        bodies = {Digest.of(data): data for _, data in texts}
        claim = subject.claim(*_named(subject.base, texts))
        return prove(
            claim,
            subject.expected,
            lambda one: bodies[one.sha256],
            lambda: self._content(subject),
            self.root,
        )

    def _of_file(self, file: LockedFile, expected: ExpectedSigner) -> list[Text]:
        if expected.form == "clear-signed":
            url = file.evidence.url or f"{file.url}.asc"
            return [("openpgp", self._there(url))]
        if expected.form == "detached":
            return [("openpgp", self._there(f"{file.url}.asc"))]
        if expected.form == "bundle":
            return [("bundle", self._there(f"{file.url}.sigstore.json"))]
        if expected.form == "attestation":
            repository = repository_of(file.url)
            if repository is None:
                raise _NotSigned(f"{file.url}: not of a project at github.com")
            found = self.source.attestations(repository, file.sha256)
            if not found:
                raise _NotSigned(f"{repository} has no attestation of it")
            return [("bundle", data) for data in found]
        signature = decoded(self._there(f"{file.url}.sig"))
        if expected.key is not None:
            signed = SignatureBundle(None, "", (), (), signature, file.sha256, None)
            return [("bundle", write_bundle(signed))]
        pem = decoded(self._there(f"{file.url}.cert"))
        return [("bundle", self._pair(file, signature, pem))]

    def _there(self, url: str) -> bytes:
        data = self.source.file(url)
        if data is None:
            raise _NotSigned(f"there is no {url}")
        return data

    def _pair(self, file: LockedFile, signature: bytes, pem: bytes) -> bytes:
        """Return the bundle of a signature and a certificate, with the log's entry of them."""
        der = der_of(certificate_of(pem, f"{file.url}.cert"))
        question = rekor.question(signature, pem, file.sha256)
        asked = []
        for log in self.root.logs:
            answer = self.source.question(f"{log.url}{rekor.SEARCH}", question)
            entries = rekor.answered(answer, log.url) if answer is not None else []
            if entries:
                bundle = SignatureBundle(der, "", (entries[0],), (), signature, file.sha256, None)
                return write_bundle(bundle)
            asked.append(log.url)
        raise _NotSigned(f"no log has an entry of it: {', '.join(asked) or 'no log is trusted'}")

    def _of_image(self, subject: _Subject, image: LockedImage) -> list[Text]:
        reasons = []
        for digest in dict.fromkeys(one for one in (image.digest, image.index) if one):
            try:
                if kept := self._good(subject, self._candidates(image, digest)):
                    return kept
            except _NotSigned as error:
                reasons.append(str(error))
        if reasons:
            raise _NotSigned("; ".join(dict.fromkeys(reasons)))
        raise _NotSigned("no signature under a tag and none among the referrers")

    def _candidates(self, image: LockedImage, digest: Digest) -> Iterator[list[Text]]:
        """Give what may be signatures of an image, or with its index those of the index."""
        more: list[Text] = []
        if digest != image.digest:
            more = [("index", self.source.index(image.parsed, digest))]
        for signature in self.source.tagged(image.parsed, digest):
            try:
                yield [*self._noted(signature), *more]
            except IntegrityError as error:
                _log.info("%s", error)
        for data in self.source.referring(image.parsed, digest):
            yield [("bundle", data), *more]

    def _noted(self, signature: ImageSignature) -> list[Text]:
        """Return what cosign put beside an image as a bundle, with a proof if the log gives one."""
        place = signature.place
        if signature.is_statement:
            envelope = envelope_of(Fields.read(signature.data, place).value, place)
            bundle, _ = rekor.noted(signature.annotations, envelope, place)
        else:
            bundle, _ = rekor.noted(signature.annotations, signature.data, place)
        bundle = self._with_proof(bundle, place)
        texts: list[Text] = [("bundle", write_bundle(bundle))]
        return texts if signature.is_statement else [*texts, ("payload", signature.data)]

    def _with_proof(self, bundle: SignatureBundle, place: str) -> SignatureBundle:
        for entry in bundle.entries:
            log = next((one for one in self.root.logs if one.log_id == entry.log_id), None)
            if log is None:
                continue
            try:
                answer = self.source.file(f"{log.url}{rekor.BY_INDEX}{entry.index}")
                found = rekor.answered(answer, log.url) if answer is not None else []
            except (UpstreamError, IntegrityError) as error:
                _log.info("%s: %s", place, error)
                continue
            if found and found[0].body == entry.body:
                return replace(bundle, entries=(found[0],))
        return bundle


def _named(base: str, texts: Sequence[Text]) -> list[EvidenceFile]:
    """Return the texts with the names that they get."""
    found = []
    counted: dict[str, int] = {}
    for kind, data in texts:
        number = counted[kind] = counted.get(kind, 0) + 1
        name = base if number == 1 else f"{base}.{number}"
        found.append(
            EvidenceFile(
                kind=kind,
                path=f"{EVIDENCE}/{name}.{_ENDS[kind]}",
                sha256=Digest.of(data),
                size=len(data),
            )
        )
    return found
