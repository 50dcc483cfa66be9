"""The page about what ``--json`` prints, and its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tools.printed.building import BUILDING
from tools.printed.running import RUNNING
from tools.printed.shapes import Schema
from tools.printed.words import cell, kind_of

PRINTED: dict[str, Schema] = dict(sorted((BUILDING | RUNNING).items()))
"""By command: what it prints with ``--json``."""


_ABOUT = """\
Each command with `--json` prints one value on stdout. All of its fields are here; those that are
not always there say so. The same as a JSON schema, with an entry for each command:
[output.schema.json](schemas/output.schema.json). What commands print is validated by it in the
tests. Errors stay two lines on stderr, and the [exit code](commands.md#exit-codes) tells which
kind. `[]` stands for each entry of a list, `{}` for each entry of a map."""


def printed_schema() -> str:
    """Return the schema of all of it: a map with an entry for each command."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What isobuilder prints with --json, by command",
        "type": "object",
        "properties": PRINTED,
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def printed(made: str) -> str:
    """Return the page; ``made`` says that it is one that was made."""
    lines = ["# What --json prints", "", made, ""]
    lines += [_ABOUT]
    for name, schema in PRINTED.items():
        lines += ["", f"## isobuilder {name}", ""]
        variants = schema.get("anyOf", [schema])
        for one in variants:
            lines += [*_variant(one), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _variant(schema: Schema) -> Iterator[str]:
    yield f"{_whole(schema)}."
    rows = list(_rows(schema, ""))
    if rows:
        yield from ("", "| Field | Kind | What it is |", "|---|---|---|")
        for path, kind, note in rows:
            yield f"| `{path}` | {kind} | {cell(re.sub(r'`+', '`', note))} |"


def _whole(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).partition(".")[0]
        note = schema.get("description")
        return f"A [{name}](documents.md#{name}){f', {note}' if note else ''}"
    if schema["type"] == "array":
        return "A list"
    if "properties" not in schema:
        return f"A map {schema.get('description', '')}".rstrip()
    return "A map"


def _rows(schema: Schema, path: str) -> Iterator[tuple[str, str, str]]:
    """Give the fields below a schema: path, kind and note."""
    inner, below = _below(schema, path)
    needed = inner.get("required", ())
    for name, value in inner.get("properties", {}).items():
        here = f"{below}.{name}" if below else name
        note = value.get("description", "")
        if name not in needed:
            note = f"{note}; not always there" if note else "not always there"
        yield here, kind_of(value), note
        yield from _rows(value, here)


def _below(schema: Schema, path: str) -> tuple[Schema, str]:
    """Return the map that is in a schema, through lists and maps, and how one gets there."""
    while True:
        choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if choices:
            schema = choices[0]
        elif schema.get("type") == "array":
            schema, path = schema.get("items", {}), f"{path}[]"
        elif isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
            schema, path = schema["additionalProperties"], f"{path}{{}}"
        else:
            return schema, path
