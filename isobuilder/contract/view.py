"""A disc as the scripts of a node see it: what they would find, read once and within bounds."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal

from isobuilder.contract.archives import ImportedArchive, as_imported
from isobuilder.errors import IntegrityError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.manifests import ImageUse, Manifest, Object
from isobuilder.formats.mentions import Mention
from isobuilder.formats.reference import spelled_out
from isobuilder.medium import MANIFEST, Medium
from isobuilder.model.profile import ProfileName
from isobuilder.rules.operators import later_images

IMAGES_LIST = "docker/images.list"
MAX_LINES = 10_000
"""Lines of images.list that are looked at; real ones have some twenty."""

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


class NodeView:
    """A medium together with what is known about it; everything is read when first asked for."""

    def __init__(
        self,
        medium: Medium,
        *,
        cloud: Literal["mold", "cloudstack"],
        profile: ProfileName,
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
        self.medium = medium
        self._imported: dict[str, ImportedArchive | IntegrityError] = {}
        self.digest, self.json = medium.digest, medium.json
        self.binary = medium.binary
        self.packed = partial(medium.packed, whole=unpack)

    def within(self, folder: str, pattern: str = "*") -> list[str]:
        """Return the names directly in ``folder`` that a shell's glob matches, sorted."""
        start = f"{folder}/"
        names = (path.removeprefix(start) for path in self.files if path.startswith(start))
        return sorted(n for n in names if "/" not in n and fnmatchcase(n, pattern))

    def has(self, path: str) -> bool:
        """Whether the file is there and not empty."""
        return path in self.files and self.files[path].size > 0

    def text(self, path: str) -> str:
        """Return a text file, or an empty text when it cannot be read; other rules tell."""
        text = self.medium.text(path) if path in self.files else ""
        return "" if isinstance(text, IntegrityError) else text

    def documents(self, path: str) -> tuple[Object, ...] | IntegrityError:
        """Return the Kubernetes objects in a manifest, or what is wrong with it."""
        found = self.medium.kubernetes(path)
        return found if isinstance(found, IntegrityError) else found.objects

    def objects(self, path: str) -> tuple[Object, ...] | None:
        """Return the objects in a manifest; None when it is missing, empty or cannot be read."""
        documents = self.documents(path) if self.has(path) else ()
        return None if isinstance(documents, IntegrityError) or not documents else documents

    @property
    def has_dashboard(self) -> bool:
        """Whether one of the two dashboards is there."""
        return self.has("headlamp.yaml") or self.has("dashboard.yaml")

    @property
    def further(self) -> tuple[str, ...]:
        """The manifests that no node applies by itself: people do, who found them on the disc."""
        names = (path for path in self.files if path.endswith((".yaml", ".yml")))
        return tuple(sorted(path for path in names if path not in APPLIED))

    def images(self, paths: Iterable[str] = APPLIED) -> Iterator[tuple[str, tuple[ImageUse, ...]]]:
        """Return the manifests that are there and can be read, with the images they use."""
        for path, found in self._manifests(paths):
            uses = (use for use in found.images if spelled_out(use.image) not in self.ignored)
            yield path, tuple(uses)

    def mentions(self) -> Iterator[tuple[str, Mention]]:
        """Return what manifests name elsewhere that looks like an image and is not ignored."""
        for path, found in self._manifests((*APPLIED, *self.further)):
            for mention in later_images(found):
                if not mention.is_among(self.ignored):
                    yield path, mention

    def _manifests(self, paths: Iterable[str]) -> Iterator[tuple[str, Manifest]]:
        for path in paths:
            found = self.medium.kubernetes(path) if self.has(path) else None
            if isinstance(found, Manifest):
                yield path, found

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json, or nothing when it is missing or not an object."""
        value = self.json(MANIFEST) if MANIFEST in self.files else {}
        return value if isinstance(value, dict) else {}

    @cached_property
    def ignored(self) -> frozenset[str]:
        """The texts in manifests that whoever made the disc knows to be no image it needs."""
        said = self.manifest.get("ignored_images")
        texts = said if isinstance(said, list) else []
        return frozenset(spelled_out(text) for text in texts if isinstance(text, str))

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
        """The lines of docker/images.list that say something, the first ``MAX_LINES`` of them."""
        lines = enumerate(io.StringIO(self.text(IMAGES_LIST), newline="\n"), 1)
        found = (ImportLine(number, tuple(line.split(maxsplit=9))) for number, line in lines)
        return tuple(islice((line for line in found if line.fields), MAX_LINES))

    @cached_property
    def lines_by_archive(self) -> Mapping[str, tuple[ImportLine, ...]]:
        """The lines of docker/images.list by the archive they name."""
        found: dict[str, tuple[ImportLine, ...]] = {}
        for line in self.images_list:
            found[line.archive] = (*found.get(line.archive, ())[:1], line)
        return found

    @cached_property
    def archive_names(self) -> Mapping[str, None]:
        """The files in docker/ that a node imports, sorted; a mapping because many ask for one."""
        names = self.within("docker", "*.tar" if self.cloud == "mold" else "*")
        return dict.fromkeys(name for name in names if name != "images.list")

    def archive(self, name: str) -> ImportedArchive | IntegrityError:
        """Return what ``ctr`` finds in an archive of docker/, or why it refuses it."""
        if name not in self._imported:
            found = self.medium.archive(f"docker/{name}")
            try:
                self._imported[name] = (
                    found if isinstance(found, IntegrityError) else as_imported(found)
                )
            except IntegrityError as error:
                self._imported[name] = error
        return self._imported[name]

    def base_of(self, name: str) -> str:
        """Return the base name a node imports an archive with; empty when there is none."""
        lines = self.lines_by_archive.get(name, ())
        return lines[0].base if lines and self.cloud == "mold" else ""

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
        dropped = [i for i in archive.images if not i.full_name and i.name]
        repositories = {repository_of(image.name) for image in archive.images if image.name}
        if any(repository_of(str(image.name)) != base for image in dropped):
            return True
        return bool(repositories) and base not in repositories

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
        listed = self.lines_by_archive
        faulty = set(listed) - set(self.archive_names)
        for name in self.archive_names:
            one_line = len(listed.get(name, ())) == 1 and self.base_of(name)
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
