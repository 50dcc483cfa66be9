"""JSON values one after another, as nodes that know their places: what Go's decoder takes.

The nodes are those of YAML, so that whoever changes a text need not know which of both it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NoReturn

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.yaml import (
    MappingNode,
    ScalarNode,
    SequenceNode,
    Spot,
    YamlLimits,
    YamlNode,
)

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
    (?P<mark>[{}\[\],:])
    | (?P<text>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")
    | (?P<plain>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u(.{4})|(.))")
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _NoJsonError(Exception):
    """What stands there is no JSON."""


def json_values(text: str, place: str, limits: YamlLimits) -> Iterator[YamlNode]:
    """Give the values that ``text`` begins with, up to what is no JSON.

    Raises:
        InputErrors: beyond a limit; names line and column.
    """
    reader = _Reader(text, place, limits)
    while True:
        try:
            value = reader.value(reader.token(), 0)
        except _NoJsonError:
            return
        yield value


class _Reader:
    def __init__(self, text: str, place: str, limits: YamlLimits) -> None:
        self._text, self._place, self._limits = text, place, limits
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._index = self._count = 0

    def token(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._index)
        if found is None:
            raise _NoJsonError
        self._index = found.end()
        return found

    def value(self, token: re.Match[str], depth: int) -> YamlNode:
        """Return the value that begins with ``token``; the limit of depth bounds the recursion."""
        start = self._spot(token.start(token.lastgroup or 0))
        self._count += 1
        if self._count > self._limits.values:
            self._refuse(start, "more values than any real file has")
        if depth > self._limits.depth:
            self._refuse(start, f"nested more than {self._limits.depth} levels deep")
        if token["mark"] is None:
            quote = '"' if token["text"] else ""
            text = _unescaped(token["text"][1:-1]) if token["text"] else token["plain"]
            return ScalarNode(text, quote, start, self._spot(self._index), None, None)
        if token["mark"] == "[":
            items = tuple(self.value(first, depth + 1) for first in self._parts("]"))
            end = self._spot(self._index)
            return SequenceNode(items, flow=True, start=start, end=end, tag=None, anchor=None)
        if token["mark"] != "{":
            raise _NoJsonError
        pairs = tuple(self._pair(first, depth + 1) for first in self._parts("}"))
        end = self._spot(self._index)
        return MappingNode(pairs, flow=True, start=start, end=end, tag=None, anchor=None)

    def _pair(self, key: re.Match[str], depth: int) -> tuple[YamlNode, YamlNode]:
        if key["text"] is None:
            raise _NoJsonError
        node = self.value(key, depth)
        if self.token()["mark"] != ":":
            raise _NoJsonError
        return node, self.value(self.token(), depth)

    def _parts(self, end: str) -> Iterator[re.Match[str]]:
        """Give the first token of each part of a list or an object, up to its end."""
        token = self.token()
        while token["mark"] != end:
            yield token
            token = self.token()
            if token["mark"] == ",":
                token = self.token()
                if token["mark"] == end:
                    raise _NoJsonError
            elif token["mark"] != end:
                raise _NoJsonError

    def _spot(self, index: int) -> Spot:
        line = bisect_right(self._lines, index)
        return Spot(line, index - self._lines[line - 1] + 1, index)

    def _refuse(self, spot: Spot, fact: str) -> NoReturn:
        mark = Mark(self._place, spot.line, spot.column)
        raise InputErrors([Mistake(mark, "", fact)])


def _unescaped(text: str) -> str:
    """Return what a text in quotes means; half of a pair of surrogates means U+FFFD."""
    if "\\" not in text:
        return text
    found = _ESCAPE.sub(_character, text)
    return found.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _CONTROLS.get(escape[2], escape[2])
