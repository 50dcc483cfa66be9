"""Schemas in few words: of values that commands put together, and of our own classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from inspect import isclass
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

Schema = dict[str, Any]
_OPTIONAL = "x-sometimes"  # mark of a field that is not always there, until its object is made


def text(note: str = "", *choices: str) -> Schema:
    """A text, one of ``choices`` where there are some."""
    return {"type": "string"} | ({"enum": list(choices)} if choices else {}) | _note(note)


def number(note: str = "") -> Schema:
    """A whole number."""
    return {"type": "integer"} | _note(note)


def seconds(note: str = "") -> Schema:
    """A number with or without a fraction."""
    return {"type": "number"} | _note(note)


def flag(note: str = "") -> Schema:
    """Yes or no."""
    return {"type": "boolean"} | _note(note)


def digest(note: str = "") -> Schema:
    """A digest."""
    return {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"} | _note(note)


def anything(note: str = "") -> Schema:
    """Any value."""
    return _note(note)


def many(item: Schema, note: str = "") -> Schema:
    """A list."""
    return {"type": "array", "items": item} | _note(note)


def by(item: Schema, note: str = "") -> Schema:
    """A map from any name."""
    return {"type": "object", "additionalProperties": item} | _note(note)


def maybe(schema: Schema) -> Schema:
    """That, or null."""
    inner = {name: value for name, value in schema.items() if name != "description"}
    return {"anyOf": [inner, {"type": "null"}]} | _note(schema.get("description", ""))


def sometimes(schema: Schema) -> Schema:
    """A field that is not always there."""
    return schema | {_OPTIONAL: True}


def thing(fields: Mapping[str, Schema]) -> Schema:
    """A map with these fields and no other."""
    return {
        "type": "object",
        "properties": {
            name: {key: one for key, one in value.items() if key != _OPTIONAL}
            for name, value in fields.items()
        },
        "required": [name for name, value in fields.items() if _OPTIONAL not in value],
        "additionalProperties": False,
    }


def either(*schemas: Schema) -> Schema:
    """One of these, as the command was called."""
    return {"anyOf": list(schemas)}


def document(name: str, note: str = "") -> Schema:
    """A document that has a schema of its own."""
    return {"$ref": f"{name}.schema.json"} | _note(note)


def made_of(
    kind: type[Any],
    more: Mapping[str, Schema] | None = None,
    *,
    known: type[Any] | None = None,
    not_always: Collection[str] = (),
) -> Schema:
    """A value of a class of ours, with ``more`` fields; comments beside fields are their notes.

    ``known`` is a class that its module imports for types only, ``not_always`` are fields that are
    left out where they say nothing.
    """
    if is_dataclass(kind):
        names = {} if known is None else {known.__name__: known}
        hints = get_type_hints(kind, localns=names)
        fields = {one.name: _of(hints[one.name]) for one in dataclass_fields(kind)}
    else:
        schema = TypeAdapter(kind).json_schema(mode="serialization", schema_generator=_Whole)
        fields = _resolved(schema, schema.get("$defs", {}))["properties"]
    for name, note in notes_of(kind).items():
        if name in fields:
            fields[name] = fields[name] | _note(note)
    fields |= {name: sometimes(fields[name]) for name in not_always}
    return thing(fields | dict(more or {}))


def _of(hint: Any) -> Schema:
    """Return the schema of the type of a field, in which there may be classes of ours."""
    if isclass(hint) and is_dataclass(hint):
        return made_of(hint)
    if get_origin(hint) in {tuple, list}:
        inner = [one for one in get_args(hint) if one is not Ellipsis]
        if all(one == inner[0] for one in inner):
            return many(_of(inner[0]))
    schema = TypeAdapter(hint).json_schema(mode="serialization", schema_generator=_Whole)
    found: Schema = _resolved(schema, schema.get("$defs", {}))
    return found


class _Whole(GenerateJsonSchema):
    """Values of ours are printed with every field, those with a default as well."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Return that it is."""
        return True

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        """Return that what pydantic knows no schema of is a text: versions of ours are."""
        return {"type": "string"}


def _resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """Return a schema with its definitions in place, and without what pydantic says of itself."""
    if isinstance(value, list):
        return [_resolved(one, known) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _resolved(known[value["$ref"].rpartition("/")[2]], known)
    left_out = {"$defs", "default", "description"}
    if isinstance(value.get("title"), str):
        left_out.add("title")
    found = {name: _resolved(one, known) for name, one in value.items() if name not in left_out}
    if found.get("type") == "object" and "properties" in found:
        # Names of fields, which may be those of words of a schema.
        fields = value["properties"].items()
        found["properties"] = {name: _resolved(one, known) for name, one in fields}
        found["additionalProperties"] = False
    return found


def notes_of(kind: type[Any]) -> dict[str, str]:
    """Return what the comments beside the fields of a class say."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one is not BaseModel and (is_dataclass(one) or issubclass(one, BaseModel)):
            found |= dict(re.findall(r"^    (\w+): .*  # (.+)$", inspect.getsource(one), re.M))
    return found


def _note(note: str) -> Schema:
    return {"description": note} if note else {}
