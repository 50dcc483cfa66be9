"""JSON from anywhere, read within bounds; and where things are in a JSON text that people write.

``parse`` is the one reader: whoever wrote the text, what it may cost is known before it is read.
``json_tree`` reads a text a second time for its places, only when something is wrong with it.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from isobuilder.documents.mistakes import Mark, Mistake, key_path
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar
from isobuilder.errors import InputError, IsobuilderError
from isobuilder.text import without_login

_MIB = 1024 * 1024
_MAX_DEPTH = 50  # levels; the deepest that we know, a server's answer, has eight
_MAX_DIGITS = 20  # of a whole number; sizes and times in nanoseconds need nineteen


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLimits:
    """What a text of one kind may cost, counted before anything is made of it."""

    size: int  # bytes
    items: int  # commas and opening brackets, of which every value but the first needs one
    unique: bool = True  # whether a key that is there twice is refused, or the last one taken


DOCUMENT = JsonLimits(size=16 * _MIB, items=50_000)
"""Recipes, locks, manifest.json, payload.json, plans: the largest we know has 5,000 items. Each of
them can be a mistake of its own, which costs more than the item itself."""

NOTE = JsonLimits(size=4 * _MIB, items=100_000)
"""What we noted ourselves, in the store or beside it: at most one item for each blob of a build."""

OCI = JsonLimits(size=4 * _MIB, items=200_000)
"""Manifests, indexes and configurations of images, and what image archives say of themselves.
Registries refuse longer manifests too; labels may hold whole JSON texts with commas of their own.
Readers differ in which of two equal keys they take, so one digest would be two documents."""

LOGINS = JsonLimits(size=4 * _MIB, items=100_000, unique=False)
"""What ``docker login`` and credential helpers write; Docker takes the last of two equal keys."""

TOKEN = JsonLimits(size=_MIB, items=1000, unique=False)
"""What a registry's token service answers: three or four values."""

ANSWER = JsonLimits(size=64 * _MIB, items=500_000, unique=False)
"""What a management server answers: a page of 500 records with 100 values each has 50,000."""

NODES = JsonLimits(size=192 * _MIB, items=3_000_000, unique=False)
"""What ``kubectl get nodes -o json`` prints: of the 5000 nodes that Kubernetes is made for, each
with the 50 images that a kubelet tells of, these are 130 MiB of two million values."""


class JsonProblem(ValueError):
    """What is wrong with a text, and where if that is known; line and column count from 1."""

    def __init__(self, fact: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(fact)
        self.line, self.column = line, column


class DoubledKey(JsonProblem):
    """The text is JSON, but for a key that one object has twice."""


def parse(
    data: bytes, place: str, limits: JsonLimits, error: type[IsobuilderError] = InputError
) -> Any:
    """Return the value of a JSON text.

    Raises:
        error: what is wrong with it, as one sentence that begins with ``place``.
    """
    try:
        return value_of(data, limits)
    except JsonProblem as problem:
        where = f" in line {problem.line}, column {problem.column}" if problem.line else ""
        raise error(f"{place}: {problem}{where}") from None


def value_of(data: bytes, limits: JsonLimits) -> Any:
    """Return the value of a JSON text: as RFC 8259 has it, in UTF-8, and within ``limits``.

    Raises:
        JsonProblem: it is none, or costs more.
    """
    if len(data) > limits.size:
        raise JsonProblem(f"expected at most {limits.size} bytes of JSON, got {len(data)}")
    opened = data.count(b"[") + data.count(b"{")
    if data.count(b",") + opened > limits.items:
        raise JsonProblem(f"JSON of more than {limits.items} values")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JsonProblem(f"not UTF-8 text: byte 0x{data[error.start]:02x}") from None
    doubled: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counted = Counter(key for key, _ in pairs)
            doubled.append(next(key for key, count in counted.items() if count > 1))
        return found

    try:
        value = json.loads(
            text,
            object_pairs_hook=unique if limits.unique else None,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
        )
        too_deep = opened > _MAX_DEPTH and _is_deep(value)
    except json.JSONDecodeError as error:
        raise JsonProblem(_not_json(text, error), error.lineno, error.colno) from None
    except RecursionError:
        too_deep = True
    except MemoryError:
        raise JsonProblem("JSON that needs more memory than there is") from None
    if too_deep:
        raise JsonProblem(f"JSON nested more than {_MAX_DEPTH} levels deep")
    if doubled:  # told last: whoever looks for the places walks a text that is JSON
        raise DoubledKey(f"the key {doubled[0][:60]!r} is there twice in one object")
    if _SURROGATE.search(text) and not _is_text(value):
        raise JsonProblem("half of a surrogate pair in a text")
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    begin = text[:80].strip()
    if text[: error.pos].strip():
        return f"not JSON: {error.msg}"
    return f"not JSON: it begins with {begin[:40]!r}" if begin else "not JSON: it is empty"


def _no_number(word: str) -> float:
    raise JsonProblem(f"{word[:20]} is not a number of JSON")


def _finite(word: str) -> float:
    number = float(word)
    return number if math.isfinite(number) else _no_number(word)


def _whole(word: str) -> int:
    if len(word) > _MAX_DIGITS:
        raise JsonProblem(f"the number {word[:_MAX_DIGITS]}... is too large")
    return int(word)


def _is_deep(value: Any) -> bool:
    """Tell whether ``value`` has more levels than any real text; without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MAX_DEPTH):
        if not level:
            return False
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
    return bool(level)


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(slots=True)
class JsonTree:
    """The values of a JSON text with their places, and the keys that are there twice."""

    root: Node
    doubled: list[Mistake] = field(default_factory=list)


def json_tree(text: str, place: str) -> JsonTree:
    """Return where everything is in ``text``, which ``value_of`` found to be JSON."""
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
        if self._text[index] == "{":
            return self._object(index, path, mark)
        if self._text[index] == "[":
            return self._array(index, path, mark)
        value, end = _DECODER.raw_decode(self._text, index)
        written = self._text[index : min(end, index + 80)]
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
                shown = without_login(key)[:80]
                fact = f"the key {shown!r} is there twice, first in line {first.line}"
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
