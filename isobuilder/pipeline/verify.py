"""ISO -> everything that is wrong with it, trusting nothing but the ISO itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder.contract.deep import Programs, import_all
from isobuilder.contract.play import play
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.reference import ImageReference
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.check.archives import Expected, check_archives
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import LABEL, Medium
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.profile import DEFAULT_PROFILE, ProfileName
from isobuilder.progress import SILENT, Progress
from isobuilder.sources.checksums import parse

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
    progress: Progress = SILENT,
) -> Verification:
    """Check an ISO as a file, as a set of files, as image archives, and as the node sees it.

    ``expected`` is the digest the ISO should have, else that of a checksum file beside it, if there
    is one; ``lock`` is what it should be made from. ``layers``
    also unpacks layers and programs to look inside; ``deep`` imports every archive into an isolated
    containerd, that of ``containerd`` or the installed one.

    Raises:
        EnvironmentProblem: the file cannot be read, or ``deep`` has no containerd to use.
    """
    size = iso.stat().st_size
    expected = expected or promised(iso)
    try:
        reader = IsoReader(iso)
    except IntegrityError as error:
        finding = _damaged(error)
        return Verification(iso, size, None, profile or DEFAULT_PROFILE, ("structure",), (finding,))
    with reader:
        verifier = _Verifier(reader, Medium(reader), profile, progress)
        return verifier.run(lock, expected, layers, deep, containerd)


def promised(iso: Path) -> Digest | None:
    """Return the digest that ``<name>.sha256`` beside the ISO gives for it, if it does."""
    path = iso.with_name(f"{iso.name}.sha256")
    try:
        with path.open("rb") as file:
            data = file.read(_CHECKSUM_LIMIT)
        return parse(data, place=str(path)).sha256_for(iso.name)
    except (OSError, InputError, IntegrityError):
        return None  # none, or not about this file: it promises nothing


@dataclass(slots=True)
class _Verifier:
    reader: IsoReader
    medium: Medium
    profile: ProfileName | None
    progress: Progress

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
    ) -> Verification:
        reader, findings, checked = self.reader, list[Finding](), ["structure", "checksums"]
        profile = self.profile or (self.manifest.profile if self.manifest else DEFAULT_PROFILE)
        self.progress.step(f"hashing {reader.path.name}")
        digest: Digest | None = None
        try:
            structure = check_iso(reader, medium=self.medium, label=LABEL, progress=self.progress)
        except IntegrityError as error:
            findings.append(_damaged(error))
        else:
            digest = structure.digest
            findings += structure.findings
            if lock is not None:
                checked.append("lock")
                findings += self._against_lock(lock, structure.files)
        if expected is not None:
            checked.append("digest")
            if digest != expected:
                findings.append(_other_digest(expected, digest))
        self.progress.step("image archives")
        checked.append("archives with layers" if layers else "archives")
        for report in check_archives(
            self.medium, self._archives(), layers=layers, progress=self.progress
        ):
            findings += report.findings
        self.progress.step(f"playing a {profile} node")
        checked.append(f"node of {profile}")
        findings += play(
            self.medium,
            profile=profile,
            kubernetes=self.manifest.kubernetes_version if self.manifest else None,
            architecture=self.manifest.architecture if self.manifest else None,
            unpack=layers,
        )
        if deep:
            self.progress.step("importing into an isolated containerd")
            checked.append("containerd import")
            programs = Programs(containerd, containerd.with_name("ctr")) if containerd else None
            findings += import_all(
                self.medium, profile=profile, programs=programs, progress=self.progress
            )
        return Verification(
            reader.path, reader.size, digest, profile, tuple(checked), tuple(_once(findings))
        )

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
                    digest=ImageReference.parse(image.reference).digest,
                    architecture=self.manifest.architecture,
                )
        return found

    def _against_lock(self, lock: Lock, files: Mapping[str, Digest]) -> Iterator[Finding]:
        lock = self._as_built(lock)
        pinned = {file.path: file.sha256 for file in lock.files}
        pinned |= {item.path: item.sha256 for item in lock.manifests if item.images == "keep"}
        for path, digest in sorted(pinned.items()):
            if files.get(path) != digest:
                fact = f"the ISO has {files[path]}" if path in files else "it is not there"
                yield _not_locked(path, f"the lock pins {digest}, {fact}")
        on_iso = {image.resolved_from for image in self.manifest.images} if self.manifest else set()
        for image in lock.images:
            if image.reference not in on_iso or image.archive not in files:
                yield _not_locked(
                    image.archive, f"the lock pins {image.reference}, it is not there"
                )
        yield from _boot_against_lock(lock.boot, files)
        if self.manifest is not None and self.manifest.lock_sha256 != lock.digest.hex:
            yield _not_locked(
                "manifest.json",
                f"made from the lock {self.manifest.lock_sha256}, this lock is {lock.digest.hex}",
            )

    def _as_built(self, lock: Lock) -> Lock:
        """Return ``lock`` with the ISO's own OS payload, where it leaves that to the build."""
        if lock.boot is None or lock.boot.payload is not None:
            return lock
        if PAYLOAD not in self.reader.files:
            return lock.model_copy(update={"boot": None})  # as a build makes it without a payload
        payload = self.medium.payload(PAYLOAD)
        if isinstance(payload, IntegrityError):
            return lock  # the checks of the boot structure say what is wrong with it
        own = LockedBoot.of(payload)
        return lock.model_copy(update={"boot": own}) if own.name == lock.boot.name else lock


def _boot_against_lock(boot: LockedBoot | None, files: Mapping[str, Digest]) -> Iterator[Finding]:
    """Compare the OS payload's description; that the rest is what it says is checked elsewhere."""
    found = files.get(PAYLOAD)
    fact = f"the ISO has {found}" if found is not None else "it is not there"
    if boot is None:
        if found is not None:
            yield _not_locked(PAYLOAD, f"the lock has no OS payload, {fact}")
    elif boot.payload is None:
        yield _not_locked(PAYLOAD, f"the lock wants an OS payload {boot.name}, {fact}")
    elif boot.payload != found:
        yield _not_locked(PAYLOAD, f"the lock pins {boot.payload}, {fact}")


def _once(findings: Sequence[Finding]) -> Iterator[Finding]:
    seen: set[Finding] = set()
    for finding in findings:
        if finding not in seen:
            seen.add(finding)
            yield finding


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


def _not_locked(place: str, fact: str) -> Finding:
    return Finding(
        rule="lock.pin",
        place=place,
        fact=fact,
        remedy="build the ISO from this lock, or name its own",
    )
