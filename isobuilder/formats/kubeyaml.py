"""The images of Kubernetes manifests: which are used, and the same text with them pinned.

Manifests are read as a tree with places, never searched as text: an ``image:`` in a comment or in a
ConfigMap's text is not an image, and one in a JSON-like line is. Pinning changes the characters of
those values and nothing else, so comments, order and line ends stay as upstream wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.yaml import (
    AliasNode,
    MappingNode,
    ScalarNode,
    SequenceNode,
    YamlLimits,
    YamlNode,
    decode,
    parse_yaml,
)

MAX_MANIFEST = 16 * 1024 * 1024
"""Bytes of one manifest file; Calico's, the largest we know, has 0.7 MiB."""

PULL_POLICY = "IfNotPresent"

_LISTS = frozenset({"containers", "initContainers", "ephemeralContainers"})
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 counts as one
_LIMITS = YamlLimits(
    size=MAX_MANIFEST, depth=100, values=400_000, length=MAX_MANIFEST, aliased=400_000
)


@dataclass(frozen=True, slots=True)
class ImageUse:
    """One container's image."""

    document: int  # from 1, empty documents not counted
    path: str  # e.g. spec.template.spec.containers[0].image
    line: int
    image: str
    pull_policy: str | None


def images_of(data: bytes, place: str) -> tuple[ImageUse, ...]:
    """Return the images that the containers in ``data`` use, in the order of the text.

    Raises:
        InputErrors: not YAML, too large, or an image that is not text; names ``place`` and line.
    """
    _, documents = _read(data, place)
    found = []
    for number, document in enumerate(documents, 1):
        for path, container in _containers(document):
            image = _value(container, "image", place)
            if image is None:
                continue
            policy = _value(container, "imagePullPolicy", place)
            text = _text(image, place)
            found.append(
                ImageUse(
                    number,
                    f"{path}.image",
                    image.start.line,
                    text,
                    (_text(policy, place) or None) if policy else None,
                )
            )
    return tuple(sorted(found, key=lambda use: (use.document, use.line)))


def pin_images(data: bytes, pinned: Mapping[str, str], place: str) -> bytes:
    """Return ``data`` with every image replaced by what ``pinned`` has for it.

    Each of these containers also gets ``imagePullPolicy: IfNotPresent``. All other characters stay.

    Raises:
        InputErrors: an image that ``pinned`` does not have, or one written in a way that cannot be
            changed alone (block text, anchor, alias, tag); names ``place`` and line.
    """
    text, documents = _read(data, place)
    edits: dict[int, tuple[int, str]] = {}  # start -> end and new text
    mistakes: list[Mistake] = []
    for document in documents:
        aliased = _aliased(document)
        for path, container in _containers(document):
            pair = _pair(container, "image", place)
            if pair is None:
                continue
            name = _text(pair[1], place)
            if name not in pinned:
                fact = f"no locked image for {name!r}"
                mistakes.append(Mistake(_mark(pair[1], place), f"{path}.image", fact))
                continue
            if id(container) in aliased:
                _refuse(container, place, "a container behind an anchor cannot be pinned")
            start, end = _span(pair[1], place)
            edits[start] = (end, _quoted(pinned[name], pair[1]))
            start, end, new = _policy_edit(container, pair, text, place)
            before = edits[start][1] if start in edits else ""  # right behind the image itself
            edits[start] = (end, before + new)
    if mistakes:
        raise InputErrors(mistakes)
    bom = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return bom + _apply(text, edits).encode("utf-8")


def _read(data: bytes, place: str) -> tuple[str, tuple[YamlNode, ...]]:
    text = decode(data, place, size=_LIMITS.size)
    return text, parse_yaml(text, place, _LIMITS)


def _containers(document: YamlNode) -> Iterator[tuple[str, MappingNode]]:
    """Yield the path and node of each container, in the order of the text."""
    stack: list[tuple[str, YamlNode]] = [("", document)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, AliasNode):
            stack.append((path, node.target))
        elif isinstance(node, SequenceNode):
            items = enumerate(node.items)
            stack.extend(reversed([(f"{path}[{index}]", item) for index, item in items]))
        elif isinstance(node, MappingNode):
            below: list[tuple[str, YamlNode]] = []
            for key, value in node.pairs:
                name = _key(key)
                inner = f"{path}.{name}" if path else name
                below.append((inner, value))
                if name in _LISTS:
                    yield from _listed(inner, value)
            stack.extend(reversed(below))


def _listed(path: str, node: YamlNode) -> Iterator[tuple[str, MappingNode]]:
    node = _resolved(node)
    for index, item in enumerate(node.items if isinstance(node, SequenceNode) else ()):
        container = _resolved(item)
        if isinstance(container, MappingNode):
            yield f"{path}[{index}]", container


def _resolved(node: YamlNode) -> YamlNode:
    return node.target if isinstance(node, AliasNode) else node


def _key(node: YamlNode) -> str:
    node = _resolved(node)
    return node.text if isinstance(node, ScalarNode) else ""


def _pair(container: MappingNode, key: str, place: str) -> tuple[YamlNode, YamlNode] | None:
    found = [pair for pair in container.pairs if _key(pair[0]) == key]
    if len(found) > 1:
        _refuse(found[1][0], place, f"the key {key!r} is there twice in one container")
    return found[0] if found else None


def _value(container: MappingNode, key: str, place: str) -> YamlNode | None:
    pair = _pair(container, key, place)
    return pair[1] if pair else None


def _text(node: YamlNode, place: str) -> str:
    scalar = _resolved(node)
    if not isinstance(scalar, ScalarNode):
        _refuse(node, place, "expected the name of an image as text")
    return scalar.text


def _aliased(document: YamlNode) -> set[int]:
    """Return the ids of all nodes that are mentioned again somewhere, with all inside them."""
    shared: set[int] = set()
    stack: list[tuple[YamlNode, bool]] = [(document, False)]
    seen: set[tuple[int, bool]] = set()
    while stack:
        node, inside = stack.pop()
        if isinstance(node, AliasNode):
            node, inside = node.target, True
        if (id(node), inside) in seen:
            continue
        seen.add((id(node), inside))
        if inside:
            shared.add(id(node))
        if isinstance(node, SequenceNode):
            stack.extend((item, inside) for item in node.items)
        elif isinstance(node, MappingNode):
            stack.extend((part, inside) for pair in node.pairs for part in pair)
    return shared


def _span(node: YamlNode, place: str) -> tuple[int, int]:
    """Return the characters of a scalar that may be replaced on their own."""
    if isinstance(node, AliasNode):
        _refuse(node, place, "an alias cannot be pinned")
    if not isinstance(node, ScalarNode) or node.style in {"|", ">"}:
        _refuse(node, place, "a value in block style cannot be pinned")
    if node.anchor is not None or node.tag is not None:
        _refuse(node, place, "a value with an anchor or tag cannot be pinned")
    return node.start.index, node.end.index


def _quoted(text: str, like: YamlNode) -> str:
    quote = like.style if isinstance(like, ScalarNode) else ""
    return f"{quote}{text}{quote}"


def _policy_edit(
    container: MappingNode, image: tuple[YamlNode, YamlNode], text: str, place: str
) -> tuple[int, int, str]:
    """Return where the pull policy goes, and what has to be written there."""
    pair = _pair(container, "imagePullPolicy", place)
    if pair is not None:
        start, end = _span(pair[1], place)
        new = _quoted(PULL_POLICY, pair[1])
        return start, end, new if start != end else f" {new}"
    key, value = image
    if container.flow:
        quote = key.style if isinstance(key, ScalarNode) else ""
        new = f", {quote}imagePullPolicy{quote}: {quote}{PULL_POLICY}{quote}"
        return value.start.index, value.end.index, new
    if not text[key.end.index : value.start.index].lstrip(" \t").startswith(":"):
        _refuse(key, place, "a key written with ? cannot be pinned")
    new = " " * (key.start.column - 1) + f"imagePullPolicy: {PULL_POLICY}"
    line_end = _LINE_END.search(text, value.end.index)
    if line_end is None:
        return len(text), len(text), f"\n{new}"
    return line_end.end(), line_end.end(), new + line_end[0]


def _apply(text: str, edits: Mapping[int, tuple[int, str]]) -> str:
    parts: list[str] = []
    done = 0
    for start, (end, new) in sorted(edits.items()):
        parts += [text[done:start], new]
        done = end
    return "".join([*parts, text[done:]])


def _mark(node: YamlNode, place: str) -> Mark:
    return Mark(place, node.start.line, node.start.column)


def _refuse(node: YamlNode, place: str, fact: str) -> NoReturn:
    raise InputErrors([Mistake(_mark(node, place), "", fact)])
