from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from isobuilder.content.tree import IsoTree, tree
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.store import Store
from tests.iso.makers import joined, small_lock


def bytes_of(made: IsoTree) -> dict[str, bytes]:
    return {entry.path: joined(entry.pieces) for entry in made.entries}


def test_the_tree_has_every_file_and_what_describes_them(store: Store) -> None:
    lock = small_lock(store)
    contents = bytes_of(tree(lock, store))
    assert contents.keys() == {
        *(file.path for file in lock.files),
        *(image.archive for image in lock.images),
        "network.yaml",
        "kubelet.service",
        "docker/images.list",
        "manifest.json",
        "sbom.cdx.json",
        "SHA256SUMS",
    }
    assert lock.images[0].digest in contents["network.yaml"].decode()


def test_modes_come_from_the_lock(store: Store) -> None:
    modes = {entry.path: entry.mode for entry in tree(small_lock(store), store).entries}
    assert modes["k8s/kubeadm"] == 0o755
    assert modes["network.yaml"] == 0o644


def test_sha256sum_accepts_the_sums_and_they_are_complete(store: Store, tmp_path: Path) -> None:
    contents = bytes_of(tree(small_lock(store), store))
    for path, data in contents.items():
        target = tmp_path / "iso" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=tmp_path / "iso", check=True)
    listed = {line[66:] for line in contents["SHA256SUMS"].decode().splitlines()}
    assert listed == contents.keys() - {"SHA256SUMS"}


def test_images_list_names_archive_and_repository(store: Store) -> None:
    lock = small_lock(store)
    lines = bytes_of(tree(lock, store))["docker/images.list"].decode().splitlines()
    assert lines == sorted(lines)
    pause, busybox = (image.digest.hex for image in lock.images)
    assert set(lines) == {
        f"{pause}.tar registry.k8s.io/pause",
        f"{busybox}.tar docker.io/library/busybox",
    }


def test_apaches_nodes_get_no_images_list(store: Store) -> None:
    """They try to import every file in ``docker/``."""
    lock = small_lock(store, profile="cloudstack-cks")
    contents = bytes_of(tree(lock, store))
    in_docker = {path for path in contents if path.startswith("docker/")}
    assert in_docker == {image.archive for image in lock.images}


def test_the_manifest_says_what_is_there(store: Store) -> None:
    lock = small_lock(store)
    made = tree(lock, store, tool="1.2.3")
    contents = bytes_of(made)
    manifest = IsoManifest.model_validate_json(made.manifest)
    assert contents["manifest.json"] == made.manifest == manifest.to_bytes()
    assert manifest.files == {
        path: Digest.of(data).hex
        for path, data in contents.items()
        if path not in {"manifest.json", "SHA256SUMS"}
    }
    assert manifest.tool == "1.2.3"
    assert manifest.lock_sha256 == lock.digest.hex
    assert manifest.features == ("network",)
    (busybox, pause) = manifest.images
    assert pause.import_alias == "registry.k8s.io/pause:3.10.1"
    assert pause.reference == f"registry.k8s.io/pause@{lock.images[0].digest}"
    assert pause.size == len(contents[pause.path])
    assert busybox.reference.startswith("docker.io/library/busybox@sha256:")


def test_every_file_has_its_digest_and_size_among_the_facts(store: Store) -> None:
    made = tree(small_lock(store), store)
    contents = bytes_of(made)
    assert made.facts == {path: (Digest.of(data), len(data)) for path, data in contents.items()}


def test_files_and_images_in_any_order_give_the_same_files(store: Store) -> None:
    lock = small_lock(store)
    other = lock.model_copy(update={"files": lock.files[::-1], "images": lock.images[::-1]})
    described = {"manifest.json", "sbom.cdx.json", "SHA256SUMS"}  # they name the lock's digest
    contents = [bytes_of(tree(lock, store)), bytes_of(tree(other, store))]
    assert contents[0].keys() == contents[1].keys()
    for path in contents[0].keys() - described:
        assert contents[0][path] == contents[1][path]


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
        tree(small_lock(store, extra={path: b"x"}), store)


@pytest.mark.parametrize("part", ["files", "manifests", "images"])
def test_a_blob_that_nobody_has_is_named(part: str, store: Store) -> None:
    lock = small_lock(store)
    entry = getattr(lock, part)[0]
    digest = entry.digest if part == "images" else entry.sha256
    store.path_of(digest).unlink()
    with pytest.raises(EnvironmentProblem, match=f"nobody has {digest}"):
        tree(lock, store)


def test_features_follow_the_files(store: Store) -> None:
    extra = {"etcd/etcd-linux-amd64.tar.gz": b"etcd", "provider.yaml": b"kind: List\n"}
    manifest = json.loads(tree(small_lock(store, extra=extra), store).manifest)
    assert manifest["features"] == ["etcd", "network", "provider"]
