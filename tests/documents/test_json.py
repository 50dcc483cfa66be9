"""What JSON may be, and what no text of it costs more than."""

from __future__ import annotations

import math

import pytest

from isobuilder.documents.json import DOCUMENT, JsonLimits, JsonProblem, json_tree, parse, value_of
from isobuilder.errors import IntegrityError

LIMITS = JsonLimits(size=2000, items=200)


def refused(data: bytes, limits: JsonLimits = LIMITS) -> str:
    with pytest.raises(JsonProblem) as caught:
        value_of(data, limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b" " * 2001, "expected at most 2000 bytes of JSON, got 2001"),
        (b"[" + b"0," * 200 + b"0]", "JSON of more than 200 values"),
        (b"[" + b"[]," * 100 + b"0]", "JSON of more than 200 values"),
        (b"{" + b'"a":{},' * 100 + b'"b":0}', "JSON of more than 200 values"),
        (b"[" * 51 + b"]" * 51, "JSON nested more than 50 levels deep"),
        (b'{"a":' * 51 + b"0" + b"}" * 51, "JSON nested more than 50 levels deep"),
        (b'"\xff"', "not UTF-8 text: byte 0xff"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "the key 'c' is there twice in one object"),
        (b"9" * 21, "the number 99999999999999999999... is too large"),
        (b"[-Infinity]", "-Infinity is not a number of JSON"),
        (b"1e999", "1e999 is not a number of JSON"),
        (b'["\\udc00\\ud800"]', "half of a surrogate pair in a text"),
        (b'{"\\ud800": 1}', "half of a surrogate pair in a text"),
        (b" \n", "not JSON: it is empty"),
        (b"<html>", "not JSON: it begins with '<html>'"),
        (b"\xef\xbb\xbf{}", "not JSON: it begins with '\\ufeff{}'"),
    ],
)
def test_what_is_refused(data: bytes, fact: str) -> None:
    assert refused(data) == fact


def test_fifty_levels_are_read() -> None:
    assert json_tree("[" * 50 + "]" * 50, "x").root
    assert value_of(b"[" * 50 + b"]" * 50, LIMITS)


def test_a_doubled_key_in_a_damaged_text_is_a_damaged_text() -> None:
    assert refused(b'{"a": 1, "a": 2').startswith("not JSON: ")


def test_who_takes_the_last_of_two_keys_says_so() -> None:
    assert value_of(b'{"a": 1, "a": 2}', JsonLimits(size=99, items=9, unique=False)) == {"a": 2}


def test_an_error_has_its_place_and_kind() -> None:
    with pytest.raises(IntegrityError) as caught:
        parse(b'{"a": 1,\n  b}', "r.example/pause:1: index", DOCUMENT, IntegrityError)
    assert str(caught.value).startswith("r.example/pause:1: index: not JSON: ")
    assert str(caught.value).endswith(" in line 2, column 3")


def test_every_value_of_json_comes_back() -> None:
    text = (
        '[null, true, -1, 0.5, 1e3, "\\ud83d\\ude00 \\\\ud800", {"a": [{}]}, 18446744073709551615]'
    )
    found = value_of(text.encode(), LIMITS)
    assert found == [None, True, -1, 0.5, 1000, "\U0001f600 \\ud800", {"a": [{}]}, 2**64 - 1]
    assert math.isclose(found[3], 0.5)
