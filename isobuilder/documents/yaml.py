"""YAML text as the parser's events within bounds, or as a tree that remembers how it was written.

Whatever reads YAML takes ``events``, one by one and never by recursion, so depth, size and number
of values are bounded while reading and a crafted file cannot exhaust stack or memory. An alias
stays an alias: nothing is ever copied, so "billion laughs" stays as small as its text; what all
aliases stand for is counted for readers that follow them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake

# What YAML 1.2 calls printable, section 5.1, plus NEL; everything else is refused before parsing.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


# Where a list or map in brackets may begin or end, and the quotes between which none does.
_FLOW = re.compile(r"""\\.|["'\]}]|(?<![^\s,:?\[{-])[\[{]""", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlLimits:
    """What a text of one kind may cost; a text beyond one of them is refused with its place."""

    size: int  # bytes of the text
    depth: int  # levels of nesting, those inside aliases included
    values: int  # lists, maps, and scalars, keys among them
    length: int  # characters of one scalar
    aliased: int | None = None  # values that all aliases stand for; None: no alias is followed


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a text: line and column from 1, index in characters from 0."""

    line: int
    column: int
    index: int


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """Text without parts; ``style`` is empty, a quote, ``|`` or ``>``."""

    text: str
    style: str
    start: Spot
    end: Spot
    tag: str | None
    anchor: str | None


@dataclass(frozen=True, slots=True, eq=False)
class SequenceNode:
    """A list."""

    items: tuple[YamlNode, ...]
    flow: bool
    start: Spot
    end: Spot
    tag: str | None
    anchor: str | None


@dataclass(frozen=True, slots=True, eq=False)
class MappingNode:
    """Keys and values in the order of the text; keys may be doubled."""

    pairs: tuple[tuple[YamlNode, YamlNode], ...]
    flow: bool
    start: Spot
    end: Spot
    tag: str | None
    anchor: str | None


@dataclass(frozen=True, slots=True, eq=False)
class AliasNode:
    """A mention of an anchored node."""

    target: YamlNode
    start: Spot
    end: Spot


YamlNode = ScalarNode | SequenceNode | MappingNode | AliasNode


def decode(data: bytes, place: str, *, size: int | None = None) -> str:
    """Return the text of a file, without a byte order mark; line ends stay as they are.

    Raises:
        InputErrors: more than ``size`` bytes, not UTF-8, or a character that no text file has.
    """
    if size is not None and len(data) > size:
        fact = f"expected at most {size} bytes, got {len(data)}"
        raise InputErrors([Mistake(Mark(place), "", fact)])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        fact = f"not UTF-8 text: byte 0x{data[error.start]:02x}"
        mistake = Mistake(Mark(place, line, column), "", fact, "save the file as UTF-8")
        raise InputErrors([mistake]) from None
    text = text.removeprefix("\ufeff")
    refuse_unprintable(text, place)
    return text


def refuse_unprintable(text: str, place: str) -> None:
    """Refuse a text with a character that no YAML has.

    Raises:
        InputErrors: there is one; names line and column.
    """
    if found := _FORBIDDEN.search(text):
        mark = mark_at(text, found.start(), place)
        fact = f"the character U+{ord(found[0]):04X} does not belong in a text file"
        raise InputErrors([Mistake(mark, "", fact)])


def mark_at(text: str, index: int, place: str) -> Mark:
    """Return the line and column of a character."""
    line_start = text.rfind("\n", 0, index) + 1
    return Mark(place, text.count("\n", 0, index) + 1, index - line_start + 1)


def mark_of(event: yaml.Event, place: str) -> Mark:
    """Return the line and column where an event begins."""
    spot = _spot(event.start_mark)
    return Mark(place, spot.line, spot.column)


def parse_yaml(text: str, place: str, limits: YamlLimits) -> tuple[YamlNode, ...]:
    """Return the documents in ``text``; an empty document is left out.

    Raises:
        InputErrors: as ``events``.
    """
    builder = _Builder()
    for event in events(text, place, limits):
        builder.take(event)
    return tuple(builder.documents)


def events(text: str, place: str, limits: YamlLimits) -> Iterator[yaml.Event]:
    """Give the events of ``text``, each as soon as it was found to be within ``limits``.

    Every alias that is given has an anchor before it, and is no part of what it stands for.

    Raises:
        InputErrors: not YAML, beyond a limit, or an alias that stands for nothing; names line and
            column.
    """
    budget = _Budget(place, limits)
    end = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            budget.take(event)
            end = _spot(event.end_mark).index
            yield event
    except yaml.MarkedYAMLError as error:
        _check_brackets(text, end, error, budget)
        raise InputErrors([_syntax_mistake(error, text, place)]) from None
    except yaml.YAMLError as error:
        raise InputErrors([Mistake(Mark(place), "", f"not YAML: {error}")]) from None


def _check_brackets(text: str, start: int, error: yaml.MarkedYAMLError, budget: _Budget) -> None:
    """Tell of deep nesting in our own words where the parser gave up before it gave the events.

    It reads ahead for the colon of a key, and since libyaml 0.2.6 it has a limit itself.
    """
    spot = error.problem_mark or error.context_mark
    depth, quote = budget.depth, ""
    for found in _FLOW.finditer(text, start, spot.index + 1 if spot else len(text)):
        mark = found[0]
        if quote:
            if mark[-1] == quote and (len(mark) == 1 or quote == "'"):
                quote = ""
        elif mark in {'"', "'"}:
            quote = mark
        elif mark in {"[", "{"}:
            depth += 1
        elif mark in {"]", "}"}:
            depth -= 1
        if depth > budget.limits.depth:
            budget.refuse(mark_at(text, found.start(), budget.place), budget.too_deep)


def _syntax_mistake(error: yaml.MarkedYAMLError, text: str, place: str) -> Mistake:
    spot = error.problem_mark or error.context_mark
    if spot is None:
        return Mistake(Mark(place), "", f"not YAML: {error.problem}")
    mark = Mark(place, spot.line + 1, spot.column + 1)
    if text[spot.index : spot.index + 1] == "\t":
        fact = "a tab where YAML wants spaces"
        return Mistake(mark, "", fact, "indent with spaces; YAML does not allow tabs there")
    hints = {
        "mapping values are not allowed in this context": 'put a value with ": " in it in quotes',
        "could not find expected ':'": "check the lines above for a missing colon or quote",
        "did not find expected <document start>": "put --- on a line between two documents",
        "found unexpected end of stream": "a quote or bracket that is opened is never closed",
    }
    return Mistake(mark, "", f"not YAML: {error.problem}", hints.get(error.problem or ""))


@dataclass(slots=True)
class _Weight:
    """How much a node is: values, itself included, and levels below it."""

    values: int = 1
    levels: int = 0

    def add(self, part: _Weight) -> None:
        self.values += part.values
        self.levels = max(self.levels, part.levels + 1)


class _Budget:
    """Counts what the events so far cost."""

    def __init__(self, place: str, limits: YamlLimits) -> None:
        self.place, self.limits = place, limits
        self.too_deep = f"nested more than {limits.depth} levels deep"
        self._values = self._aliased = 0
        self._open: list[tuple[_Weight, str | None]] = []
        self._anchors: dict[str, _Weight | None] = {}  # None while the node is still open

    @property
    def depth(self) -> int:
        return len(self._open)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > self.limits.length:
                self._refuse(event, f"a text of more than {self.limits.length} characters")
            self._count(event)
            self._close(_Weight(), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            if self.depth >= self.limits.depth:
                self._refuse(event, self.too_deep)
            self._count(event)
            if event.anchor:
                self._anchors[event.anchor] = None
            self._open.append((_Weight(), event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(*self._open.pop())
        elif isinstance(event, yaml.AliasEvent):
            self._count(event)
            self._close(self._target(event), None)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}

    def _count(self, event: yaml.Event) -> None:
        self._values += 1
        if self._values > self.limits.values:
            self._refuse(event, "more values than any real file has")

    def _close(self, weight: _Weight, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = weight
        if self._open and self.limits.aliased is not None:
            self._open[-1][0].add(weight)

    def _target(self, event: yaml.AliasEvent) -> _Weight:
        if event.anchor not in self._anchors:
            self._refuse(event, f"the alias *{event.anchor} has no anchor before it")
        target = self._anchors[event.anchor]
        if target is None:
            self._refuse(event, f"the alias *{event.anchor} is part of what it stands for")
        if self.limits.aliased is not None:
            self._aliased += target.values
            if self._aliased > self.limits.aliased:
                self._refuse(event, "aliases that make it larger than any real file")
            if self.depth + target.levels > self.limits.depth:
                self._refuse(event, self.too_deep)
        return target

    def _refuse(self, event: yaml.Event, fact: str) -> NoReturn:
        self.refuse(mark_of(event, self.place), fact)

    def refuse(self, mark: Mark, fact: str) -> NoReturn:
        raise InputErrors([Mistake(mark, "", fact)])


@dataclass(slots=True)
class _Frame:
    event: yaml.CollectionStartEvent
    children: list[YamlNode] = field(default_factory=list)


class _Builder:
    def __init__(self) -> None:
        self.documents: list[YamlNode] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str | None, YamlNode] = {}

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}
        elif isinstance(event, yaml.ScalarEvent):
            self._add(
                ScalarNode(event.value, event.style or "", *_spots(event), event.tag, event.anchor)
            )
        elif isinstance(event, yaml.AliasEvent):
            self._add(AliasNode(self._anchors[event.anchor], *_spots(event)))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._stack.append(_Frame(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(_closed(self._stack.pop(), event))

    def _add(self, node: YamlNode) -> None:
        if not isinstance(node, AliasNode) and node.anchor:
            self._anchors[node.anchor] = node
        if self._stack:
            self._stack[-1].children.append(node)
        elif not (isinstance(node, ScalarNode) and node.text == "" and node.style == ""):
            self.documents.append(node)


def _spots(event: yaml.Event) -> tuple[Spot, Spot]:
    return _spot(event.start_mark), _spot(event.end_mark)


def _spot(mark: Any) -> Spot:  # the C parser has a mark type of its own; its events always have one
    return Spot(mark.line + 1, mark.column + 1, mark.index)


def _closed(frame: _Frame, end: yaml.Event) -> YamlNode:
    event, children = frame.event, frame.children
    flow = bool(event.flow_style)
    start, _ = _spots(event)
    _, stop = _spots(end)
    if isinstance(event, yaml.SequenceStartEvent):
        return SequenceNode(tuple(children), flow, start, stop, event.tag, event.anchor)
    pairs = tuple(zip(children[::2], children[1::2], strict=True))
    return MappingNode(pairs, flow, start, stop, event.tag, event.anchor)
