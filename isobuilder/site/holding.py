"""What one closed ISO has to give: its files, and its images with the place of every blob.

Nothing is unpacked or copied: archives on the ISO are tars without compression of their own, so a
blob is a stretch of the ISO, and so is a file. Manifests are small, read once and proved by their
digests; of blobs the size is compared, and whoever gets them compares the digest.

An archive's index may list more than images: signatures, attestations and SBOMs, as manifests of
their own, by tags such as ``sha256-<digest>.sig`` or by the ``subject`` they name. Entries without
a name belong to every repository that their archive names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.archive import DOCKER_INDEX, INDEX, LAYOUT, ImageArchive, blob_name
from isobuilder.formats.oci import (
    CONFIG_TYPES,
    NAME_ANNOTATIONS,
    Descriptor,
    Platform,
    RegistryDocument,
    parse_any,
    parse_config,
    parse_index,
)
from isobuilder.formats.reference import ImageReference
from isobuilder.formats.sums import sum_line
from isobuilder.http.replies import FilePart, FileState
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import SUMS, Medium
from isobuilder.site.dockerarchive import SavedImage, saved_images
from isobuilder.site.held import HeldEntry, HeldManifest

_FOLDER, _LIST = "docker", "docker/images.list"
_EVIDENCE = "evidence"  # model.trust.claims has it too, which takes a while to import
_DEEPEST = 2  # indexes within each other
_MOST_PROBLEMS = 100  # of one ISO that are kept; the first are reason enough
_MOST_LINES = 20_000  # of SHA256SUMS


@dataclass(frozen=True, slots=True)
class Holding:
    """One ISO, as it was when it was read."""

    name: str
    iso: FilePart
    state: FileState  # in which its file was, and has to be
    label: str
    files: Mapping[str, FilePart] = field(repr=False)
    sums: Mapping[str, Digest] = field(repr=False)  # as its SHA256SUMS has them
    entries: tuple[HeldEntry, ...] = field(repr=False)
    problems: tuple[str, ...]  # what is there and cannot be served, each with its place


def held_by(path: Path) -> Holding:
    """Return what the ISO ``path`` has to give; a few milliseconds for each GiB.

    Raises:
        IntegrityError: it is no ISO, contradicts itself, or was changed while it was read.
        EnvironmentProblem: it cannot be read.
    """
    path = path.absolute()
    with IsoReader(path, node_only=True) as reader:
        state = FileState.of(path.stat())
        whole = FilePart(path, 0, reader.size, state)
        files, problems = {}, []
        for name, entry in sorted(reader.files.items()):
            if (run := _run(entry.extents)) is None:
                problems.append(f"{name}: lies in pieces on the ISO")
            else:
                files[name] = whole.part(run.offset, run.size)
        medium = Medium(reader)
        entries: list[HeldEntry] = []
        bases = _bases(medium)
        for name, part in files.items():
            folder, _, file = name.rpartition("/")
            if folder != _FOLDER or not file.endswith((".tar", ".tgz", ".tar.gz")):
                continue
            made = reader.files[name].mtime or 0
            try:
                entries += _entries(medium, name, part, bases.get(file, ()), made)
            except (IntegrityError, InputError) as error:
                problems.append(f"{name}: {error}")
        try:
            entries += _signatures(medium, files, entries)
        except (IntegrityError, InputError) as error:
            problems.append(f"{_EVIDENCE}: {error}")
        sums = _sums(medium)
        label = reader.label
    if FileState.of(path.stat()) != state:
        raise IntegrityError(f"{path}: was changed while it was read")
    told = tuple(problems[:_MOST_PROBLEMS])
    return Holding(path.name, whole, state, label, files, sums, tuple(entries), told)


def _signatures(
    medium: Medium, files: Mapping[str, FilePart], entries: Sequence[HeldEntry]
) -> list[HeldEntry]:
    if not any(name.startswith(f"{_EVIDENCE}/") for name in files):
        return []
    from isobuilder.site.signatures import signatures_of

    return list(signatures_of(medium, files, entries))


def _run(extents: Sequence[Extent]) -> Extent | None:
    """Return the one run of bytes that a file is; None if it lies in pieces."""
    if not extents:
        return Extent(0, 0)
    first = extents[0].offset
    size = 0
    for extent in extents:
        if extent.offset != first + size:
            return None
        size += extent.size
    return Extent(first, size)


def _sums(medium: Medium) -> dict[str, Digest]:
    text = medium.text(SUMS) if SUMS in medium.files else ""
    found = {}
    for line in "" if isinstance(text, IntegrityError) else text.splitlines()[:_MOST_LINES]:
        told = sum_line(line)
        if told is not None and told.is_sha256 and not told.escaped:
            found[told.path.removeprefix("./")] = Digest.from_hex(told.digits)
    return found


def _bases(medium: Medium) -> dict[str, tuple[str, ...]]:
    """Return the repositories that images.list names for each archive."""
    text = medium.text(_LIST) if _LIST in medium.files else ""
    found: dict[str, tuple[str, ...]] = {}
    for line in "" if isinstance(text, IntegrityError) else text.splitlines()[:_MOST_LINES]:
        fields = line.split(maxsplit=2)
        if len(fields) > 1:
            found[fields[0]] = (*found.get(fields[0], ()), fields[1])
    return found


def _entries(
    medium: Medium, path: str, whole: FilePart, bases: Sequence[str], made: int
) -> list[HeldEntry]:
    """Return what an archive holds.

    Raises:
        IntegrityError: it cannot be served as it lies there; a sentence without its place.
    """
    archive = medium.archive(path)
    if isinstance(archive, IntegrityError):
        raise archive
    if LAYOUT not in archive.files and DOCKER_INDEX in archive.documents:
        with medium.open(path) as stream:
            return [_saved(one, whole, bases, made, stream) for one in saved_images(archive)]
    if LAYOUT not in archive.files or INDEX not in archive.documents:
        raise IntegrityError(
            f"no OCI layout in it ({LAYOUT} and {INDEX}), so it has no manifest to serve"
        )
    reader = _Archive(archive, whole)
    entries: list[HeldEntry] = []
    for entry in parse_index(archive.documents[INDEX], place=INDEX).manifests:
        names = tuple(_names(entry, bases))
        manifests: dict[Digest, HeldManifest] = {}
        reader.collect(entry, manifests, depth=0)
        entries.append(HeldEntry(names, entry.digest, manifests, made))
    homes = {replace(name, tag=None, digest=None) for each in entries for name in each.names}
    if not homes:
        raise IntegrityError("neither its index nor images.list says what its images are called")
    ordered = sorted(homes, key=str)
    return [
        each if each.names else replace(each, names=tuple(h.with_digest(each.top) for h in ordered))
        for each in entries
    ]


def _saved(
    image: SavedImage, whole: FilePart, bases: Sequence[str], made: int, stream: BinaryIO
) -> HeldEntry:
    """Return an image that ``docker save`` wrote, with the manifest that was made for it."""
    for member in image.blobs.values():
        stream.seek(member.offset)
        if stream.read(2) == b"\x1f\x8b":
            raise IntegrityError(f"{member.name}: packed, so it is not the bytes of its digest")
    digest = Digest.of(image.manifest)
    document = parse_any(image.manifest, place="manifest")
    blobs = {name: whole.part(one.offset, one.size) for name, one in image.blobs.items()}
    held = HeldManifest(image.manifest, digest, document, image.platform, blobs)
    names = [*image.tags, *(f"{base.partition('@')[0]}@{digest}" for base in bases)]
    parsed = tuple(_parsed(dict.fromkeys(names)))
    if not parsed:
        raise IntegrityError("neither its index nor images.list says what its images are called")
    return HeldEntry(parsed, digest, {digest: held}, made)


def _names(entry: Descriptor, bases: Sequence[str]) -> Iterator[ImageReference]:
    """Give the names of an entry, each once: its own, and those of an import by images.list."""
    told = [entry.annotations.get(key, "") for key in NAME_ANNOTATIONS]
    texts = [text for text in told if any(mark in text for mark in "/:@")]
    for base in bases:
        repository = base.partition("@")[0]
        texts.append(f"{repository}@{entry.digest}")
        texts += [f"{repository}:{text}" for text in told if text and text not in texts]
    yield from _parsed(dict.fromkeys(texts))


def _parsed(texts: Iterable[str]) -> Iterator[ImageReference]:
    for text in texts:
        try:
            yield ImageReference.parse(text)
        except ValueError:
            continue  # an import gives it this name, and no node can ask for it


@dataclass(frozen=True, slots=True)
class _Archive:
    archive: ImageArchive
    whole: FilePart

    def collect(self, entry: Descriptor, found: dict[Digest, HeldManifest], *, depth: int) -> None:
        """Add the manifest of ``entry`` and all that it leads to.

        Raises:
            IntegrityError: something is missing, or is not what it is called.
        """
        if entry.digest in found:
            return
        name = blob_name(entry.digest)
        data = self.archive.documents.get(name)
        if data is None:
            raise IntegrityError(f"{name}: missing, or not JSON of at most 4 MiB")
        if Digest.of(data) != entry.digest:
            raise IntegrityError(f"{name}: its content is {Digest.of(data)}")
        document = parse_any(data, place=name)
        blobs = {blob.digest: self._blob(blob) for blob in document.blobs}
        platform = self._platform(document)
        found[entry.digest] = HeldManifest(data, entry.digest, document, platform, blobs)
        for child in document.manifests:
            if blob_name(child.digest) in self.archive.files:  # the others are of other platforms
                if depth >= _DEEPEST:
                    raise IntegrityError(f"{name}: more than {_DEEPEST} indexes within each other")
                self.collect(child, found, depth=depth + 1)

    def _blob(self, blob: Descriptor) -> FilePart:
        name = blob_name(blob.digest)
        member = self.archive.files.get(name)
        if member is None:
            raise IntegrityError(f"{name} is missing")
        if member.size != blob.size:
            raise IntegrityError(f"{name} has {member.size} bytes, expected {blob.size}")
        return self.whole.part(member.offset, member.size)

    def _platform(self, document: RegistryDocument) -> Platform | None:
        config = document.blobs[0] if document.blobs else None
        if config is None or config.media_type not in CONFIG_TYPES:
            return None
        data = self.archive.documents.get(blob_name(config.digest))
        if data is None:
            return None
        platform = parse_config(data, place="configuration").platform
        return platform if platform.os and platform.architecture else None  # cosign's has neither
