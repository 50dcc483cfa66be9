"""ISO -> everything that is wrong with it, trusting nothing but the ISO itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isobuilder import __version__
from isobuilder.contract.deep import Programs, import_all
from isobuilder.contract.play import play
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import is_file
from isobuilder.formats.sums import only_sum
from isobuilder.iso.check.archives import Expected, check_archives
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import LABEL, MANIFEST, SBOM, Medium
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock
from isobuilder.model.profile import DEFAULT_PROFILE, ProfileName
from isobuilder.pipeline.beside import changed_beside, side_texts
from isobuilder.progress import SILENT, Progress
from isobuilder.sources.checksums import parse
from isobuilder.store import Store

if TYPE_CHECKING:
    from isobuilder.pipeline.against_lock import Proof
    from isobuilder.pipeline.provenance.signing import Signatures
    from isobuilder.pipeline.trust import SignatureLine, Trust, TrustReport

_WHOLE = "bytes of the whole image"
"""What a digest proves that came another way than the ISO."""

ORIGIN = "where it comes from: neither a lock nor a digest that came another way was named"
"""What nobody can tell of an ISO by itself, or by what lies beside it."""

_CHECKSUM_LIMIT = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found, and what was looked at."""

    iso: Path
    size: int  # bytes
    digest: Digest | None  # None when the file is no ISO
    profile: ProfileName
    checked: tuple[str, ...]  # what was looked at, for people
    findings: tuple[Finding, ...]
    proved: tuple[str, ...] = ()  # what is as a lock or a digest from elsewhere says, for people
    not_proved: tuple[str, ...] = ()  # and what nobody could tell
    signatures: tuple[SignatureLine, ...] = ()  # with ``trust``: who signed what
    signed: tuple[str, ...] = ()  # which signatures hold, for people
    needs: tuple[str, ...] = ()  # what its nodes need that no ISO brings, for people

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; warnings are allowed."""
        return not any(finding.severity == "error" for finding in self.findings)


def verify(
    iso: Path,
    *,
    lock: Lock | None = None,
    expected: Digest | None = None,
    profile: ProfileName | None = None,
    layers: bool = True,
    deep: bool = False,
    containerd: Path | None = None,
    strict: bool = False,
    signatures: Signatures | None = None,
    store: Store | None = None,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check an ISO as a file, as a set of files, as image archives, and as the node sees it.

    ``expected`` is the digest it should have, which came another way and so proves its bytes. Else
    that of a checksum file beside it is compared, if there is one, which proves nothing: whoever
    can exchange one can exchange the other. ``lock`` is what it should be made from, which is
    proved down to the last byte from the lock and the ISO alone; ``store`` is only asked for what
    was changed for the ISO. ``layers`` also unpacks layers and programs to look inside; ``deep``
    imports every archive into an isolated containerd, that of ``containerd`` or the installed one.
    With ``strict`` a warning is an error. ``trust`` is by what the signatures are judged whose
    evidence is on the ISO; without it nobody looks at them. ``signatures`` demands signatures
    beside the ISO by keys that count, which prove its bytes as well.

    Raises:
        InputError: a signature file cannot be read.
        EnvironmentProblem: the file cannot be read, or ``deep`` has no containerd to use.
    """
    try:
        reader = IsoReader(iso)
    except IntegrityError as error:
        finding, size = _damaged(error), iso.stat().st_size
        return Verification(iso, size, None, profile or DEFAULT_PROFILE, ("structure",), (finding,))
    with reader:
        verifier = _Verifier(reader, Medium(reader), profile, progress)
        verifier.trust = trust
        result = verifier.run(lock, expected or promised(iso), layers, deep, containerd, store)
    if signatures is not None and result.digest is not None:
        from isobuilder.pipeline.provenance.signing import signature_findings

        claims, wrong = signature_findings(iso, result.digest, signatures, verifier.files)
        result = replace(
            result,
            checked=(*result.checked, "signatures"),
            findings=(*result.findings, *wrong),
            signed=tuple(map(str, claims)),
        )
    result = _told(result, lock, expected)
    if not strict:
        return result
    findings = (one.model_copy(update={"severity": "error"}) for one in result.findings)
    return replace(result, findings=tuple(findings))


def _told(result: Verification, lock: Lock | None, expected: Digest | None) -> Verification:
    """Add what is proved, or is not, by a digest that came another way or by a signature."""
    known = bool(result.signed) or (expected is not None and expected == result.digest)
    whole = (_WHOLE,) if known else ()
    open_ends = () if whole or lock is not None else (ORIGIN,)
    return replace(
        result,
        proved=(*result.proved, *whole),
        not_proved=(*result.not_proved, *open_ends),
    )


def promised(iso: Path) -> Digest | None:
    """Return the digest that ``<name>.sha256`` beside the ISO gives for it, if it does."""
    path = iso.with_name(f"{iso.name}.sha256")
    try:
        if not is_file(path):
            return None
        with path.open("rb") as file:
            data = file.read(_CHECKSUM_LIMIT)
        # Ours first: other forms have no names that are no text, or that a blank begins or ends.
        return only_sum(data, iso.name) or parse(data, place=str(path)).sha256_for(iso.name)
    except (OSError, InputError, IntegrityError):
        return None  # none, or not about this file: it promises nothing


@dataclass(slots=True)
class _Verifier:
    reader: IsoReader
    medium: Medium
    profile: ProfileName | None
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    trust: Trust | None = None
    files: Mapping[str, Digest] | None = None  # what each hashes to

    @property
    def manifest(self) -> IsoManifest | None:
        """manifest.json if it is ours; ``check_iso`` says what is wrong with it."""
        found = self.medium.manifest
        return None if isinstance(found, IntegrityError) else found

    def run(
        self,
        lock: Lock | None,
        expected: Digest | None,
        layers: bool,
        deep: bool,
        containerd: Path | None,
        store: Store | None,
    ) -> Verification:
        profile = self.profile or (self.manifest.profile if self.manifest else DEFAULT_PROFILE)
        digest, files = self._as_a_file(expected, against=lock)
        whole = self._image_archives(layers)
        proof: Proof | None = None
        if lock is not None and files is not None:
            self.progress.step("comparing with the lock")
            # Only what a lock says of an ISO needs all that makes one: a fifth of the start.
            from isobuilder.pipeline.against_lock import against_lock

            proof = against_lock(lock, self.reader, self.medium, files, whole, store)
            self.findings += proof.findings
            if proof.proved and digest is not None:
                self.findings += self._beside(proof, digest)
        report = self._signatures(files, lock)
        self.progress.step(f"playing a {profile} node")
        self.checked.append(f"node of {profile}")
        self.findings += play(
            self.medium,
            profile=profile,
            kubernetes=self.manifest.kubernetes_version if self.manifest else None,
            architecture=self.manifest.architecture if self.manifest else None,
            unpack=layers,
        )
        if deep:
            self.progress.step("importing into an isolated containerd")
            self.checked.append("containerd import")
            programs = Programs(containerd, containerd.with_name("ctr")) if containerd else None
            self.findings += import_all(
                self.medium, profile=profile, programs=programs, progress=self.progress
            )
        return Verification(
            self.reader.path,
            self.reader.size,
            digest,
            profile,
            tuple(self.checked),
            tuple(dict.fromkeys(self.findings)),
            proof.proved if proof else (),
            (*(proof.not_proved if proof else ()), *(report.open_ends if report else ())),
            tuple(report.lines) if report else (),
            needs=tuple(self._needs()),
        )

    def _needs(self) -> list[str]:
        """Return what a node needs beside the ISO: its kernel, control groups, containerd."""
        from isobuilder.rules.book import shipped_rules

        return shipped_rules().node_needs(self.manifest.kubernetes_version) if self.manifest else []

    def _signatures(
        self, files: Mapping[str, Digest] | None, lock: Lock | None
    ) -> TrustReport | None:
        """Return what the evidence on the ISO proves, if anybody asks."""
        if self.trust is None or files is None:
            return None
        from isobuilder.pipeline.trust import prove_signatures

        self.progress.step("signatures and what proves them")
        self.checked.append("signatures")
        report = prove_signatures(self.medium, files, self.manifest, self.trust, lock)
        self.findings += report.findings
        return report

    def _beside(self, proof: Proof, digest: Digest) -> Iterator[Finding]:
        """Give what is wrong with the side files of an ISO that is the lock's."""
        manifest = self.manifest
        if proof.lock is None or manifest is None or manifest.tool != __version__:
            return
        wanted = side_texts(
            proof.lock,
            name=self.reader.path.name,
            digest=digest,
            size=self.reader.size,
            manifest=self.medium.read(MANIFEST),
            sbom=self.medium.read(SBOM),
        )
        yield from changed_beside(self.reader.path, wanted)

    def _as_a_file(
        self, expected: Digest | None, *, against: Lock | None
    ) -> tuple[Digest | None, Mapping[str, Digest] | None]:
        """Return the digest of the image and of every file; None if it cannot be read through."""
        self.progress.step(f"hashing {self.reader.path.name}")
        self.checked += ["structure", "checksums", *(["lock"] if against is not None else [])]
        digest: Digest | None = None
        files: Mapping[str, Digest] | None = None
        try:
            structure = check_iso(
                self.reader, medium=self.medium, label=LABEL, progress=self.progress
            )
        except IntegrityError as error:
            self.findings.append(_damaged(error))
        else:
            digest, files = structure.digest, structure.files
            self.files = files
            self.findings += structure.findings
        if expected is not None:
            self.checked.append("digest")
            if digest != expected:
                self.findings.append(_other_digest(expected, digest))
        return digest, files

    def _image_archives(self, layers: bool) -> set[str]:
        """Return the archives of which every blob was hashed and is what its name says."""
        self.progress.step("image archives")
        self.checked.append("archives with layers" if layers else "archives")
        reports = check_archives(
            self.medium, self._archives(), layers=layers, progress=self.progress
        )
        for report in reports:
            self.findings += report.findings
        return {report.place for report in reports if layers and report.is_whole}

    def _archives(self) -> Mapping[str, Expected]:
        """Return what each archive should hold; of other builders' ISOs nothing is known."""
        found = {
            path: Expected()
            for path in self.reader.files
            if path.startswith("docker/") and path.endswith(".tar")
        }
        if self.manifest is not None:
            for image in self.manifest.images:
                found[image.path] = Expected(
                    names=(image.import_alias, *image.names),
                    digest=image.digest,
                    architecture=self.manifest.architecture,
                )
        return found


def _damaged(error: IntegrityError) -> Finding:
    return Finding(
        rule="iso.structure",
        place="the image",
        fact=str(error),
        remedy="get the ISO again and compare its sha256; do not use this one",
    )


def _other_digest(expected: Digest, digest: Digest | None) -> Finding:
    return Finding(
        rule="iso.digest",
        place="the image",
        fact=f"expected {expected}, got {digest}",
        remedy="get the ISO again; this is another or a damaged one",
    )
