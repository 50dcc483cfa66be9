"""The JSON Schema of recipe files, for editors: the model, and what a file may have besides.

A file is a recipe before its templates are expanded and before what it extends is under it. So text
may be a template where the model wants a form, keys may be missing, and entries may be removed.
"""

from __future__ import annotations

from typing import Any

from isobuilder.documents.merge import NAMED
from isobuilder.model.base import canonical_json
from isobuilder.model.recipe import Recipe

_TEMPLATE = {"type": "string", "pattern": r"\{[{%#]"}
_ENTRIES = {
    "FileEntry": NAMED["files"],
    "ManifestEntry": NAMED["manifests"],
    "Render": NAMED["render"],
}
_REMOVE = {"const": True, "description": "Drop the entry of this name that is extended."}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of recipe files."""
    schema = Recipe.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        _loosen(definition)
        if name in _ENTRIES:
            definition["required"] = [_ENTRIES[name]]
            definition["properties"]["remove"] = _REMOVE
        if name == "Component":
            definition["properties"]["remove"] = _REMOVE
    properties = schema["properties"]
    properties["extends"] = {
        "type": "string",
        "description": "The recipe file below this one: beside it, or among those shipped.",
    }
    schema["required"] = ["schema"]
    schema["title"] = "isobuilder recipe"
    schema["description"] = "What should be on a Kubernetes ISO; see docs/recipes.md."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_bytes() -> bytes:
    """Return the text that is shipped as ``recipes/recipe.schema.json``."""
    return canonical_json(recipe_schema())


def _loosen(definition: dict[str, Any]) -> None:
    """Let keys be missing and values be templates."""
    definition.pop("required", None)
    for name, value in definition.get("properties", {}).items():
        definition["properties"][name] = _expand_values(value)


def _expand_values(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may also be a template, where its form would forbid one."""
    if value.get("type") == "string" and ("pattern" in value or "enum" in value):
        return {"anyOf": [value, _TEMPLATE]}
    if "anyOf" in value:
        value["anyOf"] = [_expand_values(part) for part in value["anyOf"]]
    return value
