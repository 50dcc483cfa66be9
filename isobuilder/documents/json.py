"""Where things are in a JSON text; read a second time, only when something is wrong with it."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass, field

from isobuilder.documents.mistakes import Mark, Mistake, key_path
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar

_SPACE = re.compile(r"[ \t\n\r]*")
_MAX_DEPTH = 50
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class JsonTree:
    """The values of a JSON text with their places, and the keys that are there twice."""

    root: Node
    doubled: list[Mistake] = field(default_factory=list)


def json_tree(text: str, place: str) -> JsonTree:
    """Return where everything is in ``text``, which must be JSON already."""
    walker = _Walker(text, place)
    root, _ = walker.value(walker.skip(0), ())
    return JsonTree(root, walker.doubled)


class _Walker:
    def __init__(self, text: str, place: str) -> None:
        self.doubled: list[Mistake] = []
        self._text, self._place = text, place
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def skip(self, index: int) -> int:
        found = _SPACE.match(self._text, index)
        return found.end() if found else index

    def _mark(self, index: int) -> Mark:
        line = bisect.bisect_right(self._lines, index)
        return Mark(self._place, line, index - self._lines[line - 1] + 1)

    def value(self, index: int, path: tuple[str | int, ...]) -> tuple[Node, int]:
        mark = self._mark(index)
        if self._text[index] == "{" and len(path) < _MAX_DEPTH:
            return self._object(index, path, mark)
        if self._text[index] == "[" and len(path) < _MAX_DEPTH:
            return self._array(index, path, mark)
        value, end = _DECODER.raw_decode(self._text, index)
        written = self._text[index : min(end, index + 80)]
        if isinstance(value, dict | list):
            value = None
        return Scalar(value, written, mark, quoted=isinstance(value, str)), end

    def _object(self, index: int, path: tuple[str | int, ...], mark: Mark) -> tuple[Map, int]:
        entries: dict[str, Pair] = {}
        index = self.skip(index + 1)
        while self._text[index] != "}":
            key_mark = self._mark(index)
            key, index = _DECODER.raw_decode(self._text, index)
            index = self.skip(self.skip(index) + 1)  # past the colon
            value, index = self.value(index, (*path, key))
            if key in entries:
                first = entries[key].mark
                fact = f"the key {key!r} is there twice, first in line {first.line}"
                self.doubled.append(Mistake(key_mark, key_path(path), fact, "keep one of them"))
            entries.setdefault(key, Pair(key_mark, value))
            index = self._next(index)
        return Map(entries, mark), index + 1

    def _array(self, index: int, path: tuple[str | int, ...], mark: Mark) -> tuple[Items, int]:
        items: list[Node] = []
        index = self.skip(index + 1)
        while self._text[index] != "]":
            value, index = self.value(index, (*path, len(items)))
            items.append(value)
            index = self._next(index)
        return Items(tuple(items), mark), index + 1

    def _next(self, index: int) -> int:
        index = self.skip(index)
        return self.skip(index + 1) if self._text[index] == "," else index
