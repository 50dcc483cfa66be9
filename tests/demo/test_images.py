"""Demo images are valid, marked, and the same bytes every time."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from isobuilder.demo import images
from isobuilder.digest import Digest
from isobuilder.formats import oci
from tests.fakes.images import simple


@pytest.mark.parametrize("style", ["docker", "oci"])
def test_every_part_is_what_its_descriptor_says(style: images.Style) -> None:
    base = images.layer({"etc/os-release": b"demo\n"})
    image = simple("tool", shared=[base], style=style, attestations=True)
    index = oci.parse_index(image.top.data, place="tool")
    known = {Digest.of(blob): blob for blob in image.blobs}
    known |= {document.digest: document.data for document in image.manifests}
    for architecture in ("amd64", "arm64"):
        entry = oci.choose_platform(index, architecture, place="tool")
        manifest = oci.parse_manifest(known[entry.digest], place="tool")
        config = oci.parse_config(known[manifest.config.digest], place="tool")
        oci.check_config(config, manifest, architecture, place="tool")
        assert config.labels[images.STAND_IN] == "true"
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            assert len(known[layer.digest]) == layer.size
            assert Digest.of(gzip.decompress(known[layer.digest])) == diff_id


def test_two_makings_are_equal() -> None:
    assert simple("tool", attestations=True) == simple("tool", attestations=True)


def test_an_uncompressed_layer_is_a_tar() -> None:
    layer = images.layer({"a": b"1"}, compression="none")
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as archive:
        assert archive.getnames() == ["a"]
