"""Schemas in words, for tables."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "yes or no",
    "null": "nothing",
    "object": "map",
}


def kind_of(value: dict[str, Any]) -> str:
    """Return in words what a schema lets a value be."""
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2]
    if choices := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(dict.fromkeys(map(kind_of, choices)))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind, more = value.get("type"), value.get("additionalProperties")
    if kind == "array":
        return f"list of {kind_of(value.get('items') or (value.get('prefixItems') or [{}])[0])}"
    if kind == "object" and isinstance(more, dict):
        return f"map to {kind_of(more)}"
    return _WORDS.get(str(kind), "anything" if kind is None else str(kind))


def cell(text: str) -> str:
    """Return a text as it stands in a table of Markdown."""
    return text.replace("|", "\\|")
