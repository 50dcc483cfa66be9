"""What is wrong with an image archive: checked where it lies, down to the uncompressed layers.

The strict judgement: what our archives are like, and nothing else. What containerd makes of an
archive is another question, which ``contract.archives`` answers from the same reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from isobuilder.cancel import pooled
from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.formats.archive import INDEX, LAYOUT, ImageArchive, blob_name, cleaned
from isobuilder.formats.inflate import LayerDigests, hash_as_it_is, hash_layer
from isobuilder.formats.oci import (
    MAX_DOCUMENT,
    NAME_ANNOTATIONS,
    Descriptor,
    ImageConfig,
    ImageManifest,
    check_config,
    parse_config,
    parse_index,
    parse_manifest,
)
from isobuilder.formats.tar import FOLDER, KINDS, Member
from isobuilder.medium import Files, Medium
from isobuilder.model.finding import Finding, bounded
from isobuilder.progress import SILENT, Progress, task

_WORKERS = 2
_REBUILD = "fetch the image again and rebuild the ISO"
_ANOTHER = (
    "the registry itself serves these bytes and nodes refuse them: lock another version of the "
    "image, or have its makers push it again"
)
_KINDS = {"none": "not compressed", "gzip": "gzip", "zstd": "zstd"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What an archive should hold; None where anything will do."""

    names: tuple[str, ...] = ()  # full references, the first with its tag; empty: any name
    digest: Digest | None = None  # of the manifest
    architecture: str | None = None


@dataclass(slots=True)
class ArchiveReport:
    """What an archive holds, as far as it could be read, and what is wrong with it."""

    place: str
    findings: list[Finding] = field(default_factory=list)
    reference: str | None = None
    digest: Digest | None = None
    manifest: ImageManifest | None = None
    config: ImageConfig | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong, so that, with layers, every blob is what its name says."""
        return self.config is not None and not any(
            finding.severity == "error" for finding in self.findings
        )

    def wrong(self, rule: str, fact: str, remedy: str = _REBUILD, *, blob: str = "") -> None:
        """Add a finding."""
        place = f"{self.place}: {blob}" if blob else self.place
        self.findings.append(Finding(rule=rule, place=place, fact=fact, remedy=remedy))


def check_archives(
    source: Files | Medium,
    expected: Mapping[str, Expected],
    *,
    layers: bool = True,
    progress: Progress = SILENT,
) -> tuple[ArchiveReport, ...]:
    """Check the archives at the paths of ``expected``, two at a time, in the order of their paths.

    Raises:
        EnvironmentProblem: the medium cannot be read.
    """
    medium = Medium.of(source)
    present = [path for path in sorted(expected) if path in medium.files]
    total = sum(medium.files[path].size for path in present)
    with task(progress, "checking image archives", total=total) as work:

        def check(path: str) -> ArchiveReport:
            report = check_archive(medium, path, expected[path], layers=layers)
            work.advance(medium.files[path].size)
            return report

        with pooled(_WORKERS, "check") as pool:
            reports = dict(zip(present, pool.map(check, present), strict=True))
    for path in sorted(expected.keys() - reports.keys()):
        reports[path] = ArchiveReport(path)
        reports[path].wrong("oci.archive", "not on the ISO")
    return tuple(reports[path] for path in sorted(reports))


def check_archive(
    medium: Medium, path: str, expected: Expected, *, layers: bool = True
) -> ArchiveReport:
    """Check one archive.

    ``layers`` also hashes every layer as it is and uncompressed; without it, layers are checked for
    presence and size only, which is enough when the hash of the whole archive is known to be right.
    """
    report = ArchiveReport(path)
    found = medium.archive(path)
    fault = str(found) if isinstance(found, IntegrityError) else _fault(found)
    if isinstance(found, IntegrityError) or fault is not None:
        report.wrong("oci.tar", str(fault))
        return report
    archive = _Archive(medium, found, report)
    try:
        _check_layout(archive)
        _check_index(archive, expected)
        _check_image(archive, expected)
        if layers:
            _check_layers(archive)
    except _Stop:
        pass
    except (InputError, IntegrityError) as error:
        report.wrong("oci.document", _fact(error, path))
    return report


def _fault(archive: ImageArchive) -> str | None:
    """Say why the archive is not in the form in which image tools write them."""
    seen: set[str] = set()
    for member in archive.members:
        where = f"byte {member.header}"
        name = member.name
        if member.extras:
            return f"{where}: {member.extras[0]}, which no image archive needs"
        if not member.regular and member.kind != FOLDER:
            return f"{where}: {KINDS[member.kind]}, which no image archive needs"
        plain = cleaned(name)
        if plain not in {name, name.removeprefix("./").removesuffix("/")} or _leaves(plain):
            return f"{where}: a name that leaves the archive: {name[:120]!r}"
        if plain in seen:
            return f"{where}: {plain!r} is there twice"
        seen.add(plain)
    return archive.ending


def _leaves(name: str) -> bool:
    return name.startswith(("/", "..")) or not name.isprintable() or "\\" in name


class _Stop(Exception):
    """What follows makes no sense without what is missing; the finding is already there."""


@dataclass(frozen=True, slots=True)
class _Damaged:
    """A layer that cannot be unpacked."""

    fact: str
    blob: Digest | None  # of what is there, None if that cannot be read to its end


@dataclass(slots=True)
class _Archive:
    medium: Medium
    archive: ImageArchive
    report: ArchiveReport

    def document(self, name: str, rule: str, what: str = "") -> bytes:
        member = self.archive.files.get(name)
        if member is None:
            self.report.wrong(rule, f"no {name}")
            raise _Stop
        data = self.archive.documents.get(name)
        if data is None:
            fact = f"{name} has {member.size} bytes, expected JSON of at most {MAX_DOCUMENT}"
            self.report.wrong(rule, fact, blob=what)
            raise _Stop
        return data

    def blob(self, wanted: Descriptor, what: str) -> bytes:
        """Return a small blob whose size and hash were checked."""
        self.check_size(wanted, what)
        data = self.document(blob_name(wanted.digest), "oci.blob", what)
        if (found := Digest.of(data)) != wanted.digest:
            self.report.wrong("oci.blob", f"expected {wanted.digest}, got {found}", blob=what)
            raise _Stop
        return data

    def check_size(self, wanted: Descriptor, what: str) -> Member:
        member = self.archive.files.get(blob_name(wanted.digest))
        if member is None:
            self.report.wrong("oci.blob", f"{wanted.digest} is missing", blob=what)
            raise _Stop
        if member.size != wanted.size:
            self.report.wrong(
                "oci.blob", f"expected {wanted.size} bytes, got {member.size}", blob=what
            )
            raise _Stop
        return member


def _check_layout(archive: _Archive) -> None:
    data = archive.document(LAYOUT, "oci.layout")
    try:
        version = parse(data, "oci-layout", OCI).get("imageLayoutVersion")
    except (InputError, AttributeError):
        version = None
    if version != "1.0.0":
        archive.report.wrong("oci.layout", f"expected image layout 1.0.0, got {data[:60]!r}")


def _check_index(archive: _Archive, expected: Expected) -> None:
    data = archive.document(INDEX, "oci.index")
    report = archive.report
    index = parse_index(data, place=f"{report.place}: index.json")
    manifests = {(entry.digest, entry.size, entry.media_type) for entry in index.manifests}
    if len(manifests) != 1:
        report.wrong("oci.index", f"expected one manifest, got {len(manifests)}")
        raise _Stop
    entry = index.manifests[0]
    report.digest = entry.digest
    if expected.digest is not None and entry.digest != expected.digest:
        report.wrong("oci.index", f"expected the manifest {expected.digest}, got {entry.digest}")
    names: list[str] = []
    for each in index.manifests:
        told = {each.annotations[key] for key in NAME_ANNOTATIONS if key in each.annotations}
        if len(told) != 1:
            shown = ", ".join(sorted(told))[:300] or "none"
            fact = f"expected one image name in the annotations, got {shown}"
            report.wrong("oci.name", fact)
        names += told
    report.reference = names[0] if len(names) == len(index.manifests) else None
    if report.reference and expected.names and sorted(names) != sorted(expected.names):
        fact = f"expected {', '.join(expected.names)}, got {', '.join(names)[:300]}"
        report.wrong("oci.name", fact)
    manifest = archive.blob(entry, "manifest")
    report.manifest = parse_manifest(
        manifest, place=f"{report.place}: manifest", content_type=entry.media_type
    )


def _check_image(archive: _Archive, expected: Expected) -> None:
    report = archive.report
    if report.manifest is None or report.digest is None:
        raise _Stop
    place = f"{report.place}: config"
    report.config = parse_config(archive.blob(report.manifest.config, "config"), place=place)
    architecture = expected.architecture or report.config.platform.architecture
    check_config(report.config, report.manifest, architecture, place=place)
    wanted = {blob_name(blob.digest) for blob in report.manifest.blobs}
    wanted |= {blob_name(report.digest), LAYOUT, INDEX}
    for name in sorted(archive.archive.files.keys() - wanted)[:20]:
        report.wrong("oci.extra", "nothing refers to it", blob=name)
    for number, layer in enumerate(report.manifest.layers):
        archive.check_size(layer, f"layer {number}")


def _check_layers(archive: _Archive) -> None:
    report = archive.report
    if report.manifest is None or report.config is None:
        raise _Stop
    known: dict[Digest, LayerDigests | _Damaged] = {}  # each blob is unpacked once
    told: set[tuple[Digest, Digest]] = set()
    found: list[Finding] = []
    with archive.medium.open(report.place) as stream:
        for number, (layer, diff_id) in enumerate(
            zip(report.manifest.layers, report.config.diff_ids, strict=True)
        ):
            if layer.digest not in known:
                known[layer.digest] = _hashed(archive, stream, layer)
            if (layer.digest, diff_id) not in told:
                told.add((layer.digest, diff_id))
                place = f"{report.place}: layer {number}"
                found += _check_layer(layer, diff_id, known[layer.digest], place)
    report.findings += bounded(found)


def _hashed(archive: _Archive, stream: BinaryIO, layer: Descriptor) -> LayerDigests | _Damaged:
    member = archive.archive.files[blob_name(layer.digest)]
    try:
        return hash_layer(
            stream,
            offset=member.offset,
            size=member.size,
            look=layer.is_looked_into,
            through=archive.medium.counted,
        )
    except IntegrityError as error:
        try:
            blob = hash_as_it_is(stream, offset=member.offset, size=member.size)
        except IntegrityError:
            blob = None
        return _Damaged(str(error), blob)


def _check_layer(
    layer: Descriptor, diff_id: Digest, found: LayerDigests | _Damaged, place: str
) -> Iterator[Finding]:
    if found.blob != layer.digest and found.blob is not None:
        fact = f"expected {layer.digest}, got {found.blob}"
        yield Finding(rule="oci.blob", place=place, fact=fact, remedy=_REBUILD)
    elif isinstance(found, _Damaged):
        remedy = _REBUILD if found.blob is None else _ANOTHER
        yield Finding(rule="oci.layer", place=place, fact=found.fact, remedy=remedy)
    elif found.content is None:
        yield Finding(
            rule="oci.layer",
            place=place,
            fact="not checked: this Python cannot read zstd",
            remedy="install the Python package backports.zstd",
            severity="warning",
        )
    elif found.content != diff_id:
        fact = f"expected {diff_id} uncompressed, got {found.content}"
        if found.looks != "none" and not layer.is_looked_into:
            fact = f"{layer.media_type} is not unpacked by nodes, and it is {found.looks} data"
        yield Finding(rule="oci.layer", place=place, fact=fact, remedy=_ANOTHER)
    elif found.looks != layer.compression:
        yield Finding(
            rule="oci.layer",
            place=place,
            fact=f"its type is {layer.media_type}, its bytes are {_KINDS[found.looks]}; nodes go "
            "by the bytes",
            remedy="nothing has to be done; whoever makes the image can label it rightly",
            severity="warning",
        )


def _fact(error: IsobuilderError, place: str) -> str:
    return str(error).removeprefix(f"{place}: ")
