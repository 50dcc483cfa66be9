"""Typed values that know where they were written: what both doors make and all checks read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isobuilder.documents.mistakes import Mark, key_path


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; ``text`` is how it was written, without quotes."""

    value: str | int | float | bool | None
    text: str
    mark: Mark
    quoted: bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Pair:
    """One key of a map: where the key is, and its value."""

    mark: Mark
    value: Node


@dataclass(frozen=True, slots=True)
class Map:
    """Keys and values, in the order of the file."""

    entries: dict[str, Pair]
    mark: Mark

    def get(self, key: str) -> Node | None:
        """Return the value of ``key``, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None

    def text(self, key: str) -> str | None:
        """Return the value of ``key`` if it is text, or None."""
        value = self.get(key)
        return value.value if isinstance(value, Scalar) and isinstance(value.value, str) else None


Node = Scalar | Items | Map


def plain(node: Node) -> Any:
    """Return ``node`` as dictionaries, lists and values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


def locate(root: Node, steps: Iterable[str | int]) -> tuple[Mark, Node | None]:
    """Return where the value at ``steps`` is, and the value.

    Where the path ends early, the mark is that of the deepest part that exists and the value None.
    """
    mark, node = root.mark, root
    for step in steps:
        if isinstance(node, Map) and isinstance(step, str) and step in node.entries:
            node = node.entries[step].value
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return mark, None
        mark = node.mark
    return mark, node


def path_text(root: Node, steps: Iterable[str | int]) -> str:
    """Return how a path is written; entries that have a name are called by it: ``files[kubeadm]``.

    A number would be that of the merged list, which no file shows.
    """
    text = ""
    walked: list[str | int] = []
    for step in steps:
        walked.append(step)
        _, node = locate(root, walked)
        name = node.text("name") if isinstance(step, int) and isinstance(node, Map) else None
        part = key_path([step]) if name is None else f"[{name[:80]}]"
        text += part if part.startswith("[") or not text else f".{part}"
    return text


def node_of(value: Any, mark: Mark) -> Node:
    """Return plain values as a tree that says ``mark`` for every place."""
    if isinstance(value, dict):
        entries = {str(key): Pair(mark, node_of(item, mark)) for key, item in value.items()}
        return Map(entries, mark)
    if isinstance(value, list | tuple):
        return Items(tuple(node_of(item, mark) for item in value), mark)
    return Scalar(value, str(value), mark, quoted=isinstance(value, str))
