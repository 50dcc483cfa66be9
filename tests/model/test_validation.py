"""What mistakes are called in words of people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.model import validation
from isobuilder.model.base import Model
from isobuilder.model.cluster_values import Cni
from isobuilder.model.policy import Minor
from isobuilder.model.recipe import BootWish
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


class _Alternatives(Model):
    cni: Cni = "bridge"
    boot: BootWish | Literal[False] = False
    ends: dict[Minor, str] = {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"cni": "../x.yaml"}', ["x:1:9: cni: the path '../x.yaml' leaves the ISO"]),
        ('{"boot": 5}', ["x:1:10: boot: expected keys and values, found 5"]),
        (
            '{"boot": {"so": "a"}}',
            ["x:1:10: boot: the key 'os' is missing", "x:1:11: boot: unknown key 'so'"],
        ),
        ('{"boot": {"os": 5}}', ["x:1:17: boot.os: 5 is read as a number, expected text"]),
        (
            '{"ends": {"1.034": "a"}}',
            ["x:1:20: ends['1.034']: expected a minor such as 1.36, found '1.034'"],
        ),
    ],
)
def test_a_mistake_in_one_of_several_forms_is_told_by_its_place_alone(
    text: str, told: list[str]
) -> None:
    with pytest.raises(InputErrors) as caught:
        validation.parse_json(text.encode(), "x", _Alternatives)
    assert [str(one) for one in caught.value.mistakes] == told
