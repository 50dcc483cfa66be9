from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from isobuilder.content.tree import tree
from isobuilder.model.lock import Lock
from isobuilder.store import Store
from isobuilder.trust.sbom import sbom
from tests.iso.makers import small_lock


def made(store: Store, **changes: Any) -> tuple[Lock, dict[str, Any], bytes]:
    given = small_lock(store)
    lock = given.model_copy(update=changes)
    data = sbom(lock, tree(given, store).facts, "1.2.3")
    return lock, json.loads(data), data


def component(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (item for item in document["components"] if item["name"] == name)
    assert isinstance(found, dict)
    return found


def test_it_follows_the_official_schema(store: Store) -> None:
    _, _, data = made(store)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None


def test_every_file_and_image_is_a_component(store: Store) -> None:
    lock, document, _ = made(store)
    by_type: dict[str, set[str]] = {}
    for item in document["components"]:
        by_type.setdefault(item["type"], set()).add(item["name"])
    assert by_type["container"] == {"registry.k8s.io/pause", "docker.io/library/busybox"}
    assert by_type["file"] >= {file.path for file in lock.files} | {"network.yaml"}
    (root,) = document["dependencies"]
    assert root["ref"] == document["metadata"]["component"]["bom-ref"]
    assert set(root["dependsOn"]) == {item["bom-ref"] for item in document["components"]}


def test_a_binary_has_version_package_url_and_origin(store: Store) -> None:
    lock, document, _ = made(store)
    (locked,) = (file for file in lock.files if file.path == "k8s/kubeadm")
    kubeadm = component(document, "k8s/kubeadm")
    assert kubeadm["version"] == "1.34.12"
    assert kubeadm["purl"].startswith("pkg:generic/kubeadm@1.34.12?checksum=sha256%3A")
    assert kubeadm["hashes"] == [{"alg": "SHA-256", "content": locked.sha256.hex}]
    assert kubeadm["externalReferences"][0]["url"] == locked.url


def test_the_version_of_a_manifest_comes_from_its_address(store: Store) -> None:
    _, document, _ = made(store)
    network = component(document, "network.yaml")
    assert network["version"] == "3.32.2"
    rewritten = {item["name"]: item["value"] for item in network["properties"]}
    assert "pinned" in rewritten["isobuilder:rewritten"]


def test_an_image_has_its_package_url(store: Store) -> None:
    lock, document, _ = made(store)
    pause = component(document, "registry.k8s.io/pause")
    digest = lock.images[0].digest
    assert pause["version"] == "3.10.1"
    assert pause["purl"] == (
        f"pkg:oci/pause@sha256%3A{digest.hex}?arch=amd64"
        "&repository_url=registry.k8s.io%2Fpause&tag=3.10.1"
    )


def test_a_component_names_its_source(store: Store) -> None:
    source = {
        "image": "registry.k8s.io/pause:3.10.1",
        "source_repository": "https://github.com/kubernetes/kubernetes",
        "source_sha": "a" * 40,
    }
    from isobuilder.model.recipe import Component

    _, document, _ = made(store, components={"pause": Component.model_validate(source)})
    pause = component(document, "registry.k8s.io/pause")
    assert pause["externalReferences"] == [
        {"type": "vcs", "url": "https://github.com/kubernetes/kubernetes"}
    ]
    assert {"name": "isobuilder:source-sha", "value": "a" * 40} in pause["properties"]


def test_the_same_lock_gives_the_same_bytes_and_another_lock_another_serial(store: Store) -> None:
    _, first, data = made(store)
    assert made(store)[2] == data
    assert first["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    _, second, _ = made(store, revision=2)
    assert first["serialNumber"] != second["serialNumber"]
