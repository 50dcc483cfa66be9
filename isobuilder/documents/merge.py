"""One recipe on top of another: maps merge, lists of named entries merge by name."""

from __future__ import annotations

from isobuilder.documents.mistakes import SHOWN, Mistake, key_path, nearest
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar

NAMED = {"files": "name", "manifests": "name", "render": "path"}
"""The lists whose entries have an identity, and the key that holds it."""

_KEYED = frozenset({"components"})
"""The maps of entries, from which ``remove: true`` drops one too."""


def merged(base: Map | None, top: Map) -> tuple[Map, list[Mistake]]:
    """Return ``base`` with ``top`` on it, and what cannot be merged.

    Maps merge key by key. In the lists of ``NAMED`` an entry changes the one of the same name in
    its place, or is added at the end; ``remove: true`` drops the one that was there. Everything
    else is replaced.
    """
    merger = _Merger()
    return merger.maps(base or Map({}, top.mark), top, ()), merger.mistakes


class _Merger:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def maps(self, base: Map, top: Map, path: tuple[str | int, ...]) -> Map:
        entries = dict(base.entries)
        for key, entry in top.entries.items():
            below = entries.get(key)
            if path and path[-1] in _KEYED and self._removes(entry.value, (*path, key)):
                self._drop(entries, key, entry.value, path)
                continue
            value = self._values(below.value if below else None, entry.value, (*path, key))
            entries[key] = Pair(entry.mark, value)
        return Map(entries, top.mark)

    def _values(self, base: Node | None, top: Node, path: tuple[str | int, ...]) -> Node:
        if len(path) == 1 and path[0] in NAMED and isinstance(top, Items):
            below = base if isinstance(base, Items) else Items((), top.mark)
            return self._entries(below, top, path, NAMED[str(path[0])])
        if isinstance(top, Map):
            return self.maps(base if isinstance(base, Map) else Map({}, top.mark), top, path)
        return top

    def _entries(self, base: Items, top: Items, path: tuple[str | int, ...], key: str) -> Items:
        found: dict[str, Node] = {}
        for item in base.items:
            found[_identity(item, key) or f"#{id(item)}"] = item
        own: dict[str, Node] = {}
        for index, item in enumerate(top.items):
            where = (*path, index)
            name = _identity(item, key)
            if name is None or not isinstance(item, Map):
                found[f"#{id(item)}"] = item  # the checks of the format say what it lacks
                continue
            if name in own:
                fact = f"the {key} {name!r} is there twice, first in line {own[name].mark.line}"
                self._complain(item, where, fact, "keep one of them")
                continue
            own[name] = item
            if self._removes(item, where):
                self._drop(found, name, item, path)
                continue
            below = found.get(name)
            found[name] = self.maps(below, item, where) if isinstance(below, Map) else item
        return Items(tuple(found.values()), top.mark)

    def _removes(self, item: Node, path: tuple[str | int, ...]) -> bool:
        if not isinstance(item, Map) or "remove" not in item.entries:
            return False
        value = item.entries["remove"].value
        if not isinstance(value, Scalar) or value.value is not True:
            self._complain(value, (*path, "remove"), f"expected true, found {_text(value)}")
        elif extra := sorted(set(item.entries) - {"remove", "name", "path"}):
            fact = f"the key {extra[0]!r} beside remove: true"
            self._complain(item, path, fact, "an entry is either changed or removed")
        return True

    def _drop(
        self,
        found: dict[str, Node] | dict[str, Pair],
        name: str,
        item: Node,
        path: tuple[str | int, ...],
    ) -> None:
        if name not in found:
            fact = f"nothing with the name {name!r} to remove"
            hint = None
            if len(self.mistakes) < SHOWN:
                hint = nearest(name, [other for other in found if other[:1] != "#"])
            self._complain(item, path, fact, hint)
        found.pop(name, None)

    def _complain(
        self, node: Node, path: tuple[str | int, ...], fact: str, hint: str | None = None
    ) -> None:
        self.mistakes.append(Mistake(node.mark, key_path(path), fact, hint))


def _identity(item: Node, key: str) -> str | None:
    return item.text(key) if isinstance(item, Map) else None


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else "something else"
