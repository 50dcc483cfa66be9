"""Manifests are read as kubectl reads them, and within bounds."""

from __future__ import annotations

import time
from unittest.mock import ANY

import pytest

from isobuilder.errors import InputError
from isobuilder.formats.manifests import (
    MAX_MANIFEST,
    Object,
    at,
    items,
    of_kind,
    read_manifest,
)

POD = b"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, image: nginx:1}\n"


def objects_of(data: bytes, place: str = "x.yaml") -> tuple[Object, ...]:
    return read_manifest(data, place).objects


def test_documents_come_in_order_and_empty_ones_are_left_out() -> None:
    found = objects_of(b"---\n" + POD + b"---\n---\n# nothing\n---\n" + POD, "x.yaml")
    assert [document["kind"] for document in found] == ["Pod", "Pod"]


def test_a_list_is_taken_apart() -> None:
    found = objects_of(
        b'{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod"}]}', "x"
    )
    assert found == ({"apiVersion": "v1", "kind": "Pod"},)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html>", "expected a Kubernetes object, got '<!DOCTYPE html>'"),
        (b"a: [1\nb: }", "not YAML"),
        (b"kind: Pod", "has no apiVersion"),
        (b"apiVersion: v1\nkind: 7", "has no kind"),
        (b"apiVersion: v1\nkind: List\nitems: [1]", "expected a Kubernetes object, got 1"),
        (b"\xff\xfe\x00", "not UTF-16 text, as which it begins"),
        (b"? [a]\n: b", "a key that is no text"),
        (b"~: b", "a key that is no text"),
        (b"a: {<<: b}", "<< wants a mapping"),
        (b"[" * 100_000, "nested more than 200 levels"),
        (b"- " * 5000, "nested more than 200 levels"),
        (b" " * (MAX_MANIFEST + 1), f"expected at most {MAX_MANIFEST}"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as refused:
        objects_of(data, "network.yaml")
    assert str(refused.value).startswith("network.yaml:")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!bool foo",
        "!!int ''",
        "!!int 1.5",
        "!!float foo",
        "!!null x",
        "!!timestamp foo",
        "!!binary é",
    ],
)
def test_what_is_not_what_its_tag_says_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="is not what its tag says") as refused:
        objects_of(f"apiVersion: v1\nkind: X\nvalue: {value}\n".encode(), "network.yaml")
    assert str(refused.value).startswith("network.yaml:3:8: ")


@pytest.mark.parametrize("end", ["é", "= ="])
def test_blanks_of_what_is_tagged_as_binary_cost_no_time(end: str) -> None:
    began = time.process_time()
    with pytest.raises(InputError, match="is not what its tag says"):
        objects_of(f"apiVersion: v1\nkind: X\nvalue: !!binary 'a{' ' * 200_000}{end}'\n".encode())
    assert time.process_time() - began < 5


VALUES = [
    ("=", "="),
    ("'!='", "!="),
    ("!vault x", "x"),
    ("!!python/object:os.system x", "x"),
    ("!!binary aGk=", "hi"),
    ("!!str 3", "3"),
    ('!!int "3"', 3),
    ("2024-01-02", "2024-01-02"),
    ("2024-99-99", "2024-99-99"),
    ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
    ("yes", True),
    ("Off", False),
    ("'yes'", "yes"),
    ("0x1F", 31),
    ("0b11", 3),
    ("017", 15),
    ("0o17", 15),
    ("08", 8.0),
    ("1_000", 1000),
    ("1:30", "1:30"),
    ("1e3", 1000.0),
    ("-.5", -0.5),
    ("~", None),
    ("'~'", "~"),
    ("", None),
    ("1.2.3", "1.2.3"),
    ("_1", "_1"),
    ("<<", "<<"),
    ("9223372036854775807", 9223372036854775807),
    ("9223372036854775808", 9223372036854775808.0),
    ("18446744073709551616", 18446744073709551616.0),
    ("0x7fffffffffffffffff", "0x7fffffffffffffffff"),
    ("1e400", "1e400"),
    ("!!binary /w==", "\ufffd"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values_are_those_of_kubectl(text: str, value: object) -> None:
    data = f"apiVersion: v1\nkind: X\nvalue: {text}\nlist:\n- {text}\n".encode()
    (found,) = objects_of(data)
    assert (found["value"], found["list"]) == (value, [value])
    assert type(found["value"]) is type(value)


def test_keys_become_texts() -> None:
    (found,) = objects_of(b"apiVersion: v1\nkind: X\ndata: {1: a, yes: b, 0x10: c, 1.5: d}\n")
    assert found["data"] == {"1": "a", "true": "b", "16": "c", "1.5": "d"}


def test_the_last_of_two_equal_keys_counts_and_both_are_told() -> None:
    spec = "spec:\n  containers: [{image: a:1}]\n  containers: []\n"
    text = f"apiVersion: v1\nkind: X\n{spec}kind: Z\n"
    manifest = read_manifest(text.encode(), "x.yaml")
    assert manifest.objects == ({"apiVersion": "v1", "kind": "Z", "spec": {"containers": []}},)
    assert manifest.images == ()
    fact = "the key {!r} is there twice in one mapping; the last one counts"
    assert sorted(map(str, manifest.oddities)) == [
        f"x.yaml:5:3: {fact.format('containers')}",
        f"x.yaml:6:1: {fact.format('kind')}",
    ]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("{<<: *b}", {"image": "base", "imagePullPolicy": "Always"}),
        ("{<<: *b, image: own}", {"image": "own", "imagePullPolicy": "Always"}),
        ("{image: own, <<: *b}", {"image": "base", "imagePullPolicy": "Always"}),
        ("{<<: [{image: first}, *b]}", {"image": "first", "imagePullPolicy": "Always"}),
        ('{"<<": *b, image: own}', {"<<": ANY, "image": "own"}),
    ],
)
def test_merged_mappings_are_those_of_kubectl(container: str, expected: object) -> None:
    base = "base: &b {image: base, imagePullPolicy: Always}"
    data = f"apiVersion: v1\nkind: X\n{base}\ncontainers: [{container}]\n".encode()
    manifest = read_manifest(data, "x.yaml")
    assert manifest.objects[0]["containers"] == [expected]
    (use,) = manifest.images
    assert use.image == manifest.objects[0]["containers"][0]["image"]


def test_a_typed_list_gives_its_kind_to_its_items() -> None:
    found = objects_of(b"apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}}]\n")
    assert found == ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},)


@pytest.mark.parametrize("items", ["", " []", " ~"])
def test_a_list_of_nothing_has_no_objects(items: str) -> None:
    assert objects_of(f"apiVersion: v1\nkind: List\nitems:{items}\n".encode()) == ()


JSON_POD = b'{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"q/n:1"}]}}'


@pytest.mark.parametrize(
    ("data", "images"),
    [
        (JSON_POD + JSON_POD, 2),
        (JSON_POD + b"\n" + JSON_POD + b"\n" + JSON_POD + b"\n", 3),
        (b"\t" + JSON_POD + b"\r\n---\r\n" + JSON_POD, 2),
        (JSON_POD + b"---\n" + POD, 2),
        (JSON_POD + b"\n" + POD, 2),
        (b"\xef\xbb\xbf" + JSON_POD + b"\n# the end\n", 1),
        (POD + b"---\n" + JSON_POD, 2),
        (b"{apiVersion: v1, kind: Pod, containers: [{image: a}]}\n---\n" + JSON_POD, 2),
        (b"null\n---\n" + JSON_POD, 1),
        (JSON_POD + b",", None),
        (JSON_POD + JSON_POD + b"\n# the end\n", None),
        (POD + b"---\n" + JSON_POD + JSON_POD, None),  # kubectl reads the first and nothing more
    ],
)
def test_json_values_one_after_another_are_documents(data: bytes, images: int | None) -> None:
    if images is None:
        with pytest.raises(InputError, match=r"not YAML|nothing but JSON"):
            objects_of(data)
        return
    manifest = read_manifest(data, "x")
    assert len(manifest.objects) == len(manifest.images) == images


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\/b"', "a/b"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\ud83d"', "\ufffd"),
        (r'"\ud83dx"', "\ufffdx"),
        (r'"\\ud83d \" \t\u0000"', '\\ud83d " \t\0'),
        ('"\x7f\x85\u2028"', "\x7f\x85\u2028"),
        ('"yes"', "yes"),
        ("[1, -0.5, 1e3, true, null, []]", [1, -0.5, 1000.0, True, None, []]),
        ('{"' + "k" * 2000 + '"\n:\n1}', {"k" * 2000: 1}),
    ],
)
def test_values_of_json_are_those_of_go(text: str, value: object) -> None:
    data = f'{{"apiVersion":"v1","kind":"X","value":{text}}}'.encode()
    assert objects_of(data)[0]["value"] == value


@pytest.mark.parametrize("text", ["[1,]", "[1 2]", "[}", '{"a"}', '{"a":}', "{1:2}", "[", '"\n"'])
def test_what_go_does_not_take_for_json_is_read_as_yaml_or_refused(text: str) -> None:
    data = f'{{"apiVersion":"v1","kind":"X","value":{text}}}'.encode()
    yaml_has_it = {"[1,]": [1], "[1 2]": ["1 2"], '{"a"}': {"a": None}, '{"a":}': {"a": None}}
    yaml_has_it |= {"{1:2}": {"1:2": None}, '"\n"': " "}
    if text not in yaml_has_it:
        with pytest.raises(InputError, match="not YAML"):
            objects_of(data)
    else:
        assert objects_of(data)[0]["value"] == yaml_has_it[text]


@pytest.mark.parametrize(
    ("before", "fact"),
    [
        ("--- {a: b}\n", "x.yaml:1:4: kubectl takes nothing but a comment after ---"),
        ("---\n--- |\n", "x.yaml:2:4: kubectl takes nothing but a comment after ---"),
        ("a: b\n---c: d\n", "x.yaml:2:4: kubectl takes nothing but a comment after ---"),
        ("%YAML 1.1\n---\n", "x.yaml:1:1: kubectl takes no directives"),
        ("# c\n\n%TAG ! x\n---\n", "x.yaml:3:1: kubectl takes no directives"),
        ("--- # c\n%YAML 1.2\n---\n", "x.yaml:2:1: kubectl takes no directives"),
    ],
)
def test_what_yaml_allows_and_kubectl_does_not_is_refused(before: str, fact: str) -> None:
    with pytest.raises(InputError) as refused:
        objects_of(before.encode() + POD)
    assert fact in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_of_windows_is_read_by_its_byte_order_mark(encoding: str) -> None:
    text = f"\ufeff{POD.decode()}---\n{POD.decode()}".replace("\n", "\r\n").replace(
        "name: a", "name: 가"
    )
    manifest = read_manifest(text.encode(encoding), "x")
    assert [use.image for use in manifest.images] == ["nginx:1"] * 2
    assert manifest.objects[1]["spec"]["containers"][0]["name"] == "가"
    assert manifest.oddities == ()


def test_bytes_that_are_no_text_become_what_kubectl_makes_of_them_and_are_told() -> None:
    manifest = read_manifest(b"# it\x92s\n" + POD.replace(b"name: a", b"name: \xc3("), "x")
    assert manifest.objects[0]["spec"]["containers"][0]["name"] == "\ufffd("
    fact = "x:1:5: not UTF-8 text: byte 0x92, which kubectl reads as U+FFFD"
    assert [str(odd) for odd in manifest.oddities] == [fact]


def test_a_byte_order_mark_within_a_text_belongs_to_it() -> None:
    (found,) = objects_of("\ufeffapiVersion: v1\nkind: X\nvalue: 'a\ufeffb'\n".encode())
    assert found["value"] == "a\ufeffb"


def test_files_that_were_put_together_keep_their_byte_order_marks_in_the_way_of_nobody() -> None:
    mark = "\ufeff".encode()
    assert len(objects_of(mark + POD + b"---\n" + mark + POD)) == 2


def test_json_with_characters_beyond_the_first_plane_is_read() -> None:
    data = rb'{"apiVersion":"v1","kind":"X","a":"\ud83d\ude00","b":"\\ud83d"}'
    (found,) = objects_of(data)
    assert (found["a"], found["b"]) == ("\U0001f600", r"\ud83d")


def test_images_are_in_every_field_of_a_pod_that_names_one() -> None:
    data = (
        POD + b"---\napiVersion: x/v1\nkind: Crd\nspec: {image: {type: string}, containers: x}\n"
        b"---\napiVersion: x/v1\nkind: Own\nspec: {deep: [{initContainers: [{image: q.io/b:1}]}]}\n"
        b"---\napiVersion: v1\nkind: Pod\nspec:\n  ephemeralContainers: [{image: e:1}]\n"
        b"  volumes:\n"
        b"  - {name: v, image: {reference: 'v:1', pullPolicy: Never}}\n  - {name: w, image: v:2}\n"
        b"  - {name: x, image: {reference: ~}}\n"
        b"---\napiVersion: x/v1\nkind: V\ncontainers: [{image: {repository: r, tag: t}}, x, 7]\n"
    )
    found = [(use.path, use.image, use.pull_policy) for use in read_manifest(data, "x").images]
    assert found == [
        ("spec.containers[0].image", "nginx:1", None),
        ("spec.deep[0].initContainers[0].image", "q.io/b:1", None),
        ("spec.ephemeralContainers[0].image", "e:1", None),
        ("spec.volumes[0].image.reference", "v:1", "Never"),
    ]


def test_at_and_items_end_where_the_way_ends() -> None:
    (pod,) = objects_of(POD, "x.yaml")
    assert at(pod, "spec", "containers", "name") is None
    assert at(pod, "kind", "x") is None
    assert len(items(pod, "spec", "containers")) == 1
    assert items(pod, "kind") == []
    assert of_kind([pod], "Deployment", "Pod") == [pod]
