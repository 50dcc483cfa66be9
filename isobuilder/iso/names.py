"""Names for the two name spaces beside Rock Ridge: plain ISO 9660 and Joliet.

Both are derived from the sorted tree, so the order in which files are added changes nothing. Equal
identifiers in one folder must never happen: readers take them for parts of one file.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_PLAIN_LIMIT = 30
"""Characters of name and extension together (ECMA-119, 7.5.1)."""

JOLIET_LIMIT = 64
"""Characters of a Joliet identifier (Joliet specification, "Identifier lengths")."""

_JOLIET_REFUSED = re.compile(r"[\x00-\x1f*/:;?\\]")


@dataclass(slots=True)
class Folder:
    """One folder of the tree that is to be named; filled once, then only read."""

    folders: dict[str, Folder] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """What each path of a tree is called in the other two name spaces, from the root on."""

    plain: dict[str, str]  # "k8s/kubeadm" -> "/K8S/KUBEADM.;1"
    joliet: dict[str, str]  # "k8s/kubeadm" -> "/k8s/kubeadm"
    folders: tuple[str, ...]  # every folder, parents first


def folders_of(paths: Iterable[str]) -> Folder:
    """Return ``paths`` as a tree.

    Raises:
        ValueError: a path is there twice, or is a file and a folder at once; the text names it.
    """
    root = Folder()
    for path in sorted(paths):
        *parents, name = path.split("/")
        folder = root
        for parent in parents:
            if parent in folder.files:
                raise ValueError(f"{parent} is a file and a folder in {path}")
            folder = folder.folders.setdefault(parent, Folder())
        if name in folder.files:
            raise ValueError(f"two entries for the path {path}")
        folder.files[name] = None
    return root


def names_of(paths: Iterable[str]) -> Names:
    """Return the plain and Joliet names of ``paths``.

    Raises:
        ValueError: as for ``folders_of``.
    """
    names = Names({}, {}, ())
    folders: list[str] = []
    waiting = deque([("", "", "", folders_of(paths))])
    while waiting:
        path, plain, joliet, folder = waiting.popleft()
        members = sorted([*folder.folders, *folder.files])
        is_folder = folder.folders.keys()
        plain_names = _unique(members, is_folder, plain_name, _numbered_plain)
        joliet_names = _unique(members, is_folder, _joliet_name, _numbered_joliet)
        for member in members:
            below = f"{path}{member}"
            is_file = member not in folder.folders
            names.plain[below] = f"{plain}/{plain_names[member]}" + (";1" if is_file else "")
            names.joliet[below] = f"{joliet}/{joliet_names[member]}"
            if not is_file:
                folders.append(below)
                waiting.append(
                    (f"{below}/", names.plain[below], names.joliet[below], folder.folders[member])
                )
    return Names(names.plain, names.joliet, tuple(folders))


def plain_name(name: str, *, folder: bool) -> str:
    """Return the nearest plain name without version: ``KUBELET.SERVICE``, ``KUBEADM.``, ``K8S``."""
    stem, dot, extension = name.upper().rpartition(".")
    if folder or not dot:
        return re.sub(r"[^A-Z0-9_]", "_", name.upper())[:_PLAIN_LIMIT] + ("" if folder else ".")
    extension = re.sub(r"[^A-Z0-9_]", "_", extension)[:8]
    stem = re.sub(r"[^A-Z0-9_]", "_", stem)[: _PLAIN_LIMIT - len(extension)]
    return f"{stem}.{extension}"


def _joliet_name(name: str, *, folder: bool = False) -> str:
    """Return the nearest Joliet name; a name that is too long keeps its beginning and extension."""
    text = _JOLIET_REFUSED.sub("_", name)
    if len(text) <= JOLIET_LIMIT:
        return text
    stem, dot, extension = text.rpartition(".")
    if folder or not dot or len(extension) > 8:
        return text[:JOLIET_LIMIT]
    return f"{stem[: JOLIET_LIMIT - 1 - len(extension)]}.{extension}"


def _numbered_plain(name: str, number: int, *, folder: bool) -> str:
    tail = f"_{number}"
    stem, dot, extension = name.partition(".") if not folder else (name, "", "")
    return f"{stem[: _PLAIN_LIMIT - len(extension) - len(tail)]}{tail}{dot}{extension}"


def _numbered_joliet(name: str, number: int, *, folder: bool) -> str:
    tail = f"~{number}"
    stem, dot, extension = name.rpartition(".")
    if folder or not dot:
        return name[: JOLIET_LIMIT - len(tail)] + tail
    return f"{stem[: JOLIET_LIMIT - 1 - len(extension) - len(tail)]}{tail}.{extension}"


def _unique(
    members: list[str],
    folders: Iterable[str],
    near: Callable[..., str],
    numbered: Callable[..., str],
) -> dict[str, str]:
    """Name every member so that no two names are equal, not even without regard to case."""
    is_folder = set(folders)
    wanted = {name: near(name, folder=name in is_folder) for name in members}
    by_key: dict[str, list[str]] = {}
    for name in members:
        by_key.setdefault(_key(wanted[name]), []).append(name)
    taken = set(by_key)
    for rivals in by_key.values():
        number = 0
        for name in rivals[1:]:
            while True:
                number += 1
                candidate = numbered(wanted[name], number, folder=name in is_folder)
                if _key(candidate) not in taken:
                    break
            wanted[name] = candidate
            taken.add(_key(candidate))
    return wanted


def _key(name: str) -> str:
    return name.removesuffix(".").upper()
