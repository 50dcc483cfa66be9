"""The door for YAML and JSON: text becomes a model, or a list of all that is wrong with it.

A YAML file for people is read as YAML 1.2 reads it (``on`` and ``2026-01-02`` are text), with less
freedom: one document, keys that are text and unique, no anchors, tags or complex keys. JSON is read
strictly: unique keys, no NaN. Both end in the same checks, and each mistake names its place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from isobuilder.documents.json import DOCUMENT, DoubledKey, JsonProblem, json_tree, value_of
from isobuilder.documents.mistakes import InputErrors, Mark, Mistake, key_path
from isobuilder.documents.nodes import Items, Map, Node, Pair, Scalar, plain
from isobuilder.documents.yaml import (
    AliasNode,
    MappingNode,
    ScalarNode,
    SequenceNode,
    Spot,
    YamlLimits,
    YamlNode,
    decode,
    parse_yaml,
)
from isobuilder.files import read_bytes
from isobuilder.model.validation import mistakes_of

MIB = 1024 * 1024
MAX_YAML = 4 * MIB  # bytes of a file that people write
_YAML = YamlLimits(size=MAX_YAML, depth=30, values=100_000, length=MIB)

M = TypeVar("M", bound=BaseModel)

_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read_yaml(path: Path, *, may_be_empty: bool = False) -> Map:
    """Return the keys and values of a YAML file.

    Raises:
        InputErrors: all that is wrong with its form.
    """
    return yaml_map(read_bytes(path, MAX_YAML), str(path), may_be_empty=may_be_empty)


def yaml_map(data: bytes, place: str, *, may_be_empty: bool = False) -> Map:
    """Return the keys and values of a YAML text that ``place`` names in messages.

    Raises:
        InputErrors: all that is wrong with its form.
    """
    documents = parse_yaml(decode(data, place, size=_YAML.size), place, _YAML)
    if not documents and may_be_empty:
        return Map({}, Mark(place))
    if not documents:
        raise InputErrors([Mistake(Mark(place), "", "the file is empty")])
    reader = _YamlReader(place)
    root = reader.node(documents[0], ())
    if len(documents) > 1:
        fact = "a second document; expected one in a file"
        reader.complain(documents[1].start, (), fact, "remove the --- line and what follows")
    if not isinstance(root, Map):
        reader.complain(documents[0].start, (), f"expected keys and values, found {_kind(root)}")
    if reader.mistakes or not isinstance(root, Map):
        raise InputErrors(reader.mistakes)
    return root


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


class _YamlReader:
    """YAML nodes -> typed nodes; collects what our files may not have."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.mistakes: list[Mistake] = []

    def complain(
        self, spot: Spot, path: Sequence[str | int], fact: str, hint: str | None = None
    ) -> None:
        self.mistakes.append(Mistake(self._mark(spot), key_path(path), fact, hint))

    def _mark(self, spot: Spot) -> Mark:
        return Mark(self.place, spot.line, spot.column)

    def node(self, node: YamlNode, path: tuple[str | int, ...]) -> Node:
        mark = self._mark(node.start)
        hint = "write the value out where it is used, or use vars and extends"
        if isinstance(node, AliasNode):
            self.complain(node.start, path, "an alias; they are not used here", hint)
            return Scalar(None, "", mark, quoted=False)
        if node.anchor is not None:
            self.complain(node.start, path, "an anchor; they are not used here", hint)
        if node.tag is not None:
            self.complain(node.start, path, f"the tag {node.tag!r}; tags are not used here")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, SequenceNode):
            items = [self.node(item, (*path, i)) for i, item in enumerate(node.items)]
            return Items(tuple(items), mark)
        return self._map(node, path)

    def _scalar(self, node: ScalarNode, path: tuple[str | int, ...]) -> Scalar:
        value: str | int | float | bool | None = node.text
        if not node.style:
            try:
                value = resolve_plain(node.text)
            except ValueError as error:
                hint = "if it is text, put it in quotes"
                self.complain(node.start, path, str(error), hint)
        return Scalar(value, node.text, self._mark(node.start), quoted=bool(node.style))

    def _map(self, node: MappingNode, path: tuple[str | int, ...]) -> Map:
        entries: dict[str, Pair] = {}
        for key, value in node.pairs:
            if not isinstance(key, ScalarNode) or key.tag or key.anchor:
                self.complain(key.start, path, "a key that is not plain text")
                continue
            child = self.node(value, (*path, key.text))
            if key.text in entries:
                first = entries[key.text].mark
                fact = f"the key {key.text!r} is there twice, first in line {first.line}"
                self.complain(key.start, path, fact, "keep one of them")
                continue
            entries[key.text] = Pair(self._mark(key.start), child)
        return Map(entries, self._mark(node.start))


def _kind(node: Node) -> str:
    return "a list" if isinstance(node, Items) else "text"


def check(node: Map, model: type[M]) -> tuple[M | None, list[Mistake]]:
    """Return the model that ``node`` describes, or all reasons why it describes none."""
    try:
        # Through JSON, because strict models take a list for a tuple only from there.
        return model.model_validate_json(json.dumps(plain(node))), []
    except ValidationError as error:
        return None, mistakes_of(error, node, model)


def build(node: Map, model: type[M]) -> M:
    """Return the model that ``node`` describes.

    Raises:
        InputErrors: all reasons why it describes none.
    """
    found, mistakes = check(node, model)
    if found is None:
        raise InputErrors(mistakes)
    return found


def load_json(path: Path, model: type[M]) -> M:
    """Return the model in a JSON file.

    Raises:
        InputError: the file cannot be read or is too large.
        InputErrors: all that is wrong with it.
    """
    return parse_json(read_bytes(path, DOCUMENT.size), str(path), model)


def parse_json(data: bytes, place: str, model: type[M]) -> M:
    """Return the model in a JSON text that ``place`` names in messages.

    Raises:
        InputErrors: all that is wrong with it.
    """
    text = decode(data, place)
    try:
        value_of(text.encode(), DOCUMENT)
    except DoubledKey:
        raise InputErrors(json_tree(text, place).doubled) from None
    except JsonProblem as problem:
        mark = Mark(place, problem.line, problem.column)
        raise InputErrors([Mistake(mark, "", str(problem))]) from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        tree = json_tree(text, place)
        raise InputErrors(mistakes_of(error, tree.root, model)) from None
