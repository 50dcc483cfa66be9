"""Kubernetes manifests as plain values: many documents in one file, read within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from isobuilder.documents.yaml import YamlLimits, decode, events
from isobuilder.errors import InputError

MAX_MANIFEST = 16 * 1024 * 1024
"""Bytes of one manifest file; Calico's, the largest we know, has 0.7 MiB."""

_LIMITS = YamlLimits(
    size=MAX_MANIFEST, depth=200, values=400_000, length=MAX_MANIFEST, aliased=400_000
)
"""Schemas in custom resource definitions reach some thirty levels."""

_CONTAINERS = frozenset({"containers", "initContainers", "ephemeralContainers"})

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kube_documents(data: bytes, place: str) -> tuple[Mapping[str, Any], ...]:
    """Return the objects that ``kubectl apply`` finds in ``data``; a List is taken apart.

    Raises:
        InputError: not YAML, not objects with apiVersion and kind, or beyond a limit.
    """
    text = decode(data, place, size=_LIMITS.size)
    for _ in events(text, place, _LIMITS):
        pass
    try:
        values = [value for value in yaml.load_all(text, Loader=_Loader) if value is not None]
    except yaml.YAMLError as error:
        raise InputError(f"{place}: not YAML: {_one_line(error)}") from error
    except ValueError as error:  # an impossible date, bytes that are not text
        raise InputError(f"{place}: not YAML: {_one_line(error)}") from error
    found: list[Mapping[str, Any]] = []
    for number, value in enumerate(values, 1):
        where = f"{place}: document {number}"
        items = value.get("items") if isinstance(value, dict) else None
        is_list = isinstance(value, dict) and value.get("kind") == "List"
        parts = items if is_list and isinstance(items, list) else [value]
        found.extend(_object(item, where) for item in parts)
    return tuple(found)


def at(value: object, *keys: str) -> Any:
    """Return what is below ``keys``, or None where the way ends."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def items(value: object, *keys: str) -> list[Any]:
    """Return the list below ``keys``, or an empty one."""
    found = at(value, *keys)
    return found if isinstance(found, list) else []


def of_kind(documents: Iterable[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """Return the objects of these kinds."""
    return [document for document in documents if document.get("kind") in kinds]


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a Kubernetes object, got {repr(value)[:60]}")
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key), str):
            raise InputError(f"{place}: a Kubernetes object has no {key}")
    return value


def containers_of(value: object) -> Iterator[Mapping[str, Any]]:
    """Return every container below ``value`` that names its image, each once.

    These are the containers that ``kubeyaml`` reads and pins. Shared parts (YAML aliases) are
    looked at once, so that a small file cannot make a long walk.
    """
    seen: set[int] = set()
    waiting: list[object] = [value]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict | list | tuple) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            for key in _CONTAINERS & node.keys():
                for container in items(node, key):
                    if isinstance(at(container, "image"), str):
                        yield container
            waiting.extend(node.values())
        else:
            waiting.extend(node)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
