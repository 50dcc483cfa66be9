"""What is wrong with an ISO's descriptors and trees."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator

from isobuilder.iso.check.subject import AGAIN, Subject
from isobuilder.iso.names import JOLIET_LIMIT
from isobuilder.iso.read.rawiso import BLOCK, Extent, RawIso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.read.tree import Tree
from isobuilder.iso.read.volume import IsoVolume
from isobuilder.model.finding import Finding

_NOT_FOR_JOLIET = re.compile(r"[*/:;?\\\x00-\x1f]")

_JOLIET_LONG = 103  # characters that other tools take with -joliet-long

_Node = tuple[Extent, ...] | None  # a file's extents; None for a folder


def check_structure(subject: Subject) -> Iterator[Finding]:
    """Give what is wrong with descriptors, trees and names; reads no file.

    Raises:
        IntegrityError: a path table cannot be read.
    """
    reader, label = subject.reader, subject.label
    primary = reader.volumes.primary
    promised = primary.blocks * BLOCK
    for found in dict.fromkeys((reader.label, *reader.other_labels)):
        if label is None or found == label:
            continue
        yield Finding(
            rule="iso.label",
            place="volume label",
            fact=f"expected {label!r}, got {found!r}",
            remedy=f"give the ISO the label {label}; nodes search for it",
        )
    if reader.size < promised:
        yield Finding(
            rule="iso.size",
            place="volume descriptor",
            fact=f"the volume has {promised} bytes, the file only {reader.size}",
            remedy="download or build it again",
        )
    elif reader.size > promised:
        yield Finding(
            rule="iso.size",
            place="volume descriptor",
            fact=f"{reader.size - promised} bytes behind the volume of {promised}",
            remedy="cut them off, or find out what added them",
            severity="warning",
        )
    yield from _check_rock_ridge(reader)
    for path, kind in reader.tree.specials.items():
        yield Finding(
            rule="iso.special", place=path, fact=f"a {kind}", remedy="put regular files on it only"
        )
    # Without Rock Ridge the tree may be Joliet's.
    primary_tree = reader.tree if reader.rock_ridge is not None else reader.plain
    yield from _check_path_tables(reader.image, primary, primary_tree)
    yield from _check_joliet(reader)


def _check_rock_ridge(reader: IsoReader) -> Iterator[Finding]:
    """Give what a node makes of an ISO by Rock Ridge, or without it."""
    for path, fact in reader.tree.oddities.items():
        yield Finding(
            rule="iso.rock-ridge",
            place=path or "root folder",
            fact=f"a folder of {fact}; nodes take the first",
            remedy="write the ISO with genisoimage -D, or another tool",
            severity="warning",
        )
    if reader.volumes.enhanced:
        yield Finding(
            rule="iso.volume",
            place="volume descriptors",
            fact="an enhanced volume (level 4), which is the same tree again; nodes pass over it",
            remedy="write the ISO at level 3",
            severity="warning",
        )
    if reader.rock_ridge is not None:
        return
    if reader.tree is reader.joliet and not any(map(_is_cut, reader.tree.files)):
        yield Finding(
            rule="iso.rock-ridge",
            place="root folder",
            fact="no Rock Ridge: nodes take names from the Joliet tree, which keeps no modes",
            remedy="write the ISO with Rock Ridge",
            severity="warning",
        )
        return
    yield Finding(
        rule="iso.rock-ridge",
        place="root folder",
        fact="no Rock Ridge, so names and modes are not the ones a node looks for",
        remedy="write the ISO with Rock Ridge",
    )


def _is_cut(path: str) -> bool:
    """Whether a name is as long as Joliet takes, so that more of it may be lost."""
    return any(len(part) in {JOLIET_LIMIT, _JOLIET_LONG} for part in path.split("/"))


def _check_joliet(reader: IsoReader) -> Iterator[Finding]:
    primary, joliet = reader.volumes.primary, reader.volumes.joliet
    if joliet is None or reader.joliet is None:
        yield Finding(
            rule="iso.joliet",
            place="volume descriptors",
            fact="no Joliet tree, so Windows shows short names",
            remedy="write the ISO with Joliet",
            severity="warning",
        )
        return
    if joliet.blocks != primary.blocks:
        yield Finding(
            rule="iso.joliet",
            place="volume descriptors",
            fact=f"the primary volume has {primary.blocks} blocks, the Joliet one {joliet.blocks}",
            remedy=AGAIN,
        )
    yield from _check_path_tables(reader.image, joliet, reader.joliet)
    if reader.rock_ridge is not None:
        yield from _compare(reader.tree, reader.joliet)
    elif _holdings(reader.plain) != _holdings(reader.joliet):
        yield Finding(
            rule="iso.joliet",
            place="volume descriptors",
            fact="the plain tree and the Joliet tree hold other files than each other",
            remedy=AGAIN,
        )


def _holdings(tree: Tree) -> tuple[Counter[tuple[Extent, ...]], int, Counter[str]]:
    """Return where the files of a tree lie, and what else it has: names differ by kind of tree."""
    places = Counter(file.extents for file in tree.files.values())
    return places, len(tree.folders), Counter(tree.specials.values())


def _check_path_tables(image: RawIso, volume: IsoVolume, tree: Tree) -> Iterator[Finding]:
    folders = sorted(extent.offset for extent in tree.folders.values())
    for table, order in zip(volume.path_tables, ("<", ">"), strict=True):
        if sorted(_table_folders(image, table, order)) != folders:
            yield Finding(
                rule="iso.path-table",
                place=f"byte {table.offset}",
                fact=f"a path table lists other folders than the {tree.naming.value} tree has",
                remedy=AGAIN,
            )


def _table_folders(image: RawIso, table: Extent, order: str) -> Iterator[int]:
    # ECMA-119, 9.4: lengths of name and attributes, extent, parent, name padded to even.
    data = image.read(table, "path table")
    at = 0
    while at + 8 < len(data) and data[at]:
        (block,) = struct.unpack_from(order + "I", data, at + 2)
        yield block * BLOCK
        at += 8 + data[at] + data[at] % 2
    if any(data[at:]):
        raise image.wrong(table.offset + at, "path table: something behind its last entry")


def _compare(tree: Tree, joliet: Tree) -> Iterator[Finding]:
    """Give the differences between the two trees, folder by folder.

    What has a name that Joliet cannot hold may have another name there, or none.
    """
    ours, theirs = _by_folder(tree), _by_folder(joliet)
    waiting = [("", "")]
    while waiting:
        here, there = waiting.pop()
        children, left = ours.get(here, {}), dict(theirs.get(there, {}))
        stand_ins: dict[_Node, list[str]] = {}
        for name in sorted(left.keys() - children.keys(), reverse=True):
            stand_ins.setdefault(left[name], []).append(name)
        for name, node in sorted(children.items()):
            fits = _fits_joliet(name)
            candidates = [name] if fits or name in left else stand_ins.get(node, [])
            other = candidates.pop() if candidates else name
            if other not in left:
                yield _difference(here, name, "not in the Joliet tree", warning=not fits)
                continue
            found = left.pop(other)
            if node is None and found is None:
                waiting.append((_below(here, name), _below(there, other)))
            elif node != found:
                yield _difference(here, name, "the Joliet tree has other bytes for it")
        for name in sorted(left):
            if _below(here, name) in tree.specials:
                continue  # told as what it is; some tools give it to Joliet as a file
            yield _difference(there, name, "in the Joliet tree only")


def _by_folder(tree: Tree) -> dict[str, dict[str, _Node]]:
    found: dict[str, dict[str, _Node]] = {}
    nodes: dict[str, _Node] = dict.fromkeys(tree.folders)
    nodes.update({path: entry.extents for path, entry in tree.files.items()})
    del nodes[""]
    for path, node in nodes.items():
        parent, _, name = path.rpartition("/")
        found.setdefault(parent, {})[name] = node
    return found


def _difference(folder: str, name: str, fact: str, *, warning: bool = False) -> Finding:
    return Finding(
        rule="iso.joliet",
        place=_below(folder, name),
        fact=fact,
        remedy=AGAIN,
        severity="warning" if warning else "error",
    )


def _fits_joliet(name: str) -> bool:
    return len(name) <= JOLIET_LIMIT and not _NOT_FOR_JOLIET.search(name)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
