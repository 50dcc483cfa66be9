"""A bill of files and images, and their bytes -> the same bill with what is inside of each.

A function of the bill and the bytes it names: every blob is hashed while it is read, and one that
is not what its digest says ends the work. What could not be read is told in the bill.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from isobuilder import __version__
from isobuilder.cancel import pooled
from isobuilder.digest import Digest, Hasher, hashed
from isobuilder.errors import IntegrityError
from isobuilder.formats.inflate import chunks_of, hash_as_it_is, looks_like, unpacked
from isobuilder.formats.oci import MAX_DOCUMENT, parse_config, parse_manifest
from isobuilder.progress import SILENT, Progress, task
from isobuilder.text import printable
from isobuilder.trust.bill.look import SCANNER, LayerContents, look_at, look_into
from isobuilder.trust.bill.merge import merged
from isobuilder.trust.bill.model import Bill, BillPart, Composition, Tool, Tools
from isobuilder.trust.bill.notes import Notes
from isobuilder.trust.bill.parts import licences, parts_inside, properties

MOST_GROWTH = 50
"""How many times their own size all blobs together may unpack to, beyond the first GiB."""

_MAX_PATHS = 3_000_000
"""Files and folders of all layers together, whose names are kept while they are laid upon another.
The images of a cluster with everything have 300,000."""

_FREE = 1024**3
_ONE_GROWTH, _ONE_FREE = 200, 64 * 1024**2  # of a single one; text compresses well
_WORKERS = 2
_HEAD = 20
_ELF = b"\x7fELF"
_PACKED = (".tgz", ".tar", ".tar.gz", ".tar.zst")
_SHOWN = 20  # files of one part that are told not to have been read
_LICENCE_LABEL = "org.opencontainers.image.licenses"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:isobuilder:sbom:depth")


@dataclass(frozen=True, slots=True)
class BlobSpan:
    """A run of bytes of an open file that is said to have a digest."""

    stream: BinaryIO
    start: int
    size: int


class Bytes(Protocol):
    """Has the bytes that a bill names; nobody need have looked at them."""

    def span(self, digest: Digest, /) -> BlobSpan | None:
        """Return where they are, in a file that the caller closes; None when nobody has them."""


def deepened(
    bill: Bill, source: Bytes, *, notes: Notes | None = None, progress: Progress = SILENT
) -> Bill:
    """Return ``bill`` with what is inside of its images, archives and programs.

    What ``notes`` knows of a blob is not read again.

    Raises:
        IntegrityError: bytes are missing, are not what their digest says, or are more than a limit.
        InputError: an image of a form that cannot be on an ISO.
    """
    looker = _Looker(source, notes or Notes())
    images = {part.bom_ref: looker.image(part) for part in bill.images}
    wanted = {digest: place for image in images.values() for digest, place in image.layers}
    files = {
        part.bom_ref: Digest.from_hex(part.sha256)
        for part in bill.components
        if part.type == "file" and part.sha256 and looker.is_worth_it(part)
    }
    places = {part.bom_ref: part.name for part in bill.components}
    wanted |= {digest: places[ref] for ref, digest in files.items()}
    layers = looker.all(wanted, progress)
    parts = []
    for part in bill.components:
        if (image := images.get(part.bom_ref)) is not None:
            held = [layers[digest] for digest, _ in image.layers]
            parts.append(_with_inside(part, held, image.licences))
        elif (digest := files.get(part.bom_ref)) is not None:
            parts.append(_with_inside(part, [layers[digest]], set()))
        else:
            parts.append(part)
    return _as_deep(bill, tuple(parts))


@dataclass(frozen=True, slots=True)
class _Image:
    layers: tuple[tuple[Digest, str], ...]  # lowest first, each with how to call it
    licences: set[str]


@dataclass(slots=True)
class _Looker:
    """Looks into blobs, each once, within one budget."""

    source: Bytes
    notes: Notes
    most: int = _FREE  # bytes that all blobs together may unpack to
    unpacked: int = 0
    paths: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def image(self, part: BillPart) -> _Image:
        """Return what the documents of an image say."""
        place = part.name
        data = self._document(Digest.from_hex(part.sha256 or ""), place)
        manifest = parse_manifest(data, place=place)
        config = parse_config(
            self._document(manifest.config.digest, f"{place}: config"), place=f"{place}: config"
        )
        stated = config.labels.get(_LICENCE_LABEL, "")
        return _Image(
            tuple((layer.digest, place) for layer in manifest.layers),
            {printable(stated.strip(), 200)} if stated.strip() else set(),
        )

    def is_worth_it(self, part: BillPart) -> bool:
        """Whether a file is a program or an archive, by its first bytes and its name."""
        found = self.source.span(Digest.from_hex(part.sha256 or ""))
        if found is None:  # what is made for the ISO is text
            return False
        with found.stream as stream:
            stream.seek(found.start)
            head = stream.read(min(found.size, _HEAD))
        return head.startswith(_ELF) or part.name.endswith(_PACKED)

    def all(self, wanted: Mapping[Digest, str], progress: Progress) -> dict[Digest, LayerContents]:
        """Look into blobs, two at a time."""
        for digest, place in wanted.items():
            found = self._span(digest, place)
            found.stream.close()
            self.most += MOST_GROWTH * found.size
        with (
            task(progress, "looking inside", total=len(wanted), unit="blobs") as work,
            pooled(_WORKERS, "inside") as pool,
        ):

            def look(item: tuple[Digest, str]) -> LayerContents:
                layer = self._layer(*item)
                work.advance(1)
                return layer

            return dict(zip(wanted, pool.map(look, wanted.items()), strict=True))

    def _layer(self, digest: Digest, place: str) -> LayerContents:
        layer = self.notes.recall(digest)
        if layer is None:
            found = self._span(digest, place)
            with found.stream:
                layer = self._looked(found, digest, place)
            self.notes.remember(digest, layer)
        with self.counting:
            self.paths += len(layer.folders) + len(layer.others)
        if self.paths > _MAX_PATHS:
            raise IntegrityError(f"{place}: more than {_MAX_PATHS} files in all layers together")
        return layer

    def _looked(self, found: BlobSpan, digest: Digest, place: str) -> LayerContents:
        """Return what is in a blob that was hashed; one that cannot be read is empty, and says so.

        Raises:
            IntegrityError: it is another blob, or all of them unpack to too much.
        """
        found.stream.seek(found.start)
        head = found.stream.read(min(found.size, _HEAD))
        first = Hasher()
        passes = iter([first])

        def pieces() -> Iterable[bytes]:
            hasher = next(passes, Hasher())
            chunks = chunks_of(found.stream, offset=found.start, size=found.size)
            limit = _ONE_FREE + _ONE_GROWTH * found.size
            why = f"a bomb of {found.size} bytes"
            compression = looks_like(head)
            return self._counted(
                unpacked(hashed(chunks, hasher), compression, limit=limit, why=why)
            )

        try:
            if head.startswith(_ELF):
                layer, proof = look_at(found.stream, place.rpartition("/")[2]), None
            else:
                layer, proof = look_into(pieces), first.digest()
        except IntegrityError as error:
            if self.unpacked > self.most:
                raise
            layer, proof = LayerContents(trouble=[("", str(error))]), None
        if proof is None:
            proof = hash_as_it_is(found.stream, offset=found.start, size=found.size)
        if proof != digest:
            raise IntegrityError(
                f"{place}: expected {digest}, got {proof}",
                hint="isobuilder verify says what else is wrong; do not use it",
            )
        return layer

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            with self.counting:
                self.unpacked += len(piece)
            if self.unpacked > self.most:
                raise IntegrityError(f"all archives together unpack to more than {self.most} bytes")
            yield piece

    def _document(self, digest: Digest, place: str) -> bytes:
        found = self._span(digest, place)
        with found.stream:
            if found.size > MAX_DOCUMENT:
                raise IntegrityError(f"{place}: {digest} has {found.size} bytes")
            data = b"".join(chunks_of(found.stream, offset=found.start, size=found.size))
        if (proof := Digest.of(data)) != digest:
            raise IntegrityError(f"{place}: expected {digest}, got {proof}")
        return data

    def _span(self, digest: Digest, place: str) -> BlobSpan:
        found = self.source.span(digest)
        if found is None:
            raise IntegrityError(f"{place}: {digest} is missing", hint="run isobuilder fetch")
        return found


def _with_inside(part: BillPart, layers: list[LayerContents], stated: set[str]) -> BillPart:
    root = merged(layers)
    trouble = {
        f"{path}: {fact}" if path else fact for layer in layers for path, fact in layer.trouble
    }
    facts = [(one.name.removeprefix("isobuilder:"), one.value) for one in part.properties or ()]
    facts += [("not-read", text) for text in sorted(trouble)[:_SHOWN]]
    return part.model_copy(
        update={
            "components": parts_inside(part.bom_ref, root) or None,
            "licenses": licences(stated | set(part.licence_names)),
            "properties": properties(facts),
        }
    )


def _as_deep(bill: Bill, parts: tuple[BillPart, ...]) -> Bill:
    """Return the bill as a document of its own: another serial number, our version, its gaps."""
    main = bill.metadata.component
    facts = [(one.name.removeprefix("isobuilder:"), one.value) for one in main.properties or ()]
    told = properties([*facts, ("depth", str(SCANNER))])
    incomplete = tuple(part.bom_ref for part in parts if part.facts("not-read"))
    return bill.model_copy(
        update={
            "serial": f"urn:uuid:{uuid.uuid5(_NAMESPACE, bill.serial)}",
            "components": parts,
            "metadata": bill.metadata.model_copy(
                update={
                    "component": main.model_copy(update={"properties": told}),
                    "tools": Tools(components=(Tool(name="isobuilder", version=__version__),)),
                }
            ),
            "compositions": (Composition(aggregate="incomplete", assemblies=incomplete),)
            if incomplete
            else None,
        }
    )
