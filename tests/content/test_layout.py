from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.content.layout import IsoTree, build_tree
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.store import Store
from isobuilder.trust.sbom import sbom
from tests.iso.makers import Payload, joined, payload


def built(given: Payload) -> IsoTree:
    return build_tree(
        given.lock,
        files=given.files,
        made=given.made,
        images=given.images,
        tool="1.2.3",
        sbom=sbom,
    )


def bytes_of(tree: IsoTree) -> dict[str, bytes]:
    return {entry.path: joined(entry.pieces) for entry in tree.entries}


def test_the_tree_has_every_file_and_what_describes_them(store: Store) -> None:
    given = payload(store)
    contents = bytes_of(built(given))
    archives = {parts.image.archive for parts in given.images}
    assert contents.keys() == {
        *given.files,
        *given.made,
        *archives,
        "docker/images.list",
        "manifest.json",
        "sbom.cdx.json",
        "SHA256SUMS",
    }
    assert contents["network.yaml"] == given.made["network.yaml"]


def test_modes_come_from_the_lock(store: Store) -> None:
    modes = {entry.path: entry.mode for entry in built(payload(store)).entries}
    assert modes["k8s/kubeadm"] == 0o755
    assert modes["network.yaml"] == 0o644


def test_sha256sum_accepts_the_sums_and_they_are_complete(store: Store, tmp_path: Path) -> None:
    contents = bytes_of(built(payload(store)))
    for path, data in contents.items():
        target = tmp_path / "iso" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=tmp_path / "iso", check=True)
    listed = {line[66:] for line in contents["SHA256SUMS"].decode().splitlines()}
    assert listed == contents.keys() - {"SHA256SUMS"}


def test_images_list_names_archive_and_repository(store: Store) -> None:
    given = payload(store)
    lines = bytes_of(built(given))["docker/images.list"].decode().splitlines()
    assert lines == sorted(lines)
    pause, busybox = (parts.image.digest.hex for parts in given.images)
    assert set(lines) == {
        f"{pause}.tar registry.k8s.io/pause",
        f"{busybox}.tar docker.io/library/busybox",
    }


def test_apaches_nodes_get_no_images_list(store: Store) -> None:
    """They try to import every file in ``docker/``."""
    given = payload(store, profile="cloudstack-cks")
    contents = bytes_of(built(given))
    in_docker = {path for path in contents if path.startswith("docker/")}
    assert in_docker == {parts.image.archive for parts in given.images}


def test_the_manifest_says_what_is_there(store: Store) -> None:
    given = payload(store)
    tree = built(given)
    contents = bytes_of(tree)
    manifest = IsoManifest.model_validate_json(tree.manifest)
    assert contents["manifest.json"] == tree.manifest == manifest.to_bytes()
    assert manifest.files == {
        path: Digest.of(data).hex
        for path, data in contents.items()
        if path not in {"manifest.json", "SHA256SUMS"}
    }
    assert manifest.tool == "1.2.3"
    assert manifest.lock_sha256 == given.lock.digest.hex
    assert manifest.features == ("network",)
    (busybox, pause) = manifest.images
    assert pause.import_alias == "registry.k8s.io/pause:3.10.1"
    assert pause.reference == f"registry.k8s.io/pause@{given.images[0].image.digest}"
    assert pause.size == len(contents[pause.path])
    assert busybox.reference.startswith("docker.io/library/busybox@sha256:")


def test_files_and_images_in_any_order_give_the_same_tree(store: Store) -> None:
    given = payload(store)
    other = replace(
        given,
        files=dict(reversed(given.files.items())),
        made=dict(reversed(given.made.items())),
        images=given.images[::-1],
    )
    assert bytes_of(built(given)) == bytes_of(built(other))
    assert built(given).entries == built(other).entries


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cni/cni-plugins-arm64.tgz", "exactly one cni/cni-plugins-"),
        ("cri-tools/crictl-linux-arm64.tar.gz", "exactly one cri-tools/"),
        ("index.html", "drops names like index.html"),
        ("docs/index.html.bak", "drops names like index.html.bak"),
        ("docker/images.list", "two entries for the path docker/images.list"),
        ("SHA256SUMS", "two entries for the path SHA256SUMS"),
        ("manifest.json", "two entries for the path manifest.json"),
        ("sbom.cdx.json", "two entries for the path sbom.cdx.json"),
        ("sha256sums", "differ in case only"),
    ],
)
def test_what_a_node_would_lose_or_mistake_is_refused(
    path: str, message: str, store: Store
) -> None:
    with pytest.raises(InputError, match=message):
        built(payload(store, extra={path: b"x"}))


def test_another_blob_than_the_lock_names_is_refused(store: Store) -> None:
    given = payload(store)
    files = {**given.files, "k8s/kubeadm": store.add_bytes(b"another")}
    with pytest.raises(IntegrityError, match=r"files: k8s/kubeadm: the lock says sha256:.*, got"):
        built(replace(given, files=files))


@pytest.mark.parametrize("path", ["network.yaml", "kubelet.service"])
def test_a_missing_manifest_is_refused(path: str, store: Store) -> None:
    given = payload(store)
    made = {name: data for name, data in given.made.items() if name != path}
    with pytest.raises(IntegrityError, match=f"manifests: {path}: the lock says made"):
        built(replace(given, made=made))


def test_a_missing_image_is_refused(store: Store) -> None:
    given = payload(store)
    with pytest.raises(IntegrityError, match=r"images: docker/.*got nothing"):
        built(replace(given, images=given.images[1:]))


def test_features_follow_the_files(store: Store) -> None:
    extra = {"etcd/etcd-linux-amd64.tar.gz": b"etcd", "provider.yaml": b"kind: List\n"}
    manifest = json.loads(built(payload(store, extra=extra)).manifest)
    assert manifest["features"] == ["etcd", "network", "provider"]
