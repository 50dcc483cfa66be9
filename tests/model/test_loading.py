from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from isobuilder.documents.mistakes import InputErrors
from isobuilder.documents.plain_yaml import read_yaml, resolve_plain, yaml_map
from isobuilder.errors import InputError
from isobuilder.model.base import Model
from isobuilder.model.loading import load_lock, load_recipe, recipes_in
from isobuilder.model.lock import Lock
from isobuilder.model.validation import build, parse_json

RECIPES = Path(__file__).parents[2] / "recipes"
LOCK = RECIPES / "kubernetes-1.34.12.amd64.lock.json"


class Leaf(Model):
    name: str
    count: int = 0
    on: bool = False


class Tree(Model):
    leaf: Leaf
    leaves: tuple[Leaf, ...] = ()
    words: dict[str, str] = {}


def wrong(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(InputErrors) as caught:
        build(yaml_map(data, "a.yaml"), Tree)
    assert caught.value.exit_code == 3
    return [str(mistake) for mistake in caught.value.mistakes]


def hints(text: str) -> list[str | None]:
    with pytest.raises(InputErrors) as caught:
        build(yaml_map(text.encode(), "a.yaml"), Tree)
    return [mistake.hint for mistake in caught.value.mistakes]


# --- YAML: form ---


def test_a_tab_is_named_with_its_place() -> None:
    assert wrong("leaf:\n\tname: x\n") == ["a.yaml:2:1: a tab where YAML wants spaces"]


def test_a_key_that_is_there_twice_is_reported_with_both_places() -> None:
    found = wrong("leaf:\n  name: a\n  name: b\n")
    assert found == ["a.yaml:3:3: leaf: the key 'name' is there twice, first in line 2"]


def test_a_second_document_is_refused() -> None:
    assert wrong("leaf: {name: a}\n---\nleaf: {name: b}\n") == [
        "a.yaml:3:1: a second document; expected one in a file"
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert wrong(text) == ["a.yaml: the file is empty"]


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n", "a list"), ("just words\n", "text"), ("12\n", "text")]
)
def test_a_file_without_keys_is_refused(text: str, kind: str) -> None:
    assert wrong(text) == [f"a.yaml:1:1: expected keys and values, found {kind}"]


def test_text_that_is_not_utf8_is_refused_with_line_and_column() -> None:
    assert wrong("leaf:\n  name: 가나".encode("euc-kr")) == [
        "a.yaml:2:9: not UTF-8 text: byte 0xb0"
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_unicode_encodings_are_refused(encoding: str) -> None:
    assert "not UTF-8" in wrong("leaf: {name: a}\n".encode(encoding))[0]


def test_a_nul_byte_is_refused() -> None:
    assert wrong("leaf:\n  name: a\0b\n") == [
        "a.yaml:2:10: the character U+0000 does not belong in a text file"
    ]


def test_a_byte_order_mark_does_not_matter() -> None:
    tree = yaml_map(b"\xef\xbb\xbfleaf: {name: a}\n", "a.yaml")
    assert build(tree, Tree).leaf.name == "a"


def test_windows_line_ends_do_not_matter() -> None:
    assert wrong("leaf:\r\n  name: a\r\n  nam: b\r\n") == ["a.yaml:3:3: leaf: unknown key 'nam'"]


def test_anchors_aliases_and_tags_are_refused_all_at_once() -> None:
    found = wrong("leaf: &x {name: a}\nleaves: [*x]\nwords: {a: !!binary aGk=}\n")
    assert [line.split(";")[0] for line in found] == [
        "a.yaml:1:7: leaf: an anchor",
        "a.yaml:2:10: leaves[0]: an alias",
        "a.yaml:3:12: words.a: the tag 'tag:yaml.org,2002:binary'",
    ]


def test_a_billion_laughs_costs_nothing() -> None:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    started = time.process_time()
    assert "an anchor" in wrong("\n".join(lines))[0]
    assert time.process_time() - started < 10


@pytest.mark.parametrize("text", ["[" * 2_000_000, "a: " + "{a: " * 500_000, "- " * 500_000])
def test_bottomless_nesting_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    assert "nested more than 30 levels deep" in wrong(text)[0]
    assert time.process_time() - started < 10


def test_too_many_values_are_refused() -> None:
    assert "more values than any real file has" in wrong("a: [" + "x," * 200_000 + "]")[0]


@pytest.mark.parametrize(
    "text", ["a: [1,\n", 'a: "b\n', "a: b: c\n", "a: *b\n", "%YAML 9.9\n---\na: 1\n"]
)
def test_what_is_not_yaml_has_a_place(text: str) -> None:
    assert wrong(text)[0].startswith("a.yaml:")
    assert ":1:" in wrong(text)[0] or ":2:" in wrong(text)[0]


def test_a_complex_key_is_refused() -> None:
    assert wrong("? [a, b]\n: c\n")[0] == "a.yaml:1:3: a key that is not plain text"


def test_a_file_of_50_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    with big.open("wb") as file:
        file.truncate(50_000_000)
    started = time.process_time()
    with pytest.raises(InputError, match="expected at most 4 MiB, got 50000000 bytes"):
        load_recipe(big)
    assert time.process_time() - started < 5


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="at most 4 MiB, got no end"):
        read_yaml(Path("/dev/zero"))


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_link_that_cannot_be_followed_hides_no_other_recipe(tmp_path: Path) -> None:
    (good := tmp_path / "a.yaml").touch()
    (link := tmp_path / "b.yaml").symlink_to("x" * 300)  # as one that this user may not follow
    assert recipes_in(tmp_path) == [good, link]
    with pytest.raises(InputError, match=f"{link}: cannot be read: File name too long"):
        load_recipe(link)


# --- YAML: values ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("2026-01-02", "2026-01-02"),
        ("1:30", "1:30"),
        ("1.34.12", "1.34.12"),
        ("0755", 755),
        ("0o17", 15),
        ("0x1f", 31),
        ("-3", -3),
        ("1.30", 1.3),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        (".5", 0.5),
        ("1_000", "1_000"),
        (".inf", ".inf"),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = resolve_plain(text)
    assert found == value
    assert type(found) is type(value)


def test_a_number_beyond_measure_is_refused() -> None:
    assert wrong("leaf: {name: a, count: " + "9" * 5000 + "}")[0].endswith("is too large")
    assert wrong("leaf: {name: a, count: 1e999}")[0].endswith("is too large")


# --- models ---


def test_all_mistakes_of_a_file_are_reported_at_once_in_order() -> None:
    found = wrong("leaf:\n  count: many\n  on: yes\n  nam: a\nleaves: {}\nword: {}\n")
    assert found == [
        "a.yaml:2:3: leaf: the key 'name' is missing",
        "a.yaml:2:10: leaf.count: expected a whole number, found 'many'",
        "a.yaml:3:7: leaf.on: expected true or false, found 'yes'",
        "a.yaml:4:3: leaf: unknown key 'nam'",
        "a.yaml:5:9: leaves: expected a list, found keys and values",
        "a.yaml:6:1: unknown key 'word'",
    ]


def test_an_unknown_key_comes_with_the_nearest_known_one() -> None:
    assert hints("leaf: {name: a}\nleafs: []\n") == ["did you mean 'leaf'?"]
    assert hints("leaf: {name: a}\nzebra: 1\n") == ["known here: leaf, leaves, words"]


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("1.30", "1.30 is read as a number, expected text"),
        ("007", "007 is read as a number, expected text"),
        ("true", "true is read as true or false, expected text"),
    ],
)
def test_a_value_that_should_have_quotes_says_so(value: str, fact: str) -> None:
    text = f"leaf: {{name: {value}}}\n"
    assert wrong(text) == [f"a.yaml:1:14: leaf.name: {fact}"]
    assert hints(text) == [f'write "{value}"']


def test_nothing_where_text_belongs_is_called_nothing() -> None:
    assert wrong("leaf:\n  name:\n")[0].endswith("leaf.name: expected text, found nothing")


def test_an_entry_of_a_list_is_called_by_its_name() -> None:
    found = wrong("leaf: {name: a}\nleaves:\n  - {name: b}\n  - {name: c, count: x}\n")
    assert found == ["a.yaml:4:22: leaves[c].count: expected a whole number, found 'x'"]


def test_the_message_of_several_mistakes_has_a_line_for_each_and_its_hint() -> None:
    with pytest.raises(InputErrors) as caught:
        build(yaml_map(b"leaf: {name: 1.5}\nleafs: 1\n", "a.yaml"), Tree)
    assert str(caught.value).splitlines() == [
        "a.yaml:1:14: leaf.name: 1.5 is read as a number, expected text",
        'hint: write "1.5"',
        "a.yaml:2:1: unknown key 'leafs'",
        "hint: did you mean 'leaf'?",
    ]
    assert caught.value.hint is None


def test_a_file_full_of_mistakes_does_not_flood_the_terminal() -> None:
    text = "leaf: {name: a}\n" + "".join(f"k{n}: 1\n" for n in range(5000))
    with pytest.raises(InputErrors) as caught:
        build(yaml_map(text.encode(), "a.yaml"), Tree)
    assert len(caught.value.mistakes) == 5000
    assert str(caught.value).splitlines()[-1] == "and 4950 more"


# --- JSON ---


def json_wrong(text: str) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        parse_json(text.encode("utf-8", "surrogatepass"), "a.json", Tree)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_json_mistakes_have_line_and_column() -> None:
    text = '{\n  "leaf": {\n    "name": 3,\n    "extra": "ü"\n  },\n'
    text += '  "leaves": [{"name": "한"}, {}]\n}'
    assert json_wrong(text) == [
        "a.json:3:13: leaf.name: 3 is read as a number, expected text",
        "a.json:4:5: leaf: unknown key 'extra'",
        "a.json:6:29: leaves[1]: the key 'name' is missing",
    ]


def test_a_key_that_is_twice_in_json_is_reported_with_both_places() -> None:
    text = '{"leaf": {"name": "a",\n "name": "b"}, "leaf": {}}'
    assert json_wrong(text) == [
        "a.json:2:2: leaf: the key 'name' is there twice, first in line 1",
        "a.json:2:16: the key 'leaf' is there twice, first in line 1",
    ]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(word: str) -> None:
    assert "is not a number" in json_wrong(f'{{"leaf": {{"name": "a", "count": {word}}}}}')[0]


def test_json_nested_without_end_is_refused() -> None:
    assert "nested more than 50 levels deep" in json_wrong('{"leaf": ' + "[" * 40_000)[0]


def test_half_a_surrogate_pair_is_refused() -> None:
    assert "surrogate" in json_wrong('{"leaf": {"name": "\\ud800"}}')[0]
    ok = parse_json(b'{"leaf": {"name": "\\ud83d\\ude00"}}', "a.json", Tree)
    assert ok.leaf.name == "\U0001f600"


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{'a': 1}", "# hi\n{}", "{} {}"])
def test_what_is_not_json_has_a_place(text: str) -> None:
    assert json_wrong(text)[0].startswith("a.json:")
    assert "not JSON" in json_wrong(text)[0]


def test_json_that_is_a_list_is_refused() -> None:
    assert json_wrong("[]") == ["a.json:1:1: expected keys and values, found a list"]


# --- locks ---


def test_a_lock_edited_by_hand_is_refused_with_its_place(tmp_path: Path) -> None:
    text = LOCK.read_text()
    edited = tmp_path / "edited.lock.json"
    digest = json.loads(text)["images"][2]["digest"]
    edited.write_text(text.replace(f'"digest": "{digest}"', f'"digest": "{digest[:-1]}"'))
    with pytest.raises(InputErrors) as caught:
        load_lock(edited)
    line = next(
        n for n, row in enumerate(edited.read_text().splitlines(), 1) if digest[:-1] + '"' in row
    )
    assert f"{edited}:{line}:17: images[2].digest: expected sha256: and 64" in str(caught.value)


def test_a_lock_whose_archive_is_not_that_of_its_digest_is_refused() -> None:
    data = json.loads(LOCK.read_text())
    data["images"][0]["digest"] = data["images"][1]["digest"]
    with pytest.raises(InputErrors, match=r"images\[0\]: the archive of \S+ must be docker/"):
        parse_json(json.dumps(data).encode(), "x.lock.json", Lock)


def test_a_lock_with_two_entries_for_one_path_or_name_is_refused() -> None:
    data = json.loads(LOCK.read_text())
    data["files"][0]["path"] = data["files"][1]["path"].upper()
    with pytest.raises(InputErrors, match="two entries for the path"):
        parse_json(json.dumps(data).encode(), "x.lock.json", Lock)
    data = json.loads(LOCK.read_text())
    data["files"][0]["name"] = data["manifests"][0]["name"]
    with pytest.raises(InputErrors, match="two entries for network"):
        parse_json(json.dumps(data).encode(), "x.lock.json", Lock)


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("url", "http://dl.k8s.io/release/v1.34.12/x", "expected an https address"),
        ("url", "https://user:pass@dl.k8s.io/release/x", "credentials in the address of dl.k8s.io"),
        ("path", "../../etc/passwd", "leaves the ISO"),
        ("path", "/etc/passwd", "relative to the root"),
        ("path", ".hidden", "begins with a dot"),
        ("path", "k8s./a", "the part 'k8s.' of 'k8s./a' is empty, begins .*ends with a dot"),
        ("sha256", "SHA256:" + "0" * 64, "expected sha256:"),
        ("size", -1, r"files\[kubeadm\.sig\]\.size: "),
        ("size", "many", "expected a whole number"),
        ("mode", "755", "expected a file mode"),
        ("remove", True, "unknown key 'remove'"),
    ],
)
def test_what_a_lock_may_not_say(key: str, value: object, fact: str) -> None:
    data = json.loads(LOCK.read_text())
    data["files"][3][key] = value
    with pytest.raises(InputErrors, match=fact) as caught:
        parse_json(json.dumps(data, indent=2).encode(), "x.lock.json", Lock)
    assert "pass@" not in str(caught.value)


def test_a_lock_in_another_wrapping_is_the_same_lock() -> None:
    lock = load_lock(LOCK)
    assert parse_json(json.dumps(json.loads(LOCK.read_text())).encode(), "x", Lock) == lock
    assert lock.to_bytes() == LOCK.read_bytes()


class Grown(Model):
    """A document of which the first formats are read no more."""

    format: Annotated[Literal[3, 4], Field(alias="schema")]
    name: str


@pytest.mark.parametrize(("schema", "newer"), [(5, True), (12, True), (2, False), (0, False)])
def test_which_formats_are_newer_follows_from_those_that_are_read(schema: int, newer: bool) -> None:
    with pytest.raises(InputErrors) as caught:
        parse_json(b'{"schema": %d, "name": 1}' % schema, "x", Grown)
    hints = [one.hint for one in caught.value.mistakes]
    assert (hints == ["a newer isobuilder wrote it: use that one"]) == newer
    assert newer or len(hints) == 2


@pytest.mark.parametrize("kind", ["recipe", "lock"])
def test_what_a_newer_isobuilder_wrote_is_told_as_that_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    text = '{"schema": 2, "what": {"is": "new"}, "kubernetes": [1]}'
    path.write_text(text)
    with pytest.raises(InputErrors) as caught:
        load_recipe(path) if kind == "recipe" else load_lock(path)
    told = ["schema: expected 1, found 2"]
    assert [f"{one.path}: {one.fact}" for one in caught.value.mistakes] == told
    assert caught.value.mistakes[0].hint == "a newer isobuilder wrote it: use that one"
    path.write_text(text.replace("2", "0"))
    with pytest.raises(InputErrors) as caught:
        load_recipe(path) if kind == "recipe" else load_lock(path)
    assert len(caught.value.mistakes) > 3
