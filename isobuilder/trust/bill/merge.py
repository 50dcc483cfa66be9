"""Layers, lowest first -> what a container sees of them.

Source: OCI image specification, layer.md: whiteouts and opaque folders hide what lies below, a file
in the place of a folder hides what was in it, and folders may be links that lower layers have.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from isobuilder.trust.bill.look import Found, LayerContents

_MAX_LINKS = 40  # steps, as the kernel has it
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_NO_SYSTEM = Found()


@dataclass(slots=True)
class Root:
    """The root file system of a container, as far as packages are concerned."""

    found: dict[str, Found] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # symbolic ones

    @property
    def system(self) -> dict[str, str]:
        """What the operating system says of itself; empty where there is none."""
        for path in _OS_RELEASE:
            if told := self.found.get(self.resolved(path), _NO_SYSTEM).system:
                return dict(told)
        return {}

    def licences_of(self, package: str) -> tuple[str, ...]:
        """Return what the documentation of a Debian package says."""
        place = self.resolved(f"usr/share/doc/{package}/copyright")
        return self.found.get(place, _NO_SYSTEM).licences

    def resolved(self, path: str) -> str:
        """Return where ``path`` leads, through every link on the way; a loop leads nowhere."""
        if not self.links:
            return path
        done: list[str] = []
        todo = path.split("/")[::-1]
        steps = 0
        while todo:
            part = todo.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                done = done[:-1]
                continue
            done.append(part)
            target = self.links.get("/".join(done))
            if target is not None:
                steps += 1
                if steps > _MAX_LINKS:
                    return path
                done = [] if target.startswith("/") else done[:-1]
                todo += target.split("/")[::-1]
        return "/".join(done)

    def put(self, layer: LayerContents) -> None:
        """Lay ``layer`` over what is there."""
        replaced = {*layer.removed, *layer.others, *layer.folders}
        kept = {path: target for path, target in self.links.items() if path not in replaced}
        places = _Places(kept | layer.symbolic)
        gone = {places.of(path) for path in (*layer.removed, *layer.others)}
        emptied = {self.resolved(path) if path else "" for path in layer.emptied}
        folders = {places.of(path) for path in layer.folders}
        self.found = {
            path: found
            for path, found in self.found.items()
            if path not in folders and not _is_hidden(path, gone, emptied)
        }
        self.links = {
            path: target
            for path, target in self.links.items()
            if path not in folders and not _is_hidden(path, gone, emptied)
        }
        below = self.found
        for path, target in layer.hard.items():
            if path not in layer.found and (other := below.get(places.of(target))) is not None:
                self.found[places.of(path)] = other
        self.found |= {places.of(path): found for path, found in layer.found.items()}
        self.links |= {places.of(path): target for path, target in layer.symbolic.items()}


class _Places:
    """Where paths of a layer lie in the root below it: their folders may be links there."""

    def __init__(self, links: dict[str, str]) -> None:
        self._root = Root(links=links)
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        folder, slash, name = path.rpartition("/")
        if not slash:
            return path
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._root.resolved(folder)
        return posixpath.join(known, name)


def _is_hidden(path: str, gone: set[str], emptied: set[str]) -> bool:
    if path in gone or "" in emptied:
        return True
    return any(folder in gone or folder in emptied for folder in _folders_of(path))


def _folders_of(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def merged(layers: Iterable[LayerContents]) -> Root:
    """Return what is seen of ``layers``, the lowest of which comes first."""
    root = Root()
    for layer in layers:
        root.put(layer)
    return root
