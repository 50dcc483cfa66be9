"""What a recipe's profile demands of it, checked.

Source: docs/node-contract.md, A.4, A.7, A.10 and C.1.
"""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

from isobuilder.documents.mistakes import Mistake, nearest
from isobuilder.documents.nodes import Map, locate, path_text
from isobuilder.model.payload import SYSTEMS
from isobuilder.model.profile import (
    API_SIGNATURE,
    FORBIDDEN,
    PROFILES,
    REVISION_LABEL,
    SECTIONS,
    SIGNATURE_LABEL,
    Kind,
    Requirement,
    unmet,
)
from isobuilder.model.recipe import Component, ManifestEntry, Recipe

_OURS = {"manifest.json", "sha256sums", "sbom.cdx.json"}
_OUR_FOLDERS = {"docker"}
_BOOT_FOLDERS = ("boot", "boot/grub", "boot/kiso", "EFI", "EFI/BOOT")


def check_profile(
    recipe: Recipe, architecture: str, tree: Map
) -> tuple[list[Mistake], list[Mistake]]:
    """Return what breaks the contract of the recipe's profile, and what merely falls short of it.

    ``tree`` is where the recipe came from; it gives the places.
    """
    judge = _Checker(recipe, architecture, tree)
    judge.paths()
    judge.manifests()
    judge.images()
    judge.components()
    judge.system()
    return judge.mistakes, judge.warnings


class _Checker:
    def __init__(self, recipe: Recipe, architecture: str, tree: Map) -> None:
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self._recipe, self._architecture, self._tree = recipe, architecture, tree
        self._profile = PROFILES[recipe.profile]

    def _at(self, fact: str, *steps: str | int, hint: str | None = None) -> Mistake:
        mark, _ = locate(self._tree, steps)
        return Mistake(mark, path_text(self._tree, steps), fact, hint)

    def _paths(self) -> list[tuple[str, Kind, tuple[str, int]]]:
        recipe = self._recipe
        found: list[tuple[str, Kind, tuple[str, int]]] = []
        found += [(e.path, "file", ("files", i)) for i, e in enumerate(recipe.files)]
        found += [(e.path, "manifest", ("manifests", i)) for i, e in enumerate(recipe.manifests)]
        found += [(e.path, "render", ("render", i)) for i, e in enumerate(recipe.render)]
        return found

    def paths(self) -> None:
        """Every needed path once, of the right kind; nothing where our own files go."""
        for need in self._profile.needs:
            self.mistakes += self._need(need, f"the profile {self._recipe.profile} needs")
        for need in self._profile.wishes:
            self.warnings += self._need(need, "no")
        for path, _, steps in self._paths():
            name = path.rpartition("/")[2].lower()
            if path.lower().split("/")[0] in _OURS | _OUR_FOLDERS:
                fact = f"the build itself writes {path}"
                self.mistakes.append(self._at(fact, *steps, "path"))
            if name.startswith(FORBIDDEN):
                fact = f"nodes that fetch the tree over HTTP leave {path} out"
                self.mistakes.append(self._at(fact, *steps, "path", hint="choose another name"))
        self._folders()

    def _folders(self) -> None:
        """No path is a file and a folder at once, and no folder is written in two ways."""
        files = {path.lower(): (path, steps) for path, _, steps in self._paths()}
        known: dict[str, tuple[str, str]] = {}  # folders in lower case: as written, and where
        if self._recipe.boot:
            known = {name.lower(): (name, "what starts machines") for name in _BOOT_FOLDERS}
        for path, _, steps in self._paths():
            here = path_text(self._tree, (*steps, "path"))
            for folder in itertools.accumulate(path.split("/")[:-1], "{}/{}".format):
                if other := files.get(folder.lower()):
                    place = path_text(self._tree, (*other[1], "path"))
                    fact = f"{folder} is a folder here, and {other[0]} is a file in {place}"
                    self.mistakes.append(self._at(fact, *steps, "path", hint="move one of them"))
                spelling, place = known.setdefault(folder.lower(), (folder, here))
                if spelling != folder:
                    fact = f"the folder {folder} is written {spelling} in {place}"
                    hint = "write it in one way: readers of the disc that fold case see one folder"
                    self.mistakes.append(self._at(fact, *steps, "path", hint=hint))
        for path, (name, steps) in files.items():
            if path in known and known[path][1] == "what starts machines":
                fact = f"{name} is a folder of {known[path][1]}"
                self.mistakes.append(self._at(fact, *steps, "path", hint="choose another name"))

    def _need(self, need: Requirement, words: str) -> list[Mistake]:
        paths = self._paths()
        told = unmet(need, [(path, kind) for path, kind, _ in paths])
        match told:
            case None:
                return []
            case fact, None:
                section = SECTIONS[need.kind]
                return [self._at(f"{words} {fact}", section, hint=f"add it to {section}")]
            case fact, number:
                _, kind, steps = paths[number]
                key = ("path",) if kind == need.kind else ()
                return [self._at(fact, *steps, *key)]

    def manifests(self) -> None:
        """Images by digest where Mold insists, untouched where it has their hash."""
        for index, entry in enumerate(self._recipe.manifests):
            steps = ("manifests", index, "images")
            if entry.path in self._profile.pinned and entry.images != "pin":
                fact = f"Mold accepts {entry.path} only with images by digest"
                self.mistakes.append(self._at(fact, *steps, hint="write images: pin"))
            if entry.path in self._profile.kept and entry.images != "keep":
                fact = f"{entry.path} must stay as upstream wrote it: csi-profile.json has its hash"
                self.mistakes.append(self._at(fact, *steps, hint="write images: keep"))

    def images(self) -> None:
        """The pause image, without which no pod starts, and those that manifests name."""
        images = self._recipe.images
        pause = any("/pause:" in text or "/pause@" in text for text in images.extra)
        if "kubeadm" not in images.sources and not pause:
            fact = "no pause image: neither images.from has kubeadm nor images.extra a pause image"
            hint = "write from: [kubeadm, manifests]"
            self.mistakes.append(self._at(fact, "images", hint=hint))
        if "manifests" not in images.sources and self._recipe.manifests:
            fact = "images of the manifests are not taken: images.from has no manifests"
            self.warnings.append(self._at(fact, "images", "from"))

    def system(self) -> None:
        """An operating system that somebody makes or serves."""
        wish = self._recipe.boot
        if wish and wish.payload is None and wish.os not in SYSTEMS:
            fact = f"isobuilder os build makes no {wish.os!r}"
            self.warnings.append(self._at(fact, "boot", "os", hint=nearest(wish.os, SYSTEMS)))

    def components(self) -> None:
        """Who made a component must be told, and be what its image and manifest say."""
        for name, path in self._profile.components:
            component = self._recipe.components.get(name)
            if component is None:
                fact = f"the profile {self._recipe.profile} needs the component {name}"
                self.mistakes.append(self._at(fact, "components", hint=f"add components.{name}"))
                continue
            self._labels(name, component)
            self._minor(name, component)
            for entry in self._recipe.manifests:
                if entry.path == path:
                    self._source(name, component, entry)

    def _labels(self, name: str, component: Component) -> None:
        steps = ("components", name)
        if component.source_sha is None:
            self.mistakes.append(self._at("the key 'source_sha' is missing", *steps))
        found = component.labels.get(SIGNATURE_LABEL)
        if found != API_SIGNATURE:
            fact = f"expected {SIGNATURE_LABEL}: {API_SIGNATURE}, found {found or 'nothing'}"
            self.mistakes.append(self._at(fact, *steps, "labels"))
        found = component.labels.get(REVISION_LABEL, component.source_sha)
        if found != component.source_sha:
            fact = f"expected the source_sha {component.source_sha}, found {found}"
            self.mistakes.append(self._at(fact, *steps, "labels", REVISION_LABEL))

    def _minor(self, name: str, component: Component) -> None:
        own = self._recipe.kubernetes.minor_text
        if name == "autoscaler" and component.kubernetes_minor != own:
            found = component.kubernetes_minor or "nothing"
            fact = f"expected the recipe's own {own}, found {found}"
            steps = ("components", name, "kubernetes_minor")
            self.mistakes.append(self._at(fact, *steps))

    def _source(self, name: str, component: Component, entry: ManifestEntry) -> None:
        """A manifest straight from a repository must be of the commit that is told for it."""
        parts = urlsplit(entry.source)
        if parts.hostname != "raw.githubusercontent.com" or component.manifest_commit is None:
            return
        repository = (component.source_repository or "").removeprefix("https://github.com/")
        wanted = f"/{repository}/{component.manifest_commit}/"
        if not parts.path.startswith(wanted):
            fact = f"expected {entry.path} from {wanted.strip('/')}, found {entry.url}"
            key = "source_sha" if component.manifest_sha is None else "manifest_sha"
            hint = "where driver and manifest are of different commits, write manifest_sha"
            self.mistakes.append(self._at(fact, "components", name, key, hint=hint))
