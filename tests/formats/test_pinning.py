"""Pinning changes images and pull policies, and nothing else, however a manifest is written."""

from __future__ import annotations

import copy
import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from isobuilder.documents.mistakes import InputErrors
from isobuilder.formats.manifests import ImageUse, read_manifest
from isobuilder.formats.pinning import pin as pin_manifest
from isobuilder.formats.reference import spelled_out

D = "a" * 64
PINNED = {"quay.io/a/b:v1": f"quay.io/a/b@sha256:{D}", "c/d:2": f"docker.io/c/d@sha256:{D}"}
NAMES = {spelled_out(name): pinned for name, pinned in PINNED.items()}
AB, CD = PINNED["quay.io/a/b:v1"], PINNED["c/d:2"]


def pin_images(data: bytes, names: dict[str, str], place: str) -> bytes:
    return pin_manifest(read_manifest(data, place), names)


def images_of(data: bytes, place: str) -> tuple[ImageUse, ...]:
    return read_manifest(data, place).images


def pin(text: str) -> str:
    return pin_images(text.encode(), NAMES, "m.yaml").decode()


MANIFEST = """\
# image: quay.io/comment/only:1
apiVersion: v1
kind: ConfigMap
metadata: {name: 설정}
data:
  pod.yaml: |
    containers:
      - image: quay.io/text/only:1
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  annotations:
    설명: "컨테이너 이미지"
spec:
  template:
    spec:
      initContainers:
        - name: one
          image: quay.io/a/b:v1  # 주석
          command: [sh]
      containers:
      - image: "c/d:2"
        imagePullPolicy: Always   # why not
        name: two
---
---
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate: {spec: {template: {spec: {containers: [{name: x, image: 'c/d:2'}]}}}}
---
{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","spec":{"containers":[{"image":"c/d:2"}]}}]}
---
kind: CustomResourceDefinition
spec:
  properties:
    containers:
      items: {properties: {image: {type: string}}}
    image: nothing
"""


def test_images_of_containers_are_found_wherever_they_are() -> None:
    found = [
        (use.document, use.mark.line, use.path, use.image, use.pull_policy)
        for use in images_of(MANIFEST.encode(), "m.yaml")
    ]
    spec = "spec.template.spec"
    assert found == [
        (2, 20, f"{spec}.initContainers[0].image", "quay.io/a/b:v1", None),
        (2, 23, f"{spec}.containers[0].image", "c/d:2", "Always"),
        (3, 31, f"spec.jobTemplate.{spec}.containers[0].image", "c/d:2", None),
        (4, 33, "items[0].spec.containers[0].image", "c/d:2", None),
    ]


def test_pinning_changes_images_and_pull_policies_and_nothing_else() -> None:
    expected = (
        MANIFEST.replace(
            "          image: quay.io/a/b:v1  # 주석\n",
            f"          image: {AB}  # 주석\n          imagePullPolicy: IfNotPresent\n",
        )
        .replace('- image: "c/d:2"', f'- image: "{CD}"')
        .replace("imagePullPolicy: Always ", "imagePullPolicy: IfNotPresent ")
        .replace("image: 'c/d:2'}", f"image: '{CD}', imagePullPolicy: IfNotPresent}}")
        .replace('"image":"c/d:2"}', f'"image":"{CD}", "imagePullPolicy": "IfNotPresent"}}')
    )
    assert pin(MANIFEST) == expected


def test_pinning_twice_is_pinning_once() -> None:
    once = pin_images(MANIFEST.encode(), NAMES, "m.yaml")
    assert pin_images(once, {AB: AB, CD: CD}, "m.yaml") == once


def test_windows_line_ends_stay() -> None:
    text = "spec:\r\n  containers:\r\n  - name: 가\r\n    image: c/d:2\r\n    tty: true\r\n"
    changed = f"image: {CD}\r\n    imagePullPolicy: IfNotPresent\r\n"
    assert pin(text) == text.replace("image: c/d:2\r\n", changed)


def test_a_missing_last_newline_stays_missing() -> None:
    assert pin("containers:\n- image: c/d:2") == (
        f"containers:\n- image: {CD}\n  imagePullPolicy: IfNotPresent"
    )


def test_a_byte_order_mark_stays() -> None:
    data = b"\xef\xbb\xbfcontainers:\n- image: c/d:2\n"
    pinned = pin_images(data, NAMES, "m.yaml")
    assert pinned.startswith(b"\xef\xbb\xbfcontainers:")
    assert pinned.count(b"\xef\xbb\xbf") == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_of_windows_stays_one(encoding: str) -> None:
    text = "\ufeffcontainers:\r\n- image: c/d:2\r\n  name: 가\U0001f600\r\n"
    pinned = pin_images(text.encode(encoding), NAMES, "m.yaml").decode(encoding)
    changed = f"image: {CD}\r\n  imagePullPolicy: IfNotPresent\r\n"
    assert pinned == text.replace("image: c/d:2\r\n", changed)


def test_bytes_that_are_no_text_stay() -> None:
    data = b"# it\x92s\ncontainers:\n- image: c/d:2\n  name: \xc3(\n"
    pinned = pin_images(data, NAMES, "m.yaml")
    changed = f"image: {CD}\n  imagePullPolicy: IfNotPresent\n".encode()
    assert pinned == data.replace(b"image: c/d:2\n", changed)


def test_json_values_one_after_another_are_pinned() -> None:
    one = '{"containers":[{"image":"c/d:2","name":"\\ud83d\\ude00 \\/"}]}'
    pinned = one.replace('"c/d:2"', f'"{CD}", "imagePullPolicy": "IfNotPresent"')
    null = '{"containers":[{"image":"c/d:2","imagePullPolicy":null}]}'
    assert (
        pin(f"{null}{null}")
        == null.replace('"c/d:2"', f'"{CD}"').replace("null", '"IfNotPresent"') * 2
    )
    plain = "containers: [{image: c/d:2}]"
    assert pin(f"{one}\n---\n{plain}\n") == f"{pinned}\n---\n{pin(plain)}\n"
    assert pin(f"{one}{one}{one}") == pinned * 3


def test_an_empty_pull_policy_is_filled_in() -> None:
    assert pin("containers:\n- image: c/d:2\n  imagePullPolicy:\n  name: x\n") == (
        f"containers:\n- image: {CD}\n  imagePullPolicy: IfNotPresent\n  name: x\n"
    )


def test_an_image_on_the_line_below_its_key_is_pinned() -> None:
    assert pin("containers:\n- image:\n    c/d:2\n  name: x\n") == (
        f"containers:\n- image:\n    {CD}\n  imagePullPolicy: IfNotPresent\n  name: x\n"
    )


def test_a_container_without_image_stays() -> None:
    text = "containers:\n- name: x\n- name: y\n  image: c/d:2\n"
    assert pin(text).startswith("containers:\n- name: x\n- name: y\n")


def test_every_image_that_is_not_locked_is_named_with_its_line() -> None:
    text = "containers:\n- image: other:1\n- image: c/d:2\n- {image: more:2}\n"
    with pytest.raises(InputErrors) as caught:
        pin(text)
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "m.yaml:2:10: containers[0].image: no locked image for 'other:1'",
        "m.yaml:4:11: containers[2].image: no locked image for 'more:2'",
    ]


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("- image: |-\n    c/d:2\n", "- image: CD\n  POLICY\n"),
        ("- image: >-  # long\n    c/d:2\n\n  name: x\n", "- image: CD\n  POLICY\n\n  name: x\n"),
        (
            "- image: >-\r\n    c/d:2\r\n  tty: true\r\n",
            "- image: CD\r\n  POLICY\r\n  tty: true\r\n",
        ),
        ('- image: "c/\\\n    d:2"\n', '- image: "CD"\n  POLICY\n'),
        ("- image:  # why\n    c/d:2\n", "- image:  # why\n    CD\n  POLICY\n"),
        ("- image: &i c/d:2\n", "- image: &i CD\n  POLICY\n"),
        ("- image: !!str c/d:2\n", "- image: !!str CD\n  POLICY\n"),
        ("- image: !own c/d:2\n", "- image: !own CD\n  POLICY\n"),
        ("- ? image\n  : c/d:2\n", "- ? image\n  : CD\n  POLICY\n"),
        ("- &c\n  image: c/d:2\n- *c\n", "- &c\n  image: CD\n  POLICY\n- *c\n"),
        ("- image: c/d:2\n  imagePullPolicy: |-\n    x\n", "- image: CD\n  POLICY\n"),
        ("- image: c/d:2\n  imagePullPolicy: &p\n", "- image: CD\n  POLICY\n"),
        (" [image: c/d:2]\n", " [{image: CD, POLICY}]\n"),
        (" [ image: 'c/d:2' , tty ]\n", " [ {image: 'CD', POLICY} , tty ]\n"),
        (" [{name: a, imagePullPolicy, image: c/d:2}]", " [{name: a, POLICY, image: CD}]"),
        (" [{imagePullPolicy: , image: c/d:2}]", " [{POLICY , image: CD}]"),
        (
            ' [{image: c/d:2, "imagePullPolicy":}]',
            ' [{image: CD, "imagePullPolicy": IfNotPresent}]',
        ),
    ],
)
def test_every_way_to_write_an_image_is_pinned(text: str, pinned: str) -> None:
    expected = pinned.replace("CD", CD).replace("POLICY", "imagePullPolicy: IfNotPresent")
    assert pin(f"containers:\n{text}") == f"containers:\n{expected}"


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        (
            "x: &i c/d:2\ncontainers:\n- image: *i\n",
            "x: &i c/d:2\ncontainers:\n- image: CD\n  POLICY\n",
        ),
        (
            "a: {containers: &c [{image: c/d:2}]}\nb: {initContainers: *c}\n",
            "a: {containers: &c [{image: CD, POLICY}]}\nb: {initContainers: *c}\n",
        ),
        (
            "x: &b {image: c/d:2}\ncontainers:\n- <<: *b\n  name: y\n",
            "x: &b {image: c/d:2}\ncontainers:\n- <<: *b\n  image: CD\n  POLICY\n  name: y\n",
        ),
        (
            "x: &b {image: c/d:2}\ncontainers: [{<<: *b, name: y}]\n",
            "x: &b {image: c/d:2}\ncontainers: [{<<: *b, image: CD, POLICY, name: y}]\n",
        ),
        (
            "x: &b {imagePullPolicy: Always}\ncontainers:\n- image: c/d:2\n  <<: *b\n  tty: true\n",
            "x: &b {imagePullPolicy: Always}\ncontainers:\n- image: CD\n  <<: *b\n"
            "  POLICY\n  tty: true\n",
        ),
        (
            "containers:\n- imagePullPolicy: &p Always\n  image: c/d:2\n"
            "- {imagePullPolicy: *p, image: c/d:2}\n",
            "containers:\n- imagePullPolicy: &p IfNotPresent\n  image: CD\n- {POLICY, image: CD}\n",
        ),
    ],
)
def test_anchors_aliases_and_merged_parts_are_pinned_where_they_are_used(
    text: str, pinned: str
) -> None:
    expected = pinned.replace("CD", CD).replace("POLICY", "imagePullPolicy: IfNotPresent")
    assert pin(text) == expected


def test_an_image_volume_is_pinned_by_its_own_fields() -> None:
    text = (
        "volumes:\n- name: m\n  image: {reference: 'c/d:2', pullPolicy: Always}\n"
        "- image:\n    reference: quay.io/a/b:v1\n  name: n\n- {name: o, emptyDir: {}}\n"
    )
    assert pin(text) == (
        f"volumes:\n- name: m\n  image: {{reference: '{CD}', pullPolicy: IfNotPresent}}\n"
        f"- image:\n    reference: {AB}\n    pullPolicy: IfNotPresent\n  name: n\n"
        "- {name: o, emptyDir: {}}\n"
    )


@pytest.mark.parametrize("text", ["c/d:2", "docker.io/c/d:2", "index.docker.io/c/d:2"])
def test_an_image_is_found_by_every_spelling_of_its_name(text: str) -> None:
    assert pin(f"containers:\n- image: {text}\n").startswith(f"containers:\n- image: {CD}\n")


def test_texts_that_are_to_be_ignored_stay_with_their_policy() -> None:
    text = "containers:\n- {image: auto, imagePullPolicy: Always}\n- {image: '', name: x}\n"
    manifest = read_manifest(text.encode(), "m.yaml")
    assert pin_manifest(manifest, NAMES, ignored=["auto", ""]).decode() == text


@pytest.mark.parametrize("null", ["", " ~", " null", " Null", " NULL", " !!null ''", " &x"])
def test_null_is_no_image_and_stays(null: str) -> None:
    text = f"containers:\n- image:{null}\n  name: x\n"
    assert pin(text) == text


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("containers:\n- image: c/d:2\n  image: c/d:2\n", "m.yaml:3:10: containers[0].image: "),
        (
            "containers:\n- imagePullPolicy: Always\n  image: c/d:2\n  imagePullPolicy: Never\n",
            "the key 'imagePullPolicy' is there twice",
        ),
        ("x: &b {image: c/d:2}\ncontainers:\n- image: c/d:2\n  <<: *b\n", "and << after it counts"),
        ("containers:\n- &c\n  image: c/d:2\nx: *c\n", "m.yaml:4:4: x: pinning would change this"),
        (
            "containers:\n- image: &i c/d:2\nx: [*i]\n",
            "m.yaml:3:5: x[0]: pinning would change this",
        ),
        ("containers:\n- image: c/d:2\n  ? imagePullPolicy\n", "in a way that cannot be pinned"),
        ("containers:\n- image: !!binary Yy9kOjI=\n", "is written as !!binary"),
        ("containers:\n- {image: c/d:2, imagePullPolicy: !!binary eA==}\n", "as !!binary"),
    ],
)
def test_what_cannot_be_changed_alone_is_refused_with_its_line_and_a_way_out(
    text: str, fact: str
) -> None:
    with pytest.raises(InputErrors) as caught:
        pin(text)
    assert fact in str(caught.value)
    assert caught.value.hint


def test_an_anchor_elsewhere_does_not_hinder() -> None:
    text = "labels: &l {a: b}\nselector: *l\ncontainers:\n- image: c/d:2\n"
    assert "selector: *l\n" in pin(text)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a: &a [*a]\n", "is part of what it stands for"),
        ("a: *b\n", "has no anchor before it"),
        ("a:\n\tb: 1\n", "m.yaml:2:1: a tab"),
        ("[" * 300, "nested more than 200 levels deep"),
    ],
)
def test_a_crafted_manifest_is_refused(text: str, fact: str) -> None:
    with pytest.raises(InputErrors, match=fact.replace("[", r"\[")):
        images_of(text.encode(), "m.yaml")


BOMB = ["a0: &a0 [{containers: [{image: c/d:2}]}]"]
BOMB += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 60)]
MERGED = [f"a0: &a0 {{{', '.join(f'k{n}: 1' for n in range(2000))}}}"]
MERGED += [f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 2000)]


@pytest.mark.parametrize("lines", [BOMB, MERGED])
def test_a_bomb_is_refused_in_bounded_time(lines: list[str]) -> None:
    started = time.process_time()
    with pytest.raises(InputErrors, match=r"aliases that make it larger|nested more than 200"):
        images_of("\n".join(lines).encode(), "m.yaml")
    assert time.process_time() - started < 10


def test_a_manifest_that_is_too_large_is_refused() -> None:
    with pytest.raises(InputErrors, match="expected at most 16777216 bytes, got 16777217"):
        images_of(b" " * (16 * 1024 * 1024 + 1), "m.yaml")


# --- what holds for every manifest ---

_WORDS = st.text(alphabet="abz한글é#:'\"{}[],&*!|>%@` -\\", max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=8,
)
_CONTAINERS = st.fixed_dictionaries(
    {"image": st.sampled_from(sorted(PINNED))},
    optional={
        "name": _WORDS,
        "imagePullPolicy": st.sampled_from(["Always", "Never", "IfNotPresent"]),
        "env": _VALUES,
        "설명": _WORDS,
    },
)
_VOLUMES = st.fixed_dictionaries(
    {"name": _WORDS},
    optional={
        "image": st.fixed_dictionaries(
            {"reference": st.sampled_from(sorted(PINNED))},
            optional={"pullPolicy": st.sampled_from(["Always", "IfNotPresent"])},
        ),
        "emptyDir": _VALUES,
    },
)
_PODS = st.fixed_dictionaries(
    {"kind": st.just("Pod"), "metadata": _VALUES},
    optional={
        "containers": st.lists(_CONTAINERS, min_size=1, max_size=3),
        "spec": st.fixed_dictionaries(
            {"initContainers": st.lists(_CONTAINERS, max_size=2)},
            optional={"volumes": st.lists(_VOLUMES, max_size=2)},
        ),
        "ephemeralContainers": st.lists(_CONTAINERS, max_size=1),
    },
)


def _pinned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pinned(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _pinned(item) for key, item in value.items()}
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for container in found.get(name) or []:
            container["image"] = PINNED[container["image"]]
            container["imagePullPolicy"] = "IfNotPresent"
    for volume in found.get("volumes") or []:
        if "image" in volume:
            reference = PINNED[volume["image"]["reference"]]
            volume["image"] = {"reference": reference, "pullPolicy": "IfNotPresent"}
    return found


@settings(max_examples=200, deadline=None)
@given(
    pods=st.lists(_PODS, min_size=1, max_size=3),
    flow=st.sampled_from([None, False, True]),
    width=st.sampled_from([20, 80, 4096]),
    indent=st.integers(2, 6),
    unicode=st.booleans(),
    crlf=st.booleans(),
)
def test_the_parsed_result_differs_only_in_images_and_pull_policies(
    pods: list[Any],
    flow: bool | None,
    width: int,
    indent: int,
    unicode: bool,
    crlf: bool,
) -> None:
    dumped = yaml.safe_dump_all(
        copy.deepcopy(pods),
        default_flow_style=flow,
        width=width,
        indent=indent,
        allow_unicode=unicode,
        line_break="\r\n" if crlf else "\n",
    )
    text = re.sub("(?m)^--- ", "---\n", dumped)  # kubectl wants a separator to stand alone
    loaded = list(yaml.safe_load_all(text))
    pinned = pin(text)
    assert list(yaml.safe_load_all(pinned)) == [_pinned(pod) for pod in loaded]
    before, after = images_of(text.encode(), "m.yaml"), images_of(pinned.encode(), "m.yaml")
    assert [PINNED[use.image] for use in before] == [use.image for use in after]
    assert {use.pull_policy for use in after} <= {"IfNotPresent"}
    if flow is False:
        assert _others(pinned) == _others(text)


def _others(text: str) -> list[str]:
    """Return the lines that speak of no image."""
    of_images = ("image", "reference:", "pullPolicy:")
    lines = text.splitlines(keepends=True)
    return [line for line in lines if not any(word in line for word in of_images)]
