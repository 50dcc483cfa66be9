from __future__ import annotations

import time
from itertools import product

import pytest

from isobuilder.content.unpin import spellings_of, unpinned
from isobuilder.digest import Digest
from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import spelled_out

PINNED = "docker.io/library/busybox@sha256:" + "a" * 64
OTHER = "registry.k8s.io/pause@sha256:" + "b" * 64
NAMES = {
    spelled_out("busybox:1.36"): PINNED,
    "registry.k8s.io/pause:3.10": OTHER,
    "mirror.example/pause:3.10": OTHER,
}
SPELLINGS = {
    PINNED: list(spellings_of("docker.io/library/busybox:1.36")),
    OTHER: ["mirror.example/pause:3.10", "registry.k8s.io/pause:3.10"],
}


def pod(*containers: str, end: str = "\n") -> bytes:
    """A pod as upstream might write it."""
    text = "kind: Pod\nspec:\n  containers:\n" + "\n".join(containers) + "\n"
    return (text.removesuffix("\n") + "\n" * (end != "")).replace("\n", end or "\n").encode()


def found_again(upstream: bytes) -> bool:
    pinned = pin(read_manifest(upstream, "network.yaml"), NAMES)
    assert pinned != upstream
    return unpinned(pinned, SPELLINGS, Digest.of(upstream)) == upstream


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize(
    "policy", ["", "IfNotPresent", "Always", "Never", '"Always"', "  Never # x"]
)
@pytest.mark.parametrize(
    "name", ["busybox:1.36", "library/busybox:1.36", '"docker.io/library/busybox:1.36"']
)
def test_what_upstream_served_is_found_again_from_what_is_on_the_iso(
    name: str, policy: str, end: str
) -> None:
    lines = [f"  - name: a\n    image: {name}  # the image"]
    lines += [f"    imagePullPolicy: {policy}"] if policy else []
    assert found_again(pod(*lines, end=end))


@pytest.mark.parametrize(
    "container",
    [
        "  - image: registry.k8s.io/pause:3.10\n    imagePullPolicy:",
        "  - {image: busybox:1.36}",
        "  - {image: busybox:1.36, name: a, imagePullPolicy: Always}",
        '  - {"image": "busybox:1.36"}',
        "  - name: a\n    imagePullPolicy: Always\n    image: mirror.example/pause:3.10",
        "  - image: mirror.example/pause:3.10\n    name: a\n    imagePullPolicy: Never",
        "  - command: [imagePullPolicy: IfNotPresent]\n    image: busybox:1.36",
    ],
)
def test_other_ways_to_write_a_container_are_found_again(container: str) -> None:
    assert found_again(pod(container))


def test_many_containers_of_mixed_policies_are_found_again_within_seconds() -> None:
    images = ("busybox:1.36", "registry.k8s.io/pause:3.10")
    policies = ("", "\n    imagePullPolicy: IfNotPresent", "\n    imagePullPolicy: Always")
    pairs = product(images, policies)
    containers = [f"  - name: n\n    image: {image}{policy}" for image, policy in pairs]
    began = time.process_time()
    assert found_again(b"# " + b"x" * 500_000 + b"\n" + pod(*containers))
    assert time.process_time() - began < 20


def test_one_manifest_may_spell_two_images_in_two_ways() -> None:
    assert found_again(pod("  - image: busybox:1.36", "  - image: mirror.example/pause:3.10"))


@pytest.mark.parametrize(
    "names",
    [
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("busybox:1.36", "library/busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("mirror.example/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("busybox:1.36",) * 9 + ("docker.io/library/busybox:1.36",),
        ("docker.io/library/busybox:1.36",) + ("busybox:1.36",) * 9,
        ("busybox:1.36", "docker.io/library/busybox:1.36") * 3,
    ],
)
@pytest.mark.parametrize("policy", ["", "\n    imagePullPolicy: Always"])
def test_one_manifest_may_spell_an_image_in_several_ways(
    names: tuple[str, ...], policy: str
) -> None:
    began = time.process_time()
    assert found_again(pod(*(f"  - name: n\n    image: {name}{policy}" for name in names)))
    assert time.process_time() - began < 20


def test_one_other_character_is_not_found() -> None:
    upstream = pod("  - name: a\n    image: busybox:1.36\n    args: [safe]")
    pinned = pin(read_manifest(upstream, "network.yaml"), NAMES)
    for changed in (pinned.replace(b"safe", b"evil"), pinned + b"\n", pinned.replace(b"aa", b"ab")):
        assert unpinned(changed, SPELLINGS, Digest.of(upstream)) is None


def test_a_manifest_made_to_be_costly_is_given_up() -> None:
    line = f"  - image: {PINNED}\n    imagePullPolicy: IfNotPresent\n".encode()
    began = time.process_time()
    for count in (60, 100_000):
        assert unpinned(line * count, SPELLINGS, Digest.of(b"never")) is None
    assert time.process_time() - began < 20
