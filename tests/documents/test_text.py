"""Values as YAML text come back as they were."""

from __future__ import annotations

import pytest
import yaml

from isobuilder.documents.text import yaml_text


@pytest.mark.parametrize(
    "character", ["\x85", "\u2028", "\u2029", "\v", "\x1c", "\ufeff", "\r", "\t"]
)
@pytest.mark.parametrize("form", ["a%sb", "a%sb\nc\n", "%s", "x\n%s"])
def test_any_text_comes_back_as_the_same_text(form: str, character: str) -> None:
    text = form % character
    assert yaml.safe_load(yaml_text({"key": text})) == {"key": text}
