from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from isobuilder.content.archives import archive_fact, tar_header
from isobuilder.digest import Digest
from isobuilder.formats.oci import DOCKER_MANIFEST
from isobuilder.iso.write.entries import size_of
from isobuilder.store import Store
from tests.iso.makers import docker_image, joined, small_image


def test_an_archive_is_an_oci_layout_with_one_named_manifest(store: Store) -> None:
    image = small_image(store, "registry.k8s.io/pause:3.10.1")
    data = joined(image.archive)
    assert len(data) == size_of(image.archive)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        contents = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
        assert {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}
    assert json.loads(contents["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(contents["index.json"])["manifests"]
    assert entry["digest"] == image.manifest.digest
    assert entry["annotations"] == {
        "io.containerd.image.name": "registry.k8s.io/pause:3.10.1",
        "org.opencontainers.image.ref.name": "registry.k8s.io/pause:3.10.1",
    }
    blobs = {name: body for name, body in contents.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    assert all(Digest.of(body).hex == name.rpartition("/")[2] for name, body in blobs.items())


def test_manifest_bytes_and_type_stay_as_the_registry_served_them(store: Store) -> None:
    image = docker_image(store, "docker.io/library/busybox:1.36")
    with tarfile.open(fileobj=io.BytesIO(joined(image.archive))) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        served = tar.extractfile(f"blobs/sha256/{image.manifest.digest.hex}")
        assert served is not None
        assert served.read() == image.manifest.read()
    assert index["manifests"][0]["mediaType"] == DOCKER_MANIFEST


def test_a_layer_that_is_listed_twice_is_there_once(store: Store) -> None:
    layer = ("", b"0" * 1024, b"0" * 1024)
    image = small_image(store, layers=[layer, ("", b"other", b"other"), layer])
    with tarfile.open(fileobj=io.BytesIO(joined(image.archive))) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 4


def test_the_bytes_are_the_same_everywhere(store: Store) -> None:
    layer = ("", b"0" * 1024, b"0" * 1024)
    data = joined(small_image(store, layers=[layer]).archive)
    assert Digest.of(data) == (
        "sha256:ad59b7abe0088af39892ea37522496b67654f3899a28e4a0c2d6498a4a87de94"
    )


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8**11 - 1, 8**11, 9_000_000_000, 1 << 40])
def test_headers_are_what_tarfile_reads(size: int) -> None:
    info = tarfile.TarInfo.frombuf(tar_header("blobs/sha256/ab", size), "utf-8", "strict")
    assert (info.name, info.size, info.mode, info.isfile()) == (
        "blobs/sha256/ab",
        size,
        0o644,
        True,
    )


def test_a_folder_has_a_folders_header() -> None:
    info = tarfile.TarInfo.frombuf(tar_header("blobs/", 0), "utf-8", "strict")
    assert (info.name, info.mode, info.isdir()) == ("blobs", 0o755, True)


def test_the_digest_is_remembered_and_not_read_again(store: Store) -> None:
    image = small_image(store)
    data = joined(image.archive)
    assert archive_fact(image.archive, store) == (Digest.of(data), len(data))
    for blob in image.layers:
        blob.path.unlink()
    assert archive_fact(image.archive, store) == (Digest.of(data), len(data))


def test_another_name_is_another_archive(store: Store) -> None:
    first = small_image(store, "registry.k8s.io/pause:3.10", layers=[("", b"x", b"x")])
    second = small_image(store, "registry.k8s.io/pause:3.11", layers=[("", b"x", b"x")])
    assert first.manifest == second.manifest
    assert archive_fact(first.archive, store) != archive_fact(second.archive, store)


def test_a_damaged_note_is_found_out_again(store: Store) -> None:
    image = small_image(store)
    expected = archive_fact(image.archive, store)
    (note,) = (path for path in Path(store.root, "notes").rglob("*") if path.is_file())
    note.write_bytes(b"nonsense")
    assert archive_fact(image.archive, store) == expected


def test_skopeo_reads_an_archive_and_finds_the_same_digest(store: Store, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is missing: apt-get install skopeo")
    image = small_image(store, "registry.k8s.io/pause:3.10.1")
    path = tmp_path / "pause.tar"
    path.write_bytes(joined(image.archive))
    done = subprocess.run(
        [skopeo, "inspect", "--raw", f"oci-archive:{path}:{image.reference}"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == image.manifest.read()
