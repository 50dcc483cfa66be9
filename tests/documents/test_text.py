"""Values as YAML text come back as they were."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from isobuilder.documents.text import yaml_text

WORDS = ["y", "yes", "true", "on", "n", "no", "false", "off", "null"]
SPECIAL = {form for word in WORDS for form in (word, word.capitalize(), word.upper())}
SPECIAL |= {"~", "<<", *(f"{sign}.{form}" for sign in ("", "+", "-") for form in ("inf", "Inf"))}
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[0-9]+)")
TIME = re.compile(r"\d{4}-\d\d?-\d\d?([Tt ]\d\d?:\d\d?:\d\d?(\.\d+)?(Z|[-+]\d\d:\d\d)?)?")


def go_takes_for_something_else(text: str) -> bool:
    """Say what go.yaml.in/yaml/v2, resolve.go, makes of ``text`` without quotes: no text."""
    bare = text.replace("_", "") if text[:1] in set("+-0123456789") else text
    numbers = FLOAT.fullmatch(bare) or INTEGER.fullmatch(bare)
    return bool(text in SPECIAL or numbers or TIME.fullmatch(text))


@pytest.mark.parametrize(
    "character", ["\x85", "\u2028", "\u2029", "\v", "\x1c", "\ufeff", "\r", "\t"]
)
@pytest.mark.parametrize("form", ["a%sb", "a%sb\nc\n", "%s", "x\n%s"])
def test_any_text_comes_back_as_the_same_text(form: str, character: str) -> None:
    text = form % character
    assert yaml.safe_load(yaml_text({"key": text})) == {"key": text}


@given(st.text(alphabet="0123456789+-._:eExXoObBaf yYnNsTtZ~<=", max_size=12))
@example("08")
@example("y")
@example("N")
@example("1e3")
@example("+1e2")
@example("0o17")
@example("0x_f")
@example(".5_0")
@example("2026-1-2")
@example("1_0e1_0")
@example("+_08")
def test_no_reader_takes_a_text_for_a_number_or_a_boolean(text: str) -> None:
    written = yaml_text({text: text})
    assert yaml.safe_load(written) == {text: text}
    if go_takes_for_something_else(text):
        assert written == f"'{text}': '{text}'\n"


@pytest.mark.parametrize(
    "text", ["1.34.12", "v1.37.1", "10.0.0.1", "fd00::1", "10.0.0.0/16", "1e3f", "yes-no", "8080a"]
)
def test_a_text_that_is_one_for_all_readers_stands_without_quotes(text: str) -> None:
    assert yaml_text({"key": text}) == f"key: {text}\n"
