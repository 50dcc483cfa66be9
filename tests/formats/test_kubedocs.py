"""Manifests are read as kubectl reads them, and within bounds."""

from __future__ import annotations

import pytest

from isobuilder.errors import InputError
from isobuilder.formats.kubedocs import (
    MAX_MANIFEST,
    at,
    containers_of,
    items,
    kube_documents,
    of_kind,
)
from isobuilder.formats.kubeyaml import images_of

POD = b"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, image: nginx:1}\n"


def test_documents_come_in_order_and_empty_ones_are_left_out() -> None:
    found = kube_documents(b"---\n" + POD + b"---\n---\n# nothing\n---\n" + POD, "x.yaml")
    assert [document["kind"] for document in found] == ["Pod", "Pod"]


def test_a_list_is_taken_apart() -> None:
    found = kube_documents(
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
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: 2024-99-99", "not YAML"),
        (b"a: !!python/object:os.system x", "not YAML"),
        (b"[" * 100_000, "nested more than 200 levels"),
        (b"- " * 5000, "nested more than 200 levels"),
        (b" " * (MAX_MANIFEST + 1), f"expected at most {MAX_MANIFEST}"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as refused:
        kube_documents(data, "network.yaml")
    assert str(refused.value).startswith("network.yaml:")
    assert message in str(refused.value)


def test_containers_are_found_wherever_kubeyaml_finds_them() -> None:
    data = (
        POD + b"---\napiVersion: x/v1\nkind: Crd\nspec: {image: {type: string}, containers: x}\n"
        b"---\napiVersion: x/v1\nkind: Own\nspec: {deep: [{initContainers: [{image: q.io/b:1}]}]}\n"
    )
    found = {container["image"] for container in containers_of(kube_documents(data, "x.yaml"))}
    assert found == {"nginx:1", "q.io/b:1"}
    assert found == {use.image for use in images_of(data, "x.yaml")}


def test_shared_parts_are_walked_once() -> None:
    shared: list[object] = [{"containers": [{"image": "x"}]}]
    for _ in range(60):
        shared = [shared, shared]
    assert len(list(containers_of(shared))) == 1


def test_at_and_items_end_where_the_way_ends() -> None:
    (pod,) = kube_documents(POD, "x.yaml")
    assert at(pod, "spec", "containers", "name") is None
    assert at(pod, "kind", "x") is None
    assert len(items(pod, "spec", "containers")) == 1
    assert items(pod, "kind") == []
    assert of_kind([pod], "Deployment", "Pod") == [pod]
