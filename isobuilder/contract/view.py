"""A disc as the scripts of a node see it: what they would find, read once and within bounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, BinaryIO, Literal, TypeVar

from isobuilder.contract.archives import ImageArchive, read_archive
from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.elf import BinaryFacts, describe, inspect_binary
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.manifests import ImageUse, Manifest, Object, read_manifest
from isobuilder.formats.tar import GzipSource, Member, walk
from isobuilder.medium import Medium

MAX_TEXT = 16 * 1024 * 1024
"""Bytes of a text file that is read whole: SHA256SUMS, images.list, JSON."""

IMAGES_LIST = "docker/images.list"
PROGRAMS = ("kubeadm", "kubelet", "kubectl")
APPLIED = (
    "network.yaml",
    "headlamp.yaml",
    "dashboard.yaml",
    "provider.yaml",
    "autoscaler.yaml",
    "snapshot-crds.yaml",
    "manifest.yaml",
)
"""The manifests that a node or a script run on it gives to ``kubectl apply``."""

_MAX_UNPACKED = 4 * 1024**3  # bytes of a .tar.gz; CNI plugins have 0.2 GiB
_BEGINNING = 1024 * 1024  # bytes of files; with them, a file of any kind but ours was noticed
_HEAD = 32  # bytes that tell what a file is
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Packed:
    """One file in a .tar.gz."""

    member: Member
    head: bytes

    @property
    def architecture(self) -> str | None:
        """What the program runs on; None when it is no program."""
        if not self.head.startswith(b"\x7fELF") or len(self.head) < 20:
            return None
        machine = int.from_bytes(self.head[18:20], "big" if self.head[5] == 2 else "little")
        return {62: "amd64", 183: "arm64"}.get(machine, f"machine {machine}")


@dataclass(frozen=True, slots=True)
class ImportLine:
    """One line of docker/images.list."""

    number: int
    fields: tuple[str, ...]

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{IMAGES_LIST}:{self.number}"

    @property
    def archive(self) -> str:
        """The file name of the archive."""
        return self.fields[0]

    @property
    def base(self) -> str:
        """The base name for its import; empty when the line does not say."""
        return self.fields[1] if len(self.fields) > 1 else ""


@dataclass(frozen=True, slots=True)
class ArchiveNames:
    """The files in a .tar.gz."""

    files: tuple[Packed, ...]
    whole: bool  # False when only the beginning was looked at


class NodeView:
    """A medium together with what is known about it; everything is read when first asked for."""

    def __init__(
        self,
        medium: Medium,
        *,
        cloud: Literal["mold", "cloudstack"],
        profile: str,
        upgrade: bool,
        registered: KubeVersion | None,
        architecture: str | None,
        unpack: bool = True,
    ) -> None:
        self.label = medium.label
        self.files = medium.files
        self.cloud, self.profile, self.upgrade = cloud, profile, upgrade
        self.registered = registered  # the version Mold is told, when it is known
        self._wanted_architecture = architecture
        self._unpack = unpack
        self._medium = medium
        self._kept: dict[tuple[str, str], object] = {}

    def open(self, path: str) -> BinaryIO:
        """Open one file."""
        return self._medium.open(path)

    def within(self, folder: str, pattern: str = "*") -> list[str]:
        """Return the names directly in ``folder`` that a shell's glob matches, sorted."""
        start = f"{folder}/"
        names = (path.removeprefix(start) for path in self.files if path.startswith(start))
        return sorted(n for n in names if "/" not in n and fnmatchcase(n, pattern))

    def has(self, path: str) -> bool:
        """Whether the file is there and not empty."""
        return path in self.files and self.files[path].size > 0

    def read(self, path: str) -> bytes:
        """Return a text file's bytes.

        Raises:
            IntegrityError: it is larger than a text file can be, or cannot be read.
        """
        size = self.files[path].size
        if size > MAX_TEXT:
            raise IntegrityError(f"{size} bytes, expected at most {MAX_TEXT}")
        with self.open(path) as file:
            return file.read(MAX_TEXT + 1)

    def _once(self, kind: str, path: str, make: Callable[[], _Value]) -> _Value | IntegrityError:
        key = (kind, path)
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except (IntegrityError, InputError) as error:
                self._kept[key] = IntegrityError(str(error).removeprefix(f"{path}: "))
        return self._kept[key]  # type: ignore[return-value]

    def text(self, path: str) -> str:
        """Return a text file, or an empty text when it cannot be read; other rules tell."""
        if path not in self.files:
            return ""
        data = self._once("text", path, lambda: self.read(path))
        return "" if isinstance(data, IntegrityError) else data.decode("utf-8", "replace")

    def digest(self, path: str) -> str:
        """Return the 64 digits of a file's digest, or what is wrong with the file."""

        def hashed() -> str:
            with self.open(path) as file:
                return Digest.of_stream(file).hex

        return str(self._once("digest", path, hashed))

    def json(self, path: str) -> Any | IntegrityError:
        """Return the value of a JSON file, or what is wrong with it."""

        def load() -> Any:
            try:
                return json.loads(self.read(path))
            except RecursionError as error:
                raise IntegrityError("nested too deeply") from error
            except ValueError as error:
                raise IntegrityError(f"not JSON: {error}") from error

        return self._once("json", path, load)

    def binary(self, path: str) -> BinaryFacts | IntegrityError:
        """Return what a program says of itself, or what is wrong with it."""

        def inspect() -> BinaryFacts:
            with self.open(path) as file:
                return inspect_binary(file, path)

        return self._once("binary", path, inspect)

    def packed(self, path: str) -> ArchiveNames | IntegrityError:
        """Return the files in a .tar.gz, or what is wrong with it."""

        def unpack() -> ArchiveNames:
            with self.open(path) as file:
                if (head := file.read(_HEAD * 8))[:2] != b"\x1f\x8b":
                    raise IntegrityError(f"expected gzip data, found {describe(head)}")
                file.seek(0)
                source = GzipSource(file, limit=_MAX_UNPACKED)
                found, passed = [], 0
                for member, start in walk(source, head=_HEAD):
                    if member.regular:
                        found.append(Packed(member, start))
                        passed += member.size
                    if passed > _BEGINNING and not self._unpack:
                        return ArchiveNames(tuple(found), whole=False)
                source.finish()
            return ArchiveNames(tuple(found), whole=True)

        return self._once("packed", path, unpack)

    def kubernetes(self, path: str) -> Manifest | IntegrityError:
        """Return a manifest as kubectl reads it, or what is wrong with it."""

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

    def documents(self, path: str) -> tuple[Object, ...] | IntegrityError:
        """Return the Kubernetes objects in a manifest, or what is wrong with it."""
        found = self.kubernetes(path)
        return found if isinstance(found, IntegrityError) else found.objects

    def objects(self, path: str) -> tuple[Object, ...] | None:
        """Return the objects in a manifest; None when it is missing, empty or cannot be read."""
        documents = self.documents(path) if self.has(path) else ()
        return None if isinstance(documents, IntegrityError) or not documents else documents

    @property
    def has_dashboard(self) -> bool:
        """Whether one of the two dashboards is there."""
        return self.has("headlamp.yaml") or self.has("dashboard.yaml")

    def images(self) -> Iterator[tuple[str, tuple[ImageUse, ...]]]:
        """Return the manifests that are there and can be read, with the images they use."""
        for path in APPLIED:
            found = self.kubernetes(path) if self.has(path) else None
            if isinstance(found, Manifest):
                yield path, found.images

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json, or nothing when it is missing or not an object."""
        value = self.json("manifest.json") if "manifest.json" in self.files else {}
        return value if isinstance(value, dict) else {}

    @cached_property
    def version(self) -> KubeVersion | None:
        """The Kubernetes version: as registered, else as manifest.json or kubeadm says."""
        if self.registered is not None:
            return self.registered
        said: object = self.manifest.get("kubernetes_version")
        if said is None and "k8s/kubeadm" in self.files:
            facts = self.binary("k8s/kubeadm")
            said = None if isinstance(facts, IntegrityError) else facts.kubernetes_version
        try:
            return KubeVersion(said) if isinstance(said, str) else None
        except ValueError:
            return None

    @cached_property
    def architecture(self) -> str | None:
        """The architecture: as asked for, else as manifest.json or kubeadm says."""
        if self._wanted_architecture is not None:
            return self._wanted_architecture
        said: object = self.manifest.get("architecture")
        if said is None and "k8s/kubeadm" in self.files:
            facts = self.binary("k8s/kubeadm")
            said = None if isinstance(facts, IntegrityError) else facts.architecture
        return said if isinstance(said, str) else None

    @cached_property
    def images_list(self) -> tuple[ImportLine, ...]:
        """The lines of docker/images.list that say something."""
        lines = enumerate(self.text(IMAGES_LIST).split("\n"), 1)
        found = (ImportLine(number, tuple(line.split())) for number, line in lines)
        return tuple(line for line in found if line.fields)

    @cached_property
    def archive_names(self) -> tuple[str, ...]:
        """The files in docker/ that a node imports."""
        names = self.within("docker", "*.tar" if self.cloud == "mold" else "*")
        return tuple(name for name in names if name != "images.list")

    def archive(self, name: str) -> ImageArchive | IntegrityError:
        """Return what ``ctr`` finds in an archive of docker/, or why it refuses it."""

        def load() -> ImageArchive:
            with self.open(f"docker/{name}") as file:
                return read_archive(file)

        return self._once("archive", name, load)

    def base_of(self, name: str) -> str:
        """Return the base name a node imports an archive with; empty when there is none."""
        if self.cloud != "mold":
            return ""
        return next((line.base for line in self.images_list if line.archive == name), "")

    @cached_property
    def imported(self) -> frozenset[str]:
        """The names of all images after every archive was imported."""
        names: set[str] = set()
        for name in self.archive_names:
            archive = self.archive(name)
            if not isinstance(archive, IntegrityError):
                names |= archive.imported(self.base_of(name))
        return frozenset(names)

    def misnamed(self, name: str) -> bool:
        """Whether images.list gives an archive another base name than its images have."""
        archive, base = self.archive(name), self.base_of(name)
        if isinstance(archive, IntegrityError) or not base:
            return False
        return any(image.name and repository_of(image.name) != base for image in archive.images)

    def nameless(self, name: str) -> bool:
        """Whether an archive has an image that gets no name, or one made of today's date."""
        archive, base = self.archive(name), self.base_of(name)
        if isinstance(archive, IntegrityError):
            return False
        return any(not (image.name or (base and image.ref_name)) for image in archive.images)

    @cached_property
    def spoilt(self) -> frozenset[str]:
        """Repositories of archives that a rule finds fault with, so that what they lack is clear.

        One mistake is reported once: an image that is missing because its archive cannot be
        imported is no further mistake.
        """
        listed = [line.archive for line in self.images_list]
        faulty = set(listed) - set(self.archive_names)
        for name in self.archive_names:
            one_line = listed.count(name) == 1 and self.base_of(name)
            unlisted = self.cloud == "mold" and bool(listed) and not one_line
            broken = isinstance(self.archive(name), IntegrityError)
            if unlisted or broken or self.misnamed(name) or self.nameless(name):
                faulty.add(name)
        found = {repository_of(line.base) for line in self.images_list if line.archive in faulty}
        for name in faulty & set(self.archive_names):
            archive = self.archive(name)
            if not isinstance(archive, IntegrityError):
                found |= {repository_of(image.name) for image in archive.images if image.name}
        return frozenset(found)


def repository_of(name: str) -> str:
    """Return a reference without tag and digest, as text: ``ctr`` compares texts too."""
    name = name.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
