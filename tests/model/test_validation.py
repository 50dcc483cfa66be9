"""What mistakes are called in words of people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from isobuilder.model import validation
from tools.tables import DOCS

WRITTEN_BY_PEOPLE = ("recipe", "cluster", "settings", "policy", "rules")


def patterns(value: Any) -> Iterator[str]:
    """Give the patterns of a schema; those of keys and of versions have errors of their own."""
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str) and "|[1-9][0-9]{0,8}" not in value["pattern"]:
            yield value["pattern"]
        for inner in value.values():
            yield from patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from patterns(inner)


@pytest.mark.parametrize("name", WRITTEN_BY_PEOPLE)
def test_a_form_that_people_write_has_words_and_is_no_pattern_to_them(name: str) -> None:
    schema = json.loads((DOCS / f"reference/schemas/{name}.schema.json").read_text("utf-8"))
    assert set(patterns(schema)) <= validation._FORMS.keys()
