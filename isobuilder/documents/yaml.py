"""YAML text as a tree that remembers where and how everything was written.

The tree is built from the parser's events one by one, never by recursion, so depth, size and
number of nodes are bounded while reading and a crafted file cannot exhaust stack or memory. An
alias stays an alias: nothing is ever copied, so "billion laughs" stays as small as its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake

MAX_DEPTH = 100
MAX_NODES = 1_000_000

# What YAML 1.2 calls printable, section 5.1, plus NEL; everything else is refused before parsing.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


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


def decode(data: bytes, place: str) -> str:
    """Return the text of a file, without a byte order mark; line ends stay as they are.

    Raises:
        InputErrors: not UTF-8, or a character that no text file has.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        fact = f"not UTF-8 text: byte 0x{data[error.start]:02x}"
        mistake = Mistake(Mark(place, line, column), "", fact, "save the file as UTF-8")
        raise InputErrors([mistake]) from None
    text = text.removeprefix("\ufeff")
    if found := _FORBIDDEN.search(text):
        mark = mark_at(text, found.start(), place)
        fact = f"the character U+{ord(found[0]):04X} does not belong in a text file"
        raise InputErrors([Mistake(mark, "", fact)])
    return text


def mark_at(text: str, index: int, place: str) -> Mark:
    """Return the line and column of a character."""
    line_start = text.rfind("\n", 0, index) + 1
    return Mark(place, text.count("\n", 0, index) + 1, index - line_start + 1)


def parse_yaml(
    text: str, place: str, *, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES
) -> tuple[YamlNode, ...]:
    """Return the documents in ``text``; an empty document is left out.

    Raises:
        InputErrors: not YAML, too deep or too large, or an alias that is not defined or is part of
            itself; names line and column.
    """
    builder = _Builder(place, max_depth, max_nodes)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise InputErrors([_syntax_mistake(error, text, place)]) from None
    except yaml.YAMLError as error:
        raise InputErrors([Mistake(Mark(place), "", f"not YAML: {error}")]) from None
    return tuple(builder.documents)


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
        "found unexpected end of stream": "a quote or bracket that is opened is never closed",
    }
    return Mistake(mark, "", f"not YAML: {error.problem}", hints.get(error.problem or ""))


@dataclass(slots=True)
class _Frame:
    event: yaml.CollectionStartEvent
    children: list[YamlNode] = field(default_factory=list)


class _Builder:
    def __init__(self, place: str, max_depth: int, max_nodes: int) -> None:
        self.documents: list[YamlNode] = []
        self._place, self._max_depth, self._room = place, max_depth, max_nodes
        self._stack: list[_Frame] = []
        self._anchors: dict[str, YamlNode | None] = {}  # None while the node is still open

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}
        elif isinstance(event, yaml.ScalarEvent):
            self._add(
                ScalarNode(event.value, event.style or "", *_spots(event), event.tag, event.anchor)
            )
        elif isinstance(event, yaml.AliasEvent):
            self._add(AliasNode(self._target(event), *_spots(event)))
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self._stack) >= self._max_depth:
                self._refuse(event, f"nested more than {self._max_depth} levels deep")
            if event.anchor:
                self._anchors[event.anchor] = None
            self._stack.append(_Frame(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(_closed(self._stack.pop(), event))

    def _add(self, node: YamlNode) -> None:
        self._room -= 1
        if self._room < 0:
            mark = Mark(self._place, node.start.line, node.start.column)
            raise InputErrors([Mistake(mark, "", "more values than any real file has")])
        if not isinstance(node, AliasNode) and node.anchor:
            self._anchors[node.anchor] = node
        if self._stack:
            self._stack[-1].children.append(node)
        elif not (isinstance(node, ScalarNode) and node.text == "" and node.style == ""):
            self.documents.append(node)

    def _target(self, event: yaml.AliasEvent) -> YamlNode:
        if event.anchor not in self._anchors:
            self._refuse(event, f"the alias *{event.anchor} has no anchor before it")
        target = self._anchors[event.anchor]
        if target is None:
            self._refuse(event, f"the alias *{event.anchor} is part of what it stands for")
        return target

    def _refuse(self, event: yaml.Event, fact: str) -> NoReturn:
        start, _ = _spots(event)
        raise InputErrors([Mistake(Mark(self._place, start.line, start.column), "", fact)])


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
