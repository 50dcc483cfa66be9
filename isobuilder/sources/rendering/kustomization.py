"""The files that a kustomization consists of: found by reading it, before kubectl sees any of them.

kustomize itself reads whatever a kustomization names: folders anywhere on this machine, addresses,
git repositories. Here each of them has to be a file below the recipe's folder.

Sources: sigs.k8s.io/kustomize, ``api/types/kustomization.go`` (which fields name files),
``api/internal/loader/fileloader.go`` and ``api/internal/git/repospec.go`` (what it fetches),
``api/internal/target/kusttarget.go`` (which texts may stand in place of a file's name).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar
from isobuilder.documents.yaml import MappingNode, ScalarNode, SequenceNode
from isobuilder.errors import InputError
from isobuilder.files import read_bytes
from isobuilder.formats.manifests import (
    MAX_MANIFEST,
    Document,
    Manifest,
    read_manifest,
    scalar_value,
    target,
)

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MOST_FILES = 10_000  # of one kustomization; those of whole platforms have some thousand
_MOST = 64 * 1024 * 1024  # bytes of all its files

_WAY_OUT = (
    "add what is there to the recipe as a manifest with url:, or copy it into the recipe's folder; "
    "what is a file or folder of that name is written with ./ before it"
)
_USE_CHART = "add the chart to the recipe as a manifest with chart:"

# What each field names. kustomize reads keys without regard to capitals, so that one of another
# spelling would be passed over here and read there: what is not listed is refused.
_LISTS = {
    "resources": "file or folder",
    "bases": "file or folder",
    "components": "folder",
    "crds": "file",
    "configurations": "file",
    "patchesStrategicMerge": "text or file",
    "generators": "plugin",
    "transformers": "plugin",
    "validators": "plugin",
}
_HELM = ("helmCharts", "helmGlobals", "helmChartInflationGenerator")
_PATCH = frozenset({"path", "patch", "target", "options"})
_GENERATOR = frozenset(
    {"namespace", "name", "behavior", "literals", "files", "envs", "env", "options", "type"}
)
_REPLACEMENT = frozenset({"path", "source", "targets"})
_ENTRIES = {
    "patches": _PATCH,
    "patchesJson6902": _PATCH,
    "configMapGenerator": _GENERATOR,
    "secretGenerator": _GENERATOR,
    "replacements": _REPLACEMENT,
}
_OTHERS = frozenset(
    {
        *("apiVersion", "kind", "metadata", "openapi", "namePrefix", "nameSuffix", "namespace"),
        *("commonLabels", "labels", "commonAnnotations", "images", "imageTags", "replicas"),
        *("vars", "sortOptions", "generatorOptions", "inventory", "buildMetadata"),
    }
)
_KNOWN = _OTHERS | _LISTS.keys() | _ENTRIES.keys()


@dataclass(frozen=True, slots=True)
class Kustomization:
    """All that kubectl has to see of one, by paths from the recipe's folder on."""

    start: str
    files: Mapping[str, bytes]
    folders: frozenset[str]
    links: Mapping[str, str]  # links on the way, and what they mean

    def copy_to(self, place: Path) -> Path:
        """Write it below ``place``, an empty folder, and return where it starts there."""
        for name in sorted(self.folders):
            (place / name).mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        for name, meant in self.links.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to(place / meant)
        return place / self.start


def read_kustomization(folder: Path, name: str) -> Kustomization:
    """Return the kustomization in the folder ``name`` of a recipe's ``folder``, and what it names.

    Each folder is read once, so that a circle ends; kubectl tells of it.

    Raises:
        InputErrors: what it names is not in the recipe's folder, or cannot be told; all at once.
        InputError: a file cannot be read, or there are too many.
    """
    walk = _Walk(folder, Path(os.path.realpath(folder)))
    start = Path(os.path.realpath(folder / name))
    if not start.is_relative_to(walk.root):
        raise InputError(f"{folder / name}: leads out of the recipe's folder")
    walk.take_folder(start, Mark(str(folder / name)), "")
    while walk.waiting:
        walk.read(*walk.waiting.pop())
    if walk.mistakes:
        raise InputErrors(walk.mistakes)
    folders = frozenset(walk.short(one) for one in walk.seen)
    return Kustomization(walk.short(start), walk.files, folders, walk.links)


@dataclass(slots=True)
class _Walk:
    folder: Path  # as messages call it
    root: Path  # the same, without links
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    waiting: list[tuple[Path, Path]] = field(default_factory=list)  # folders, and their files
    size: int = 0

    def short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def read(self, folder: Path, file: Path) -> None:
        """Take all that a file called ``kustomization.yaml`` names."""
        place = str(self.folder / self.short(file))
        documents = self._read_documents(self.take_file(file), place)
        if len(documents) > 1:
            self.refuse(documents[1].mark, "", "a second document; kustomize reads only the first")
        for root in documents[:1]:
            if isinstance(root, Map):
                self._fields(root, folder)
            else:
                self.refuse(root.mark, "", "expected keys and values")

    def _read_documents(self, data: bytes, place: str) -> list[Node]:
        try:
            return _documents(data, place)
        except InputErrors as error:
            self.mistakes += error.mistakes
            return []

    def _fields(self, root: Map, folder: Path) -> None:
        for key, pair in root.entries.items():
            if key in _HELM:
                fact = "kustomize would fetch and render a chart, which kubectl refuses as well"
                self.refuse(pair.mark, key, fact, _USE_CHART)
            elif key not in _KNOWN:
                self.refuse(pair.mark, key, "no field of a kustomization that is known here")
            elif key in _LISTS:
                for where, node in self._items(pair, key):
                    self._take(node, where, folder, _LISTS[key])
            elif key in _ENTRIES:
                for where, node in self._items(pair, key):
                    self._entry(node, where, folder, _ENTRIES[key])
            elif key == "openapi" and isinstance(pair.value, Map):
                self._named(pair.value, key, folder)

    def _entry(self, node: Node, where: str, folder: Path, known: frozenset[str]) -> None:
        if not isinstance(node, Map):
            self.refuse(node.mark, where, "expected keys and values")
            return
        for key, pair in node.entries.items():
            if key not in known:
                self.refuse(pair.mark, f"{where}.{key}", "no field that is known here")
        self._named(node, where, folder)

    def _named(self, node: Map, where: str, folder: Path) -> None:
        """Take the files that an entry names, or what a plugin is told; in whatever spelling."""
        for key, pair in node.entries.items():
            at, name = f"{where}.{key}".strip("."), key.casefold()
            if name in {"path", "env"}:
                self._take(pair.value, at, folder, "file")
            elif name in {"files", "envs", "paths", "replacements"}:
                kind = {"files": "keyed file", "paths": "text or file"}.get(name, "file")
                for inner, item in self._items(pair, at):
                    if name == "replacements":
                        self._entry(item, inner, folder, _REPLACEMENT)
                    else:
                        self._take(item, inner, folder, kind)

    def _items(self, pair: Pair, where: str) -> Iterator[tuple[str, Node]]:
        node = pair.value
        if isinstance(node, Items):
            yield from ((f"{where}[{number}]", item) for number, item in enumerate(node.items))
        elif not (isinstance(node, Scalar) and node.value is None):
            self.refuse(node.mark, where, "expected a list")

    def _take(self, node: Node, where: str, folder: Path, kind: str) -> None:
        """Take what one text names, of a kustomization in ``folder``."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            if not (isinstance(node, Scalar) and node.value is None):
                self.refuse(node.mark, where, "expected text")
            return
        text = node.value
        if kind in {"text or file", "plugin"} and (inner := _inline(text, node.mark)):
            if kind == "plugin":
                self._plugins(inner, where, folder)
            return
        if kind == "keyed file":
            text = text.rpartition("=")[2]
        path = self._resolved(text, node.mark, where, folder)
        if path is None:
            return
        if path.is_dir() and kind in {"file or folder", "folder"}:
            self.take_folder(path, node.mark, where)
        elif path.is_dir() and kind == "plugin":
            # What such a folder gives is known only when it is rendered, and then read as names.
            fact = f"{text[:120]!r} is a folder; what it gives is known only when it is rendered"
            self.refuse(node.mark, where, fact, "name the files of the folder one by one")
        elif kind == "folder" or not path.is_file():
            wanted = "folder" if kind == "folder" else "file"
            fact = f"there is no {wanted} {text[:120]!r}"
            self.refuse(node.mark, where, fact, "name it from the folder of this file on")
        else:
            data = self.take_file(path)
            if kind == "plugin":
                place = str(self.folder / self.short(path))
                self._plugins(self._read_documents(data, place), "", folder)

    def _plugins(self, documents: list[Node], where: str, folder: Path) -> None:
        """Take what generators and transformers name; from the kustomization's folder on."""
        waiting = list(documents)
        while waiting:
            node = waiting.pop()
            if not isinstance(node, Map):
                continue
            for key, pair in node.entries.items():
                if key.casefold() == "items" and isinstance(pair.value, Items):
                    waiting += pair.value.items
                if isinstance(pair.value, Scalar) and pair.value.text.startswith("HelmChart"):
                    self.refuse(pair.value.mark, where, "kubectl renders no charts", _USE_CHART)
            self._named(node, where, folder)

    def take_folder(self, folder: Path, mark: Mark, where: str) -> None:
        """Have the kustomization in a folder read, if it was not yet."""
        if folder in self.seen:
            return
        self.seen.add(folder)
        found = [folder / name for name in _NAMES if (folder / name).exists()]
        if not found:
            shown = self.folder / self.short(folder)
            self.refuse(mark, where, f"there is no {_NAMES[0]} in {shown}")
        for file in found:
            path = self._resolved(file.name, mark, where, folder)
            if path is not None:
                self.waiting.append((folder, path))

    def take_file(self, path: Path) -> bytes:
        """Return the bytes of a file, which kubectl is to see."""
        name = self.short(path)
        if name not in self.files:
            self.files[name] = read_bytes(path, MAX_MANIFEST)
            self.size += len(self.files[name])
            if self.size > _MOST or len(self.files) > _MOST_FILES:
                raise InputError(
                    f"{self.folder}: a kustomization of more than {_MOST_FILES} files or "
                    f"{_MOST // 1024**2} MiB"
                )
        return self.files[name]

    def _resolved(self, text: str, mark: Mark, where: str, folder: Path) -> Path | None:
        """Return what a text means from ``folder`` on, without links; None if that is refused."""
        if _is_elsewhere(text):
            fact = f"{text[:120]!r} is not in the recipe's folder, and nothing is fetched for it"
            self.refuse(mark, where, fact, _WAY_OUT)
            return None
        path = Path(os.path.normpath(folder / text))
        try:
            inside = bool(text) and not text.startswith("/") and self._follow(path)
        except OSError as error:
            self.refuse(mark, where, f"{text[:120]!r}: {error.strerror}")
            return None
        if inside:
            return inside
        fact = f"{text[:120]!r} leads out of the recipe's folder" if text else "an empty name"
        self.refuse(mark, where, fact, "copy it into the recipe's folder" if text else None)
        return None

    def _follow(self, path: Path) -> Path | None:
        """Return where a path leads, and note the links on the way; None if it leads out."""
        if not path.is_relative_to(self.root):
            return None
        at = self.root
        for part in path.relative_to(self.root).parts:
            at /= part
            if at.is_symlink():
                real = Path(os.path.realpath(at))
                if not real.is_relative_to(self.root):
                    return None
                self.links[self.short(at)] = self.short(real)
                at = real
        return at

    def refuse(self, mark: Mark, where: str, fact: str, hint: str | None = None) -> None:
        self.mistakes.append(Mistake(mark, where, fact, hint))


def _is_elsewhere(text: str) -> bool:
    """Say if some version of kustomize takes a text for an address or a git repository."""
    first = text.partition("/")[0]
    return (
        ":" in first
        or "@" in first
        or "?" in text
        or "//" in text
        or "_git/" in text
        or first.casefold() in {"github.com", "www.github.com"}
    )


def _inline(text: str, mark: Mark) -> list[Node]:
    """Return the objects that stand in the place of a file's name; none if it is a name."""
    try:
        found = _documents(text.encode(), mark.file)
    except InputErrors:
        return []
    is_objects = all(isinstance(one, Map) and one.text("kind") for one in found)
    return [_at(one, mark) for one in found] if is_objects else []


def _at(node: Node, mark: Mark) -> Node:
    """Return what a text inside a file holds, in the place of that text."""
    if isinstance(node, Map):
        entries = node.entries.items()
        return Map({key: Pair(mark, _at(pair.value, mark)) for key, pair in entries}, mark)
    if isinstance(node, Items):
        return Items(tuple(_at(item, mark) for item in node.items), mark)
    return Scalar(node.value, node.text, mark, quoted=node.quoted)


def _documents(data: bytes, place: str) -> list[Node]:
    """Return what a file holds, read as kubectl does.

    Raises:
        InputErrors: kubectl would not read it, or may read it otherwise.
    """
    manifest = read_manifest(data, place)
    if manifest.oddities:
        raise InputErrors(manifest.oddities)
    return [_tree(document, manifest) for document in manifest.documents]


def _tree(document: Document, manifest: Manifest) -> Node:
    made: dict[int, Node] = {}
    for node in document.nodes:
        mark = manifest.mark(node)
        if isinstance(node, ScalarNode):
            value = scalar_value(node)
            made[id(node)] = Scalar(value, node.text, mark, quoted=bool(node.style))
        elif isinstance(node, SequenceNode):
            made[id(node)] = Items(tuple(made[id(target(item))] for item in node.items), mark)
        elif isinstance(node, MappingNode):
            fields = document.fields[id(node)].items()
            entries = {
                key: Pair(manifest.mark(each.key), made[id(target(each.value))])
                for key, each in fields
            }
            made[id(node)] = Map(entries, mark)
    return made[id(target(document.root))]
