"""No text of YAML costs more than its limits say, and each refusal names its place."""

from __future__ import annotations

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.documents.yaml import (
    AliasNode,
    MappingNode,
    ScalarNode,
    SequenceNode,
    YamlLimits,
    decode,
    parse_yaml,
)

LIMITS = YamlLimits(size=1000, depth=5, values=50, length=20, aliased=30)


def refused(text: str, limits: YamlLimits = LIMITS) -> str:
    with pytest.raises(InputErrors) as caught:
        parse_yaml(text, "a.yaml", limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[[[[[[1]]]]]]", "1:6"),
        ("[" * 5000, "1:6"),  # libyaml 0.2.6 refuses a thousand before it gives the first
        ("a: [[[[" + "{b: " * 300, "1:8"),
        ("{a: " * 5000, "1:21"),
        ("- " * 5000, "1:11"),
        ("? " * 5000, "1:11"),
        ('\'[\': "]\\"]"\nb: ' + "[" * 5000, "2:8"),
        ("[\n" * 5000, "6:1"),
    ],
)
def test_deep_nesting_is_refused_in_our_own_words(text: str, place: str) -> None:
    assert refused(text) == f"a.yaml:{place}: nested more than 5 levels deep"


@pytest.mark.parametrize(
    "text",
    ["a: 'don''t [[[[[[[[[[", 'a: "[[[[[[[[[\\"[[[', "a: b[[[[[[[[[[: c: d", "- a [[[[[[[[\nb"],
)
def test_brackets_that_open_nothing_are_no_nesting(text: str) -> None:
    assert "not YAML" in refused(text)


def test_levels_inside_of_aliases_count() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 20)]
    assert refused("\n".join(lines)) == "a.yaml:5:10: nested more than 5 levels deep"


def test_what_aliases_stand_for_is_counted_where_they_are_followed() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 4)]
    text = "\n".join(lines)
    assert refused(text) == "a.yaml:4:10: aliases that make it larger than any real file"
    unfollowed = YamlLimits(size=1000, depth=5, values=50, length=20)
    assert len(parse_yaml(text, "a.yaml", unfollowed)) == 1


@pytest.mark.parametrize("text", ["- x\n" * 50, "{" + "a: b, " * 25 + "}", "--- x\n" * 51])
def test_values_are_counted_over_all_documents(text: str) -> None:
    assert refused(text).endswith("more values than any real file has")


def test_a_long_text_is_refused_where_it_begins() -> None:
    assert refused("a:\n  - " + "x" * 21) == "a.yaml:2:5: a text of more than 20 characters"


def test_a_large_text_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InputErrors, match=r"a\.yaml: expected at most 3 bytes, got 4"):
        decode(b"\xff\xff\xff\xff", "a.yaml", size=3)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("- *a\n", "1:3: the alias *a has no anchor before it"),
        ("- &a x\n---\n- *a\n", "3:3: the alias *a has no anchor before it"),
        ("&a [x, *a]\n", "1:8: the alias *a is part of what it stands for"),
    ],
)
def test_an_alias_stands_for_something_whole(text: str, fact: str) -> None:
    assert refused(text) == f"a.yaml:{fact}"


def test_the_tree_tells_how_everything_was_written() -> None:
    (root,) = parse_yaml("a: &x 'b'\nc: [*x, 1]\n", "a.yaml", LIMITS)
    assert isinstance(root, MappingNode)
    (_, first), (_, second) = root.pairs
    assert isinstance(first, ScalarNode)
    assert (first.text, first.style, first.anchor) == ("b", "'", "x")
    assert (first.start.index, first.end.index) == (3, 9)  # the anchor included
    assert isinstance(second, SequenceNode)
    assert second.flow
    assert isinstance(second.items[0], AliasNode)
    assert second.items[0].target is first
