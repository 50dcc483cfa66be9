"""An ISO's files, each read once and within bounds, for all checks together.

What a file turns out to be, or why it cannot be read, is kept; a check that asks for it again gets
the same answer without a byte being read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar, cast

from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.archive import ImageArchive, read_archive
from isobuilder.formats.elf import MACHINES, BinaryFacts, describe, inspect_binary
from isobuilder.formats.inflate import chunks_of, unpacked
from isobuilder.formats.tar import Member, StreamSource, walk

if TYPE_CHECKING:  # documents and YAML take a while to import, and most readers want none
    from isobuilder.formats.manifests import Manifest
    from isobuilder.model.isomanifest import IsoManifest
    from isobuilder.model.payload import OsPayload

LABEL = "CDROM"
"""The volume label by which nodes find the disc."""

MANIFEST, SBOM, SUMS = "manifest.json", "sbom.cdx.json", "SHA256SUMS"

SIDE_FILES = ("iso.sha256", "manifest.json", "sbom.cdx.json", "registration.json", "lock.json")
"""How the names of what lies beside an ISO end; they begin as its own does."""

VEX = "vex.json"
"""Statements about vulnerabilities, where somebody put some beside an ISO."""

SIGNATURE = "sigstore.json"
"""Who made it, where somebody signed."""

TRAVELS = (*SIDE_FILES, VEX, SIGNATURE)
"""What goes along with an ISO, as far as it lies beside it."""

REPORT = "report.html"
"""How the name of its page for people ends."""

_MAX_TEXT = 16 * 1024 * 1024
"""Bytes of a text file that is read whole: SHA256SUMS, images.list, JSON."""

MAX_KEPT = 64 * 1024 * 1024
"""Bytes of all that is kept of one medium; of the largest we know it is 3 MiB."""

MOST_GROWTH = 50
"""How many times its own size a medium may unpack to, all its archives together, beyond a GiB."""

MAX_UNPACKED = 4 * 1024**3
"""Bytes of one .tar.gz; CNI plugins have 0.2 GiB."""

_FREE = 1024**3
_MEMBER = 300  # bytes that one member of an archive takes
_BEGINNING = 1024 * 1024  # bytes of files; with them, a file of any kind but ours was noticed
_AHEAD = 16 * 1024  # bytes read at once
_HEAD = 32  # bytes that tell what a file is
_Value = TypeVar("_Value")


class MediumFile(Protocol):
    """One regular file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mode(self) -> int:
        """Permission bits, as Rock Ridge tells them."""


class Files(Protocol):
    """A read-only tree with a volume label; ``iso.read.reader.IsoReader`` is one."""

    @property
    def label(self) -> str:
        """The volume identifier."""

    @property
    def other_labels(self) -> tuple[str, ...]:
        """What else is a volume identifier, which programs may take for the label."""

    @property
    def files(self) -> Mapping[str, MediumFile]:
        """Every regular file by its path relative to the root, with ``/`` between parts."""

    def open(self, path: str) -> BinaryIO:
        """Open one file for reading and seeking; a large file is never held in memory."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One file in a .tar.gz."""

    member: Member
    head: bytes

    @property
    def name(self) -> str:
        """Its path, without ./ in front."""
        return self.member.plain_name

    @property
    def architecture(self) -> str | None:
        """What the program runs on; None when it is no program."""
        if not self.head.startswith(b"\x7fELF") or len(self.head) < 20:
            return None
        machine = int.from_bytes(self.head[18:20], "big" if self.head[5] == 2 else "little")
        return MACHINES.get(machine, f"machine {machine}")


@dataclass(frozen=True, slots=True)
class PackedFiles:
    """The files in a .tar.gz."""

    files: tuple[Packed, ...]
    whole: bool  # False when only the beginning was looked at


class Medium:
    """The files of an ISO. Safe to use from several threads for different files."""

    def __init__(self, source: Files) -> None:
        self.label, self.other_labels = source.label, source.other_labels
        self.files = source.files
        self._source = source
        self._answers: dict[tuple[str, str], object] = {}
        self._kept = self._unpacked = 0
        total = sum(file.size for file in self.files.values())
        self._most_unpacked = _FREE + MOST_GROWTH * total
        self._counting = threading.Lock()

    @classmethod
    def of(cls, source: Files | Medium) -> Medium:
        """Return ``source`` itself when it is a medium already."""
        return source if isinstance(source, Medium) else cls(source)

    def open(self, path: str) -> BinaryIO:
        """Open one file."""
        return self._source.open(path)

    def read(self, path: str) -> bytes:
        """Return a text file's bytes.

        Raises:
            IntegrityError: it is larger than a text file can be, or cannot be read.
        """

        def load() -> bytes:
            size = self.files[path].size
            if size > _MAX_TEXT:
                raise IntegrityError(f"{size} bytes, expected at most {_MAX_TEXT}")
            self._keep(size)
            with self.open(path) as file:
                return file.read(_MAX_TEXT + 1)

        data = self._once("bytes", path, load)
        if isinstance(data, IntegrityError):
            raise data
        return data

    def text(self, path: str) -> str | IntegrityError:
        """Return a text file, or why it cannot be read; what is no UTF-8 fits nothing."""
        return self._once("text", path, lambda: self.read(path).decode("utf-8", "replace"))

    def known(self, digests: Mapping[str, Digest]) -> None:
        """Take the digests of files that were hashed already."""
        self._answers |= {("digest", path): digest for path, digest in digests.items()}

    def digest(self, path: str) -> Digest | IntegrityError:
        """Return a file's digest, or what is wrong with the file."""

        def hashed() -> Digest:
            with self.open(path) as file:
                return Digest.of_stream(file)

        return self._once("digest", path, hashed)

    def json(self, path: str) -> Any | IntegrityError:
        """Return the value of a JSON file, or what is wrong with it."""
        return self._once(
            "json", path, lambda: parse(self.read(path), path, DOCUMENT, IntegrityError)
        )

    @property
    def manifest(self) -> IsoManifest | IntegrityError:
        """Return manifest.json as one of ours, or why it is none."""
        from isobuilder.model.loading import parse_manifest_json

        if MANIFEST not in self.files:
            return IntegrityError("there is none")
        return self._once(
            "manifest", MANIFEST, lambda: parse_manifest_json(self.read(MANIFEST), MANIFEST)
        )

    def payload(self, path: str) -> OsPayload | IntegrityError:
        """Return the description of an OS payload, or why it is none."""
        from isobuilder.model.payload import read_payload

        return self._once("payload", path, lambda: read_payload(self.read(path), place=path))

    def binary(self, path: str) -> BinaryFacts | IntegrityError:
        """Return what a program says of itself, or what is wrong with it."""

        def inspect() -> BinaryFacts:
            with self.open(path) as file:
                return inspect_binary(file, path)

        return self._once("binary", path, inspect)

    def kubernetes(self, path: str) -> Manifest | IntegrityError:
        """Return a manifest as kubectl reads it, or what is wrong with it."""
        from isobuilder.formats.manifests import read_manifest

        def load() -> Manifest:
            try:
                manifest = read_manifest(self.read(path), path)
                _ = manifest.objects  # which is where a page of HTML is noticed
            except InputErrors as error:
                first = error.mistakes[0]
                where = "" if first.mark.line is None else f"line {first.mark.line}: "
                raise IntegrityError(f"{where}{first.fact}") from error
            return manifest

        return self._once("kubernetes", path, load)

    def archive(self, path: str) -> ImageArchive | IntegrityError:
        """Return what lies in an image archive, or why it is none."""

        def load() -> ImageArchive:
            raw = cast("io.RawIOBase", self.open(path))  # headers lie together: few calls for many
            with io.BufferedReader(raw, _AHEAD) as file:
                archive = read_archive(file)
            size = sum(len(data) for data in archive.documents.values())
            self._keep(size + _MEMBER * len(archive.members))
            return archive

        return self._once("archive", path, load)

    def packed(self, path: str, *, whole: bool = True) -> PackedFiles | IntegrityError:
        """Return the files in a .tar.gz, or what is wrong with it.

        Without ``whole`` its beginning is enough.
        """

        def unpack() -> PackedFiles:
            with self.open(path) as file:
                if (head := file.read(_HEAD * 8))[:2] != b"\x1f\x8b":
                    raise IntegrityError(f"expected gzip data, found {describe(head)}")
                pieces = unpacked(chunks_of(file), "gzip", limit=MAX_UNPACKED, why=_NO_ROOM)
                source = StreamSource(self.counted(pieces))
                found, passed = [], 0
                for member in walk(source):
                    if member.regular:
                        found.append(Packed(member, source.read(min(_HEAD, member.size))))
                        passed += member.size
                    if passed > _BEGINNING and not whole:
                        return PackedFiles(tuple(found), whole=False)
                source.finish()
            self._keep(_MEMBER * len(found))
            return PackedFiles(tuple(found), whole=True)

        return self._once(f"packed {whole}", path, unpack)

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on what archives unpack to, within what all of them together may.

        Raises:
            IntegrityError: that was passed.
        """
        for piece in pieces:
            with self._counting:
                self._unpacked += len(piece)
            if self._unpacked > self._most_unpacked:
                raise IntegrityError(f"archives unpack to more than {self._most_unpacked} bytes")
            yield piece

    def _keep(self, size: int) -> None:
        with self._counting:
            self._kept += size
        if self._kept > MAX_KEPT:
            raise IntegrityError(f"its texts and lists have more than {MAX_KEPT} bytes together")

    def _once(self, kind: str, path: str, make: Callable[[], _Value]) -> _Value | IntegrityError:
        key = (kind, path)
        if key not in self._answers:
            try:
                self._answers[key] = make()
            except (IntegrityError, InputError) as error:
                self._answers[key] = IntegrityError(str(error).removeprefix(f"{path}: "))
        return self._answers[key]  # type: ignore[return-value]


_NO_ROOM = "a node has no room for it"
