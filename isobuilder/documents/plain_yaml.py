"""YAML as people write it for us: text becomes typed values that know their places.

It is read as YAML 1.2 reads it (``on`` and ``2026-01-02`` are text), with less freedom: one
document, keys that are text and unique, no anchors, tags or complex keys. All that a file has too
much of is told at once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake, key_path
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar
from isobuilder.documents.yaml import YamlLimits, decode, events, mark_of
from isobuilder.files import read_bytes
from isobuilder.text import without_login

MAX_YAML = 4 * 1024 * 1024  # bytes of a file that people write
_LIMITS = YamlLimits(size=MAX_YAML, depth=30, values=100_000, length=1024 * 1024)
"""The recipes we ship have 500 values on six levels. Each value can be a mistake of its own, which
costs more than the value itself."""

_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read_yaml(path: Path, *, may_be_empty: bool = False) -> Map:
    """Return the keys and values of a YAML file.

    Raises:
        InputError: it cannot be read, or is too large.
        InputErrors: all that is wrong with its form.
    """
    return yaml_map(read_bytes(path, MAX_YAML), str(path), may_be_empty=may_be_empty)


def yaml_map(data: bytes, place: str, *, may_be_empty: bool = False) -> Map:
    """Return the keys and values of a YAML text that ``place`` names in messages.

    Raises:
        InputErrors: all that is wrong with its form.
    """
    root, mistakes = _read(data, place)
    if root is None and may_be_empty:
        return Map({}, Mark(place))
    if root is not None and not isinstance(root, Map):
        kind = "a list" if isinstance(root, Items) else "text"
        mistakes.append(Mistake(root.mark, "", f"expected keys and values, found {kind}"))
    if mistakes or not isinstance(root, Map):
        raise InputErrors(mistakes or [Mistake(Mark(place), "", "the file is empty")])
    return root


def yaml_value(data: bytes, place: str) -> Node:
    """Return what a YAML text holds, be it keys and values, a list or a text.

    Raises:
        InputErrors: all that is wrong with its form.
    """
    root, mistakes = _read(data, place)
    if mistakes or root is None:
        raise InputErrors(mistakes or [Mistake(Mark(place), "", "the file is empty")])
    return root


def _read(data: bytes, place: str) -> tuple[Node | None, list[Mistake]]:
    reader = _PlainReader(place)
    for event in events(decode(data, place, size=_LIMITS.size), place, _LIMITS):
        reader.take(event)
    mistakes = reader.mistakes
    if reader.second is not None:
        fact = "a second document; expected one in a file"
        mistakes.append(Mistake(reader.second, "", fact, "remove the --- line and what follows"))
    return reader.root, mistakes


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means in YAML 1.2's core schema.

    Raises:
        ValueError: a number too large to be meant.
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        if len(text) > 20:
            raise ValueError(f"the number {text[:20]}... is too large")
        return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"the number {text[:20]} is too large")
        return number
    return text


@dataclass(slots=True)
class _Open:
    """A list or map whose end is not reached."""

    mark: Mark
    path: tuple[str | int, ...]
    is_map: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Pair] = field(default_factory=dict)
    key: tuple[str, Mark] | None = None  # of the value that comes next
    skips_value: bool = False  # what comes next belongs to a key that was refused


class _PlainReader:
    """Builds the values of the first document; collects what our files may not have."""

    def __init__(self, place: str) -> None:
        self.root: Node | None = None
        self.second: Mark | None = None  # where another document begins
        self.mistakes: list[Mistake] = []
        self._place = place
        self._open: list[_Open] = []
        self._skipping = 0  # levels of a part that is not looked at

    def take(self, event: yaml.Event) -> None:
        starts = isinstance(event, yaml.CollectionStartEvent)
        ends = isinstance(event, yaml.CollectionEndEvent)
        if self._skipping:
            self._skipping += starts - ends
        elif ends:
            one = self._open.pop()
            kept = Map(one.entries, one.mark) if one.is_map else Items(tuple(one.items), one.mark)
            self._add(kept)
        elif isinstance(event, yaml.NodeEvent):
            if self._is_value(event):
                self._value(event)
            else:
                self._skipping = int(starts)

    def _is_value(self, event: yaml.NodeEvent) -> bool:
        """Take what is no value of the file: keys, values of refused keys, other documents."""
        mark = mark_of(event, self._place)
        if not self._open:
            if self.root is None:
                return not _is_nothing(event)
            if self.second is None and not _is_nothing(event):
                self.second = mark
            return False
        top = self._open[-1]
        if not top.is_map or top.key is not None:
            return True
        if top.skips_value:
            top.skips_value = False
        elif isinstance(event, yaml.ScalarEvent) and not event.tag and not event.anchor:
            top.key = (event.value, mark)
        else:
            self._complain(mark, top.path, "a key that is not plain text")
            top.skips_value = True
        return False

    def _value(self, event: yaml.NodeEvent) -> None:
        mark, path = mark_of(event, self._place), self._path()
        hint = "write the value out where it is used, or use vars and extends"
        if isinstance(event, yaml.AliasEvent):
            self._complain(mark, path, "an alias; they are not used here", hint)
            self._add(Scalar(None, "", mark, quoted=False))
            return
        if event.anchor is not None:
            self._complain(mark, path, "an anchor; they are not used here", hint)
        tag: str | None = getattr(event, "tag", None)  # every node but an alias has one
        if tag is not None:
            self._complain(mark, path, f"the tag {tag!r}; tags are not used here")
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event, mark, path))
        else:
            self._open.append(_Open(mark, path, isinstance(event, yaml.MappingStartEvent)))

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, path: tuple[str | int, ...]) -> Scalar:
        value: str | int | float | bool | None = event.value
        if not event.style:
            try:
                value = resolve_plain(event.value)
            except ValueError as error:
                self._complain(mark, path, str(error), "if it is text, put it in quotes")
        return Scalar(value, event.value, mark, quoted=bool(event.style))

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if top.key is None:
            top.items.append(node)
            return
        key, mark = top.key
        top.key = None
        if key in top.entries:
            first = top.entries[key].mark.line
            fact = f"the key {without_login(key)[:80]!r} is there twice, first in line {first}"
            self._complain(mark, top.path, fact, "keep one of them")
        else:
            top.entries[key] = Pair(mark, node)

    def _path(self) -> tuple[str | int, ...]:
        if not self._open:
            return ()
        top = self._open[-1]
        return (*top.path, top.key[0] if top.key else len(top.items))

    def _complain(
        self, mark: Mark, path: tuple[str | int, ...], fact: str, hint: str | None = None
    ) -> None:
        self.mistakes.append(Mistake(mark, key_path(path), fact, hint))


def _is_nothing(event: yaml.NodeEvent) -> bool:
    return isinstance(event, yaml.ScalarEvent) and not event.value and not event.style
