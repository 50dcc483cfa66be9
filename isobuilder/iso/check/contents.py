"""What is wrong with an ISO as an ISO: its structure, its checksums, its manifest.

What a node makes of the files is the business of ``contract``, what is inside the image archives
that of ``archives``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.sums import sum_line
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.check.boot import check_boot
from isobuilder.iso.check.structure import check_structure
from isobuilder.iso.check.subject import Check, Subject, wrong
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.medium import MANIFEST, SUMS, Medium
from isobuilder.model.finding import MOST_COUNTED, Finding, bounded
from isobuilder.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class IsoCheck:
    """The findings, and the digests that were needed for them."""

    findings: tuple[Finding, ...]
    digest: Digest | None  # of the image, when it was asked for
    files: Mapping[str, Digest]  # of every file on it


def check_iso(
    reader: IsoReader,
    *,
    medium: Medium | None = None,
    label: str | None = None,
    whole: bool = True,
    progress: Progress = SILENT,
) -> IsoCheck:
    """Return everything that is wrong with structure, checksums and manifest.

    Every byte is read once; with ``whole`` the image itself is hashed in the same pass. ``label``
    is the volume label to expect, None if any will do. ``medium`` is what other checks read the
    files through; it learns their digests.

    Raises:
        IntegrityError: a path table cannot be read, or the file shrinks meanwhile.
        EnvironmentProblem: the file cannot be read.
    """
    digests = hash_iso(reader, whole=whole, progress=progress)
    medium = medium or Medium(reader)
    medium.known(digests.files)
    subject = Subject(reader, medium, digests.files, label, digests.unclaimed)
    sums = list(bounded(check_sums(subject)))
    subject = replace(subject, told=frozenset(finding.place for finding in sums))
    findings: list[Finding] = []
    for check in _CHECKS:
        findings += bounded(list(islice(check(subject), MOST_COUNTED)))
    return IsoCheck((*sums, *findings), digests.image, digests.files)


def check_sums(subject: Subject) -> Iterator[Finding]:
    """Give the differences between SHA256SUMS and what is there, in both directions."""
    text, why = _text(subject, SUMS)
    if not subject.files.keys() & {SUMS, MANIFEST}:
        yield Finding(
            rule="iso.sums",
            place=f"{SUMS}, {MANIFEST}",
            fact="there is neither, so no file is checked against a list; nodes take such a disc",
            remedy="nothing has to be done for a disc of another builder; build one that has both",
            severity="warning",
        )
        return
    if text is None:
        yield wrong("iso.sums", SUMS, f"{why}, so no node can check the files")
        return
    listed: dict[str, str] = {}
    for number, raw in enumerate(io.StringIO(text, newline="\n"), 1):
        line = raw.removesuffix("\n")
        read = sum_line(line)
        if read is None or not read.is_sha256 or read.escaped or read.digits.lower() != read.digits:
            yield wrong("iso.sums", f"{SUMS} line {number}", f"not a checksum: {line[:80]!r}")
            continue
        path = read.path.removeprefix("./")
        if listed.setdefault(path, read.digits) != read.digits:
            yield wrong("iso.sums", f"{SUMS} line {number}", f"a second hash for {path}")
    yield from _compare("iso.sums", SUMS, listed, subject.files, but={SUMS})


def check_manifest(subject: Subject) -> Iterator[Finding]:
    """Give the differences between manifest.json and what is there.

    Manifests of other builders are checked for their files and images only. Files that do not fit
    SHA256SUMS either are one mistake, which was told.
    """
    files = subject.files
    if not files.keys() & {SUMS, MANIFEST}:
        return  # which was told
    if MANIFEST not in files:
        yield wrong("iso.manifest", MANIFEST, "there is none, so nodes do not check any file")
        return
    data = subject.medium.json(MANIFEST)
    if isinstance(data, dict) and "lock_sha256" in data:  # one of ours
        ours = subject.medium.manifest
        data = ours if isinstance(ours, IntegrityError) else data
    if isinstance(data, IntegrityError):
        yield wrong("iso.manifest", MANIFEST, f"not a manifest: {str(data).splitlines()[0][:200]}")
        return
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        yield wrong("iso.manifest", MANIFEST, "not a manifest: no object with files")
        return
    listed = {str(path): str(sha256) for path, sha256 in data["files"].items()}
    for finding in _compare("iso.manifest", MANIFEST, listed, files, but={MANIFEST, SUMS}):
        if finding.place not in subject.told:
            yield finding
    yield from _check_system(data, files)
    images = data.get("images")
    for number, image in enumerate(images if isinstance(images, list) else []):
        path = image.get("path") if isinstance(image, dict) else None
        found = files.get(path) if isinstance(path, str) else None
        if (found is None or image.get("sha256") != found.hex) and path not in subject.told:
            yield wrong(
                "iso.manifest",
                f"{MANIFEST} images[{number}]",
                f"its archive {path!r} is not on the ISO or has another hash",
            )


def _check_system(data: Mapping[str, Any], files: Mapping[str, Digest]) -> Iterator[Finding]:
    """Check that a manifest of ours tells of the operating system that is there."""
    system = data.get("operating_system")
    told = system.get("payload_sha256") if isinstance(system, dict) else None
    found = files[PAYLOAD].hex if PAYLOAD in files else None
    if "lock_sha256" in data and told != found:
        fact = f"it tells of the OS payload {told}, {PAYLOAD} is {found}"
        yield wrong("iso.manifest", f"{MANIFEST} operating_system", fact)


def _compare(
    rule: str, source: str, listed: Mapping[str, str], files: Mapping[str, Digest], *, but: set[str]
) -> Iterator[Finding]:
    for path in sorted(listed.keys() - files.keys()):
        yield wrong(rule, path, f"listed in {source}, not on the ISO")
    for path in sorted(files.keys() - listed.keys() - but):
        yield wrong(rule, path, f"on the ISO, not listed in {source}")
    for path in sorted(files.keys() & listed.keys()):
        if listed[path] != files[path].hex:
            yield wrong(
                rule, path, f"expected sha256 {listed[path][:64]} ({source}), got {files[path].hex}"
            )


def _text(subject: Subject, path: str) -> tuple[str | None, str]:
    """Return a text file, or why not."""
    if path not in subject.files:
        return None, "there is none"
    text = subject.medium.text(path)
    return (None, str(text)) if isinstance(text, IntegrityError) else (text, "")


_CHECKS: tuple[Check, ...] = (check_structure, check_manifest, check_boot)
"""Every check but that of SHA256SUMS, which comes first: what it tells, others need not tell."""
