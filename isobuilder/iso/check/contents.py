"""What is wrong with an ISO as an ISO: its structure, its checksums, its manifest.

What a node makes of the files is the business of ``node``, what is inside the image archives that
of ``archive_check``.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError

from isobuilder.digest import Digest
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.check.boot import check_boot
from isobuilder.iso.check.structure import check_structure
from isobuilder.iso.read.hashing import hash_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.progress import SILENT, Progress

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"

_MAX_TEXT = 16 * 1024 * 1024  # bytes of SHA256SUMS or manifest.json
_MAX_FINDINGS = 200  # of one kind: more of them say nothing more
_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")
_AGAIN = "build the ISO again; do not use this one"


@dataclass(frozen=True, slots=True)
class IsoCheck:
    """The findings, and the digests that were needed for them."""

    findings: tuple[Finding, ...]
    digest: Digest | None  # of the image, when it was asked for
    files: Mapping[str, Digest]  # of every file on it


def check_iso(
    reader: IsoReader,
    *,
    label: str | None = None,
    whole: bool = True,
    progress: Progress = SILENT,
) -> IsoCheck:
    """Return everything that is wrong with structure, checksums and manifest.

    Every byte is read once; with ``whole`` the image itself is hashed in the same pass. ``label``
    is the volume label to expect, None if any will do.

    Raises:
        IntegrityError: a path table cannot be read, or the file shrinks meanwhile.
        EnvironmentProblem: the file cannot be read.
    """
    digests = hash_iso(reader, whole=whole, progress=progress)
    sums = list(check_sums(reader, digests.files))
    told = {finding.place for finding in sums}
    boot = (item for item in check_boot(reader, digests.files) if item.place not in told)
    findings = [
        *_bounded(check_structure(reader, label=label)),
        *_bounded(iter(sums)),
        *_bounded(check_manifest(reader, digests.files, told=told)),
        *_bounded(boot),
    ]
    return IsoCheck(tuple(findings), digests.image, digests.files)


def check_sums(reader: IsoReader, files: Mapping[str, Digest]) -> Iterator[Finding]:
    """Give the differences between SHA256SUMS and what is there, in both directions.

    ``files`` is the digest of every file on the ISO.
    """
    text, why = _text(reader, SUMS)
    if text is None:
        yield _wrong("iso.sums", SUMS, f"{why}, so no node can check the files")
        return
    listed: dict[str, str] = {}
    for number, raw in enumerate(io.StringIO(text), 1):
        line = raw.removesuffix("\n")
        match = _SUMS_LINE.fullmatch(line)
        if match is None:
            yield _wrong("iso.sums", f"{SUMS} line {number}", f"not a checksum: {line[:80]!r}")
        elif listed.setdefault(match[2], match[1]) != match[1]:
            yield _wrong("iso.sums", f"{SUMS} line {number}", f"a second hash for {match[2]}")
    yield from _compare("iso.sums", SUMS, listed, files, but={SUMS})


def check_manifest(
    reader: IsoReader, files: Mapping[str, Digest], *, told: Collection[str] = ()
) -> Iterator[Finding]:
    """Give the differences between manifest.json and what is there.

    Manifests of other builders are checked for their files and images only. Files in ``told`` do
    not fit SHA256SUMS either, which is one mistake and was told.
    """
    text, why = _text(reader, MANIFEST)
    if text is None:
        yield _wrong("iso.manifest", MANIFEST, f"{why}, so nodes do not check any file")
        return
    try:
        data = _manifest_data(text)
    except (ValueError, RecursionError, ValidationError) as error:
        first = str(error).splitlines()[0] if str(error) else "nested too deeply"
        yield _wrong("iso.manifest", MANIFEST, f"not a manifest: {first[:200]}")
        return
    listed = {str(path): str(sha256) for path, sha256 in data["files"].items()}
    for finding in _compare("iso.manifest", MANIFEST, listed, files, but={MANIFEST, SUMS}):
        if finding.place not in told:
            yield finding
    yield from _check_system(data, files)
    images = data.get("images")
    for number, image in enumerate(images if isinstance(images, list) else []):
        path = image.get("path") if isinstance(image, dict) else None
        found = files.get(path) if isinstance(path, str) else None
        if (found is None or image.get("sha256") != found.hex) and path not in told:
            yield _wrong(
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
        yield _wrong("iso.manifest", f"{MANIFEST} operating_system", fact)


def _manifest_data(text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        raise ValueError("no object with files")  # noqa: TRY004 - wrong JSON like any other
    if "lock_sha256" in data:  # one of ours
        IsoManifest.model_validate_json(text)
    return data


def _compare(
    rule: str, source: str, listed: Mapping[str, str], files: Mapping[str, Digest], *, but: set[str]
) -> Iterator[Finding]:
    for path in sorted(listed.keys() - files.keys()):
        yield _wrong(rule, path, f"listed in {source}, not on the ISO")
    for path in sorted(files.keys() - listed.keys() - but):
        yield _wrong(rule, path, f"on the ISO, not listed in {source}")
    for path in sorted(files.keys() & listed.keys()):
        if listed[path] != files[path].hex:
            yield _wrong(
                rule, path, f"expected sha256 {listed[path][:64]} ({source}), got {files[path].hex}"
            )


def _text(reader: IsoReader, path: str) -> tuple[str | None, str]:
    """Return a text file, or why not."""
    entry = reader.files.get(path)
    if entry is None:
        return None, "there is none"
    if entry.size > _MAX_TEXT:
        return None, f"it has {entry.size} bytes, at most {_MAX_TEXT} are read"
    with reader.open(path) as file:  # what is no UTF-8 becomes a text that fits nothing
        return file.read().decode("utf-8", "replace"), ""


def _bounded(findings: Iterator[Finding]) -> Iterator[Finding]:
    yield from islice(findings, _MAX_FINDINGS)
    if (following := next(findings, None)) is not None:
        yield following.model_copy(
            update={"fact": f"{following.fact} (and more like it, which are not listed)"}
        )


def _wrong(rule: str, place: str, fact: str) -> Finding:
    return Finding(rule=rule, place=place, fact=fact, remedy=_AGAIN)
