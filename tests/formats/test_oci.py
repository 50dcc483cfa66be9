"""What counts as an image manifest, and what is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.demo import images
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.formats import oci

DIGEST = "sha256:" + "a" * 64
PLACE = "registry.k8s.io/pause:3.10"


def descriptor(media_type: str, **extra: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 7, **extra}


def manifest(**extra: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "config": descriptor(oci.OCI_CONFIG, digest="sha256:" + "c" * 64),
        "layers": [descriptor(oci.OCI_LAYER + "+gzip")],
        **extra,
    }


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": list(entries)}


def entry(architecture: str, digit: str = "1", **platform: str) -> dict[str, Any]:
    named = {"os": "linux", "architecture": architecture, **platform}
    return descriptor(oci.OCI_MANIFEST, digest="sha256:" + digit * 64, platform=named)


def data(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_manifest_without_media_type_is_known_by_its_content() -> None:
    read = oci.parse_manifest(data(manifest()), place=PLACE)
    assert read.media_type == oci.OCI_MANIFEST
    assert read.layers[0].compression == "gzip"


def test_the_registrys_content_type_fills_in_for_a_missing_media_type() -> None:
    read = oci.parse_manifest(
        data(manifest()), place=PLACE, content_type=oci.DOCKER_MANIFEST + "; charset=utf-8"
    )
    assert read.media_type == oci.DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (oci.OCI_LAYER, "none"),
        (oci.OCI_LAYER + "+gzip", "gzip"),
        (oci.OCI_LAYER + "+zstd", "zstd"),
        (oci.DOCKER_LAYER, "none"),
        (oci.DOCKER_LAYER + ".gzip", "gzip"),
        (oci.DOCKER_LAYER + ".zstd", "zstd"),
    ],
)
def test_layers_of_every_usual_compression_are_taken(media_type: str, compression: str) -> None:
    document = manifest(layers=[descriptor(media_type)])
    assert oci.parse_manifest(data(document), place=PLACE).layers[0].compression == compression


def test_a_layer_named_twice_is_one_blob() -> None:
    twice = [descriptor(oci.OCI_LAYER), descriptor(oci.OCI_LAYER)]
    read = oci.parse_manifest(data(manifest(layers=twice)), place=PLACE)
    assert (len(read.layers), len(read.blobs)) == (2, 2)


REFUSED: list[tuple[object, type[IsobuilderError], str]] = [
    ({"schemaVersion": 1, "fsLayers": []}, InputError, "schema 1"),
    (
        manifest(mediaType="application/vnd.docker.distribution.manifest.v1+json"),
        InputError,
        "schema 1",
    ),
    (manifest(manifests=[]), IntegrityError, "both manifests and layers"),
    ({"schemaVersion": 2}, IntegrityError, "neither manifests nor layers"),
    (manifest(schemaVersion="2"), IntegrityError, "schemaVersion: expected 2, got '2'"),
    (manifest(mediaType=oci.OCI_INDEX), IntegrityError, "but the content is a manifest"),
    (manifest(mediaType=7), IntegrityError, "mediaType: expected text, got 7"),
    (manifest(mediaType="application/x"), InputError, "its manifest is application/x"),
    (
        manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")),
        InputError,
        "not a container image: its config is application/vnd.cncf.helm.config",
    ),
    (manifest(layers={}), IntegrityError, r"layers: expected a list, got \{\}"),
    (manifest(layers=["x"]), IntegrityError, r"layers\[0\]: expected a JSON object, got 'x'"),
    (
        manifest(layers=[descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")]),
        InputError,
        r"layers\[0\].*may not be redistributed",
    ),
    (
        manifest(layers=[descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar")]),
        InputError,
        "may not be redistributed",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER + "+gzip+encrypted")]),
        InputError,
        "no node can unpack",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER, size=-1)]),
        IntegrityError,
        r"size: expected 0 to \d+ bytes, got -1",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER, size=1 << 60)]),
        IntegrityError,
        "size: expected 0 to",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER, size=True)]),
        IntegrityError,
        "size: expected 0 to",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER, digest="sha512:" + "a" * 128)]),
        IntegrityError,
        "digest: expected a sha256 digest, got 'sha512:",
    ),
    (
        manifest(layers=[descriptor(oci.OCI_LAYER), descriptor(oci.OCI_LAYER, size=8)]),
        IntegrityError,
        r"layers\[1\]: .* has 8 bytes here and 7 elsewhere",
    ),
    ([], IntegrityError, "expected a JSON object"),
    (index({"mediaType": "x"}), IntegrityError, r"manifests\[0\]: mediaType"),
    (
        index(descriptor(oci.OCI_MANIFEST, platform={"os": 1})),
        IntegrityError,
        "os: expected text, got 1",
    ),
    (
        index(descriptor(oci.OCI_MANIFEST, annotations={"a": 1})),
        IntegrityError,
        "expected text, got 1",
    ),
]


@pytest.mark.parametrize(("document", "error", "match"), REFUSED)
def test_a_bad_document_is_refused_with_its_place(
    document: object, error: type[IsobuilderError], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        oci.read_document(data(document), place=PLACE)
    assert str(caught.value).startswith(PLACE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"\xff\xfe{}",
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b"[" * 200_000,
        b"9" * 20_000,
        b" " * (oci.MAX_DOCUMENT + 1),
    ],
)
def test_what_is_not_one_plain_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError, match=PLACE) as caught:
        oci.read_document(text, place=PLACE)
    assert len(str(caught.value)) < 400


KEYS = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size"),
    *("platform", "os", "annotations", "rootfs", "diff_ids", "Labels"),
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just(DIGEST),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner | st.just(2) | st.just(oci.OCI_MANIFEST),
                max_size=6,
            )
        ),
        max_leaves=25,
    )
)
def test_no_document_raises_anything_but_our_errors(document: object) -> None:
    for read in (oci.read_document, oci.parse_config):
        with contextlib.suppress(IsobuilderError):
            read(data(document), place=PLACE)


def test_the_content_decides_against_a_contradicting_header() -> None:
    with pytest.raises(IntegrityError, match=r"Content-Type says .* but the content is a manifest"):
        oci.read_document(data(manifest()), place=PLACE, content_type=oci.DOCKER_INDEX)


def test_index_and_manifest_are_not_taken_for_each_other() -> None:
    with pytest.raises(IntegrityError, match="got an index"):
        oci.parse_manifest(data(index()), place=PLACE)
    with pytest.raises(IntegrityError, match="got the manifest"):
        oci.parse_index(data(manifest()), place=PLACE)


def chosen(architecture: str, *entries: dict[str, Any]) -> str:
    listed = oci.parse_index(data(index(*entries)), place=PLACE)
    return oci.choose_platform(listed, architecture, place=PLACE).digest[-1]


def test_the_architecture_is_chosen_and_attestations_are_not() -> None:
    unknown = descriptor(oci.OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"})
    marked = entry("amd64", "9")
    marked["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    assert chosen("arm64", unknown, marked, entry("amd64", "1"), entry("arm64", "2")) == "2"
    assert chosen("amd64", unknown, marked, entry("amd64", "1"), entry("arm64", "2")) == "1"


def test_a_variant_every_processor_runs_is_chosen() -> None:
    assert chosen("arm64", entry("arm64", "1", variant="v9"), entry("arm64", "2", variant="v8"))
    assert chosen("amd64", entry("amd64", "3", variant="v3"), entry("amd64", "2")) == "2"
    assert chosen("arm64", entry("arm64", "1", variant="v8"), entry("arm64", "2")) == "2"


def test_an_image_for_other_systems_only_is_refused_with_what_there_is() -> None:
    other = entry("amd64", os="windows")
    with pytest.raises(InputError, match="expected an image for linux/amd64, got linux/arm64/v9, "):
        chosen("amd64", other, entry("arm64", variant="v9"), entry("s390x"))


def test_an_entry_without_platform_is_taken_when_it_is_the_only_one() -> None:
    bare = descriptor(oci.OCI_MANIFEST)
    assert chosen("amd64", bare, entry("arm64")) == "a"
    with pytest.raises(InputError):
        chosen("amd64", bare, descriptor(oci.OCI_MANIFEST, digest="sha256:" + "b" * 64))


def test_an_index_of_a_thousand_entries_is_read() -> None:
    many = [entry("s390x", "5", variant=f"v{number}") for number in range(1000)]
    assert chosen("amd64", *many, entry("amd64", "7")) == "7"


def test_a_configuration_tells_platform_labels_and_layers() -> None:
    image = images.image([images.layer({"a": b"1"})], labels={"a": "b"})
    config = oci.parse_config(image.blobs[0], place=PLACE)
    assert str(config.platform) == "linux/amd64"
    assert config.labels == {images.STAND_IN: "true", "a": "b"}
    assert config.diff_ids == (Digest.of(images.tar({"a": b"1"}, mode=0o755)),)


def test_a_configuration_of_another_platform_is_refused() -> None:
    image = images.image([images.layer({"a": b"1"})], architecture="arm64")
    config = oci.parse_config(image.blobs[0], place=PLACE)
    read = oci.parse_manifest(image.top.data, place=PLACE)
    oci.check_config(config, read, "arm64", place=PLACE)
    with pytest.raises(IntegrityError, match="linux/amd64, its configuration says linux/arm64"):
        oci.check_config(config, read, "amd64", place=PLACE)


def test_a_configuration_with_another_number_of_layers_is_refused() -> None:
    image = images.image([images.layer({"a": b"1"})])
    config = oci.parse_config(image.blobs[0], place=PLACE)
    read = oci.parse_manifest(data(manifest(layers=[])), place=PLACE)
    with pytest.raises(IntegrityError, match="has 0 layers, the configuration 1"):
        oci.check_config(config, read, "amd64", place=PLACE)
