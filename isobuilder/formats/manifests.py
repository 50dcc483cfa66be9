"""Kubernetes manifests as ``kubectl`` reads them: their objects and their images, with places.

The one reader: what locks, what pins and what verifies see the same. Values are those of kubectl's
YAML (sigs.k8s.io/yaml, which is YAML 1.1 without surprises): ``=`` and unknown tags are texts, so
are dates; of two equal keys the last counts; ``<<`` is written over by the keys after it. Texts are
never searched: an ``image:`` in a comment is no image, and one in a JSON-like line is.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.yaml import (
    AliasNode,
    MappingNode,
    ScalarNode,
    SequenceNode,
    YamlLimits,
    YamlNode,
)
from isobuilder.formats.manifest_text import ManifestText, documents_of, text_of

MAX_MANIFEST = 16 * 1024 * 1024
"""Bytes of one manifest file; Calico's, the largest we know, has 0.7 MiB."""

Object = Mapping[str, Any]

# Schemas in custom resource definitions reach some thirty levels. What aliases stand for is bounded
# too, so that no reader has to count what ``<<`` brings in.
_LIMITS = YamlLimits(
    size=MAX_MANIFEST, depth=200, values=400_000, length=MAX_MANIFEST, aliased=400_000
)

# Every field of a pod that names an image, wherever the pod's template may be: the keys below which
# lists of them lie, and what a part of such a list calls the image and its pull policy.
# Source: Kubernetes API, PodSpec, Container and ImageVolumeSource.
_LISTS = {
    "containers": "container",
    "initContainers": "container",
    "ephemeralContainers": "container",
    "volumes": "volume",
}
_ABSENT = object()
_LIST = "list of "
IMAGE_FIELDS = {
    "container": ("image", "imagePullPolicy"),
    "image volume": ("reference", "pullPolicy"),
}

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*|0)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"
BINARY = f"{_TAG}binary"
_KINDS = {"bool": (bool,), "int": (int,), "float": (int, float), "null": (type(None),)}
_FORMS = {
    "binary": re.compile(r"[A-Za-z0-9+/\s]*(?:={1,2}\s*)?\Z"),
    "timestamp": re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"),
}
_READ_BY_VALUE = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}


@dataclass(frozen=True, slots=True)
class ImageUse:
    """One field of a pod that names an image."""

    document: int  # from 1, empty documents not counted
    path: str  # e.g. spec.template.spec.containers[0].image
    mark: Mark
    image: str
    pull_policy: str | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a mapping, as it counts."""

    key: YamlNode
    value: YamlNode  # as it is mentioned here, so perhaps an alias
    own: bool  # False: it comes from a mapping that ``<<`` names


@dataclass(frozen=True, slots=True)
class Place:
    """A mapping of a pod that names an image, for whoever wants to change it."""

    use: ImageUse
    mapping: MappingNode
    image: Field
    policy: Field | None
    policy_key: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document that is not empty."""

    root: YamlNode
    nodes: tuple[YamlNode, ...]  # each once, what is inside another one before it
    fields: Mapping[int, Mapping[str, Field]]  # of each mapping, by the id of its node

    def places(self, number: int, manifest: Manifest) -> Iterator[Place]:
        """Return what names an image, in the order of the text; what is shared once."""
        stack: list[tuple[str, YamlNode, str]] = [("", self.root, "")]
        seen: set[tuple[int, str]] = set()
        while stack:
            path, node, role = stack.pop()
            node = target(node)
            if isinstance(node, ScalarNode) or (id(node), role) in seen:
                continue
            seen.add((id(node), role))
            if isinstance(node, MappingNode) and role in IMAGE_FIELDS:
                yield from self._place(path, node, role, number, manifest)
            below = [(step(path, key), part, of) for key, (part, of) in self.below(node, role)]
            stack += below[::-1]

    def below(self, node: YamlNode, role: str) -> Iterator[tuple[str | int, tuple[YamlNode, str]]]:
        """Return key, node and role of all that is directly inside a list or a mapping."""
        if isinstance(node, SequenceNode):
            inner = role.removeprefix(_LIST) if role.startswith(_LIST) else ""
            for index, item in enumerate(node.items):
                yield index, (item, inner)
        elif isinstance(node, MappingNode):
            for key, value in self.fields[id(node)].items():
                inner = _LIST + _LISTS[key] if key in _LISTS else ""
                if role == "volume" and key == "image":
                    inner = "image volume"
                yield key, (value.value, inner)

    def _place(
        self, path: str, node: MappingNode, role: str, number: int, manifest: Manifest
    ) -> Iterator[Place]:
        image_key, policy_key = IMAGE_FIELDS[role]
        fields = self.fields[id(node)]
        image, policy = fields.get(image_key), fields.get(policy_key)
        if image is None or (text := written(image.value)) is None:
            return
        told = None if policy is None else written(policy.value)
        mark = manifest.mark(image.value)
        use = ImageUse(number, f"{path}.{image_key}", mark, text, told or None)
        yield Place(use, node, image, policy, policy_key)


@dataclass(frozen=True)
class Manifest:
    """One file of manifests, read; made by ``read_manifest``."""

    place: str
    source: ManifestText
    documents: tuple[Document, ...]
    oddities: tuple[Mistake, ...]  # what kubectl takes in silence, such as keys that stand twice

    def mark(self, node: YamlNode) -> Mark:
        """Return the line and column of a node."""
        return Mark(self.place, node.start.line, node.start.column)

    @property
    def text(self) -> str:
        """What the places of nodes count in."""
        return self.source.read

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """What names an image, in the order of the text."""
        found = [
            place
            for number, document in enumerate(self.documents, 1)
            for place in document.places(number, self)
        ]
        return tuple(sorted(found, key=lambda each: each.image.value.start.index))

    @property
    def images(self) -> tuple[ImageUse, ...]:
        """The images that pods use, in the order of the text; null is no image."""
        return tuple(place.use for place in self.places)

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """The objects that ``kubectl apply`` finds; lists of objects are taken apart.

        Raises:
            InputErrors: something else than objects with apiVersion and kind.
        """
        found: list[Object] = []
        for number, document in enumerate(self.documents, 1):
            for node in document.nodes:
                if isinstance(node, ScalarNode) and not _is_as_tagged(node):
                    self.refuse(node, f"{node.text[:40]!r} is not what its tag says, {node.tag}")
            values = _values(document)
            waiting = [values[id(target(document.root))]]
            while waiting:
                value = waiting.pop()
                items = value.get("items", _ABSENT) if isinstance(value, dict) else _ABSENT
                if items is None or isinstance(items, list):
                    items = items or []
                    waiting += reversed([_item(item, value) for item in items])
                else:
                    self._check_object(value, number, document)
                    found.append(value)
        return tuple(found)

    def _check_object(self, value: object, number: int, document: Document) -> None:
        where = f"document {number}"
        if not isinstance(value, dict):
            shown = type(value).__name__ if isinstance(value, list) else repr(value)[:60]
            self.refuse(document.root, f"{where}: expected a Kubernetes object, got {shown}")
        for key in ("apiVersion", "kind"):
            if not isinstance(value.get(key), str) or (key == "kind" and not value[key]):
                self.refuse(document.root, f"{where}: a Kubernetes object has no {key}")

    def refuse(self, node: YamlNode, fact: str, hint: str | None = None) -> NoReturn:
        """Raise one mistake, at a node."""
        raise InputErrors([Mistake(self.mark(node), "", fact, hint)])


def read_manifest(data: bytes, place: str) -> Manifest:
    """Return what is in a file of manifests; ``place`` is what messages call it.

    Raises:
        InputErrors: not YAML or JSON that kubectl would read, or beyond a limit; names the line.
    """
    if len(data) > _LIMITS.size:
        fact = f"expected at most {_LIMITS.size} bytes, got {len(data)}"
        raise InputErrors([Mistake(Mark(place), "", fact)])
    text = text_of(data, place)
    builder = _ObjectBuilder(Manifest(place, text, (), ()))
    roots = documents_of(text, place, _LIMITS)
    documents = tuple(builder.document(root) for root in roots if not _is_null(root))
    odd = text.odd_bytes(place)
    return Manifest(place, text, documents, (*builder.doubled, *([odd] if odd else [])))


@dataclass(slots=True)
class _ObjectBuilder:
    manifest: Manifest
    doubled: list[Mistake] = field(default_factory=list)

    def document(self, root: YamlNode) -> Document:
        nodes = tuple(_inside_first(root))
        fields: dict[int, Mapping[str, Field]] = {}
        for node in nodes:
            if isinstance(node, MappingNode):
                fields[id(node)] = self._fields(node, fields)
        return Document(root, nodes, fields)

    def _fields(
        self, node: MappingNode, known: Mapping[int, Mapping[str, Field]]
    ) -> Mapping[str, Field]:
        found: dict[str, Field] = {}
        for key, value in node.pairs:
            if _merges(key):
                for source in self._merged(value):
                    inherited = known[id(source)].items()
                    found |= {name: Field(f.key, f.value, own=False) for name, f in inherited}
                continue
            name = self._name(key)
            if name in found and found[name].own:
                fact = f"the key {name!r} is there twice in one mapping; the last one counts"
                self.doubled.append(Mistake(self.manifest.mark(key), "", fact, "keep one of them"))
            found[name] = Field(key, value, own=True)
        return found

    def _merged(self, value: YamlNode) -> Iterator[MappingNode]:
        """Return the mappings behind ``<<``, the strongest last."""
        value = target(value)
        sources = value.items[::-1] if isinstance(value, SequenceNode) else (value,)
        for source in map(target, sources):
            if not isinstance(source, MappingNode):
                self.manifest.refuse(source, "<< wants a mapping, or a list of them")
            yield source

    def _name(self, key: YamlNode) -> str:
        scalar = target(key)
        name = scalar_value(scalar) if isinstance(scalar, ScalarNode) else None
        if name is None:
            self.manifest.refuse(key, "a key that is no text", "kubectl does not take it either")
        return {True: "true", False: "false"}[name] if isinstance(name, bool) else str(name)


def _inside_first(root: YamlNode) -> Iterator[YamlNode]:
    """Return every node once, those inside it before it; without recursion."""
    stack: list[tuple[YamlNode, bool]] = [(root, False)]
    seen: set[int] = set()
    while stack:
        node, done = stack.pop()
        node = target(node)
        if done:
            yield node
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.append((node, True))
        if isinstance(node, SequenceNode):
            stack += [(item, False) for item in reversed(node.items)]
        elif isinstance(node, MappingNode):
            stack += [(part, False) for pair in reversed(node.pairs) for part in pair[::-1]]


def _values(document: Document) -> Mapping[int, Any]:
    """Return the plain value of every node, by its id; shared nodes are shared values."""
    made: dict[int, Any] = {}
    for node in document.nodes:
        if isinstance(node, ScalarNode):
            made[id(node)] = scalar_value(node)
        elif isinstance(node, SequenceNode):
            made[id(node)] = [made[id(target(item))] for item in node.items]
        elif isinstance(node, MappingNode):
            fields = document.fields[id(node)].items()
            made[id(node)] = {key: made[id(target(each.value))] for key, each in fields}
    return made


def _item(item: object, of: Mapping[str, Any]) -> object:
    """Give an object of a typed list (``PodList``) what the list says of it, as kubectl does."""
    kind = of.get("kind")
    if not isinstance(item, dict) or not isinstance(kind, str) or kind == "List":
        return item
    return {"apiVersion": of.get("apiVersion"), "kind": kind.removesuffix("List"), **item}


def scalar_value(node: ScalarNode) -> str | int | float | bool | None:
    """Return what kubectl takes a scalar for.

    Source: resolve.go of gopkg.in/yaml.v2, which sigs.k8s.io/yaml carries on.
    """
    text = node.text
    if node.tag == BINARY:
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode(errors="replace")
        except ValueError:
            return text
    if node.tag not in _READ_BY_VALUE and (node.tag is not None or node.style):
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return text if text.startswith("_") else _number(text.replace("_", ""), text)


def _is_as_tagged(node: ScalarNode) -> bool:
    """Say if a value is of the kind that its tag says, without which kubectl refuses the file."""
    kind = (node.tag or "").removeprefix(_TAG)
    if kind in _FORMS:
        return _FORMS[kind].match(node.text) is not None
    return kind not in _KINDS or type(scalar_value(node)) in _KINDS[kind]


def _number(digits: str, text: str) -> str | int | float:
    if _INTEGER.fullmatch(digits) and len(digits) <= 70:
        octal = re.fullmatch("([-+]?)0([0-7]+)", digits)
        number = int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
        if -(2**63) <= number < 2**63:
            return number
        if 0 <= number < 2**64:
            return float(number)
    value = float(digits) if _FLOAT.fullmatch(digits) else math.inf
    return value if math.isfinite(value) else text


def written(node: YamlNode) -> str | None:
    """Return the text of a scalar as it was written; None for null and what is no scalar."""
    scalar = target(node)
    if not isinstance(scalar, ScalarNode) or _is_null(scalar):
        return None
    return str(scalar_value(scalar)) if scalar.tag == BINARY else scalar.text


def _is_null(node: YamlNode) -> bool:
    return isinstance(node, ScalarNode) and scalar_value(node) is None


def _merges(key: YamlNode) -> bool:
    implicit = isinstance(key, ScalarNode) and key.text == "<<"
    return implicit and isinstance(key, ScalarNode) and (not key.style or key.tag == f"{_TAG}merge")


def step(path: str, key: str | int) -> str:
    """Return the path of what is at ``key`` below ``path``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def target(node: YamlNode) -> YamlNode:
    """Return the node itself, where an alias mentions it."""
    return node.target if isinstance(node, AliasNode) else node


# --- objects ---


def at(value: object, *keys: str) -> Any:
    """Return what is below ``keys``, or None where the way ends."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def items(value: object, *keys: str) -> list[Any]:
    """Return the list below ``keys``, or an empty one."""
    found = at(value, *keys)
    return found if isinstance(found, list) else []


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [each for each in objects if each.get("kind") in kinds]
