"""What holds for every manifest: pinning changes images and policies, and all see the same ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.model.recipe import Images
from isobuilder.sources.named import named_images
from tests.corpus.constructs import NAMES

DIGEST = "b" * 64
IGNORED = ("auto", "", "{{ .Values.image }}")
PINNED = {spelled_out(name): f"{ImageReference.parse(name).name}@sha256:{DIGEST}" for name in NAMES}

_WORDS = st.text(alphabet="abz한é#:'\"{}[],&*!|>%@` -\\\n\t0~", max_size=8)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)
_IMAGES = st.sampled_from([*NAMES, *IGNORED])
_POLICIES = st.sampled_from(["Always", "Never", "IfNotPresent", None])
_CONTAINERS = st.fixed_dictionaries(
    {"name": _WORDS},
    optional={"image": _IMAGES | st.none(), "imagePullPolicy": _POLICIES, "env": _VALUES},
)
_VOLUMES = st.fixed_dictionaries(
    {"name": _WORDS},
    optional={
        "image": st.fixed_dictionaries({"reference": _IMAGES}, optional={"pullPolicy": _POLICIES}),
        "configMap": _VALUES,
    },
)
_SPECS = st.fixed_dictionaries(
    {"containers": st.lists(_CONTAINERS, max_size=2)},
    optional={
        "initContainers": st.lists(_CONTAINERS, max_size=2),
        "ephemeralContainers": st.lists(_CONTAINERS, max_size=1),
        "volumes": st.lists(_VOLUMES, max_size=2),
        "image": _VALUES,
        "other": _VALUES,
    },
)
_OBJECTS = st.one_of(
    _SPECS.map(lambda spec: {"apiVersion": "v1", "kind": "Pod", "spec": spec}),
    _SPECS.map(
        lambda spec: {
            "apiVersion": "x.example/v1",
            "kind": "Thing",
            "spec": {"parts": [{"template": {"spec": spec}}]},
        }
    ),
)


def _fields(value: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Give each map that names an image, with its keys for image and policy."""
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from _fields(item)
    if not isinstance(value, dict):
        return
    for key in ("containers", "initContainers", "ephemeralContainers", "volumes"):
        for part in value.get(key) or () if isinstance(value.get(key), list) else ():
            if isinstance(part, dict) and key == "volumes" and isinstance(part.get("image"), dict):
                yield part["image"], "reference", "pullPolicy"
            elif isinstance(part, dict) and key != "volumes":
                yield part, "image", "imagePullPolicy"


def _written(objects: list[Any], how: str, width: int) -> str:
    if how == "json":
        return "\n".join(json.dumps(item, ensure_ascii=width < 80) for item in objects)
    style = {"block": False, "flow": True, "mixed": None}[how]
    text: str = yaml.safe_dump_all(
        objects, default_flow_style=style, width=width, allow_unicode=width > 20, sort_keys=False
    )
    return text.replace("--- ", "---\n")  # kubectl wants a separator to stand alone


def _read(data: bytes, how: str) -> list[Any]:
    """Read with a parser that is not ours."""
    text = data.decode()
    if how != "json":
        return list(yaml.safe_load_all(text))
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def _is_yaml(text: str) -> bool:
    """Say if PyYAML can read what it wrote: a key such as ``--- `` it breaks in two."""
    try:
        list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return False
    return True


@settings(max_examples=100, deadline=None)
@given(
    objects=st.lists(_OBJECTS, min_size=1, max_size=3),
    shared=st.booleans(),
    how=st.sampled_from(["block", "flow", "mixed", "json"]),
    width=st.sampled_from([20, 80, 4096]),
    crlf=st.booleans(),
)
def test_pinning_changes_images_and_policies_and_lock_pin_and_verify_see_the_same(
    objects: list[Any], shared: bool, how: str, width: int, crlf: bool
) -> None:
    if shared:  # PyYAML writes what is there twice as an anchor and an alias
        twice = {"apiVersion": "v1", "kind": "Pod", "spec": objects[0]["spec"]}
        objects = [{"apiVersion": "v1", "kind": "List", "items": [*objects, twice]}]
        text = _written(objects, how, width)
    else:
        text = _written(copy.deepcopy(objects), how, width)
    assume(how == "json" or _is_yaml(text))
    data = (text.replace("\n", "\r\n") if crlf and how != "json" else text).encode()
    manifest = read_manifest(data, "m.yaml")
    pinned = pin(manifest, PINNED, IGNORED)

    expected = _read(data, how)
    named = set[str]()
    for item in expected:
        for field, image, policy in _fields(item):
            name = field.get(image)
            if name is not None and name not in IGNORED and "@" not in name:  # not yet
                named.add(spelled_out(name))
                field[image], field[policy] = PINNED[spelled_out(name)], "IfNotPresent"
    assert _read(pinned, how) == expected

    locked = named_images(Images(ignore=IGNORED), [manifest])
    assert set(locked) == named
    on_disc = read_manifest(pinned, "m.yaml")
    seen = {use.image for use in on_disc.images} - set(IGNORED)
    assert seen == {PINNED[name] for name in named}
