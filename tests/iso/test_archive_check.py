"""Archives that somebody else made, each wrong in one way."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isobuilder.content.archives import tar_header
from isobuilder.digest import Digest
from isobuilder.formats.archive import read_archive
from isobuilder.formats.oci import OCI_CONFIG, OCI_LAYER
from isobuilder.iso.check.archives import (
    ArchiveReport,
    Expected,
    check_archive,
    check_archives,
)
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.medium import Medium
from isobuilder.store import Store
from tests.contract.trees import DictMedium
from tests.iso.makers import SmallImage, docker_image, iso_of, joined, layer_tar, small_image

REFERENCE = "registry.k8s.io/pause:3.10.1"


def tar_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    parts = []
    for name, data in members:
        parts += [tar_header(name, len(data)), data, bytes(-len(data) % 512)]
    return b"".join(parts) + bytes(1024)


def contents_of(image: SmallImage) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(joined(image.archive))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def check(data: bytes, **expected: Any) -> ArchiveReport:
    layers = expected.pop("layers", True)
    medium = Medium(DictMedium({"docker/a.tar": data}))
    return check_archive(medium, "docker/a.tar", Expected(**expected), layers=layers)


def rules(report: ArchiveReport) -> list[str]:
    return [finding.rule for finding in report.findings]


@pytest.mark.parametrize("make", [small_image, docker_image])
def test_our_archives_are_in_order(make: Callable[..., SmallImage], store: Store) -> None:
    image = make(store, REFERENCE)
    report = check(
        joined(image.archive),
        names=(REFERENCE,),
        digest=image.manifest.digest,
        architecture="amd64",
    )
    assert report.findings == []
    assert report.reference == REFERENCE
    assert report.digest == image.manifest.digest
    assert report.config is not None
    assert report.config.platform.architecture == "amd64"


def test_layers_may_be_plain_gzip_or_zstd(store: Store) -> None:
    zstd = pytest.importorskip("backports.zstd")
    tar = layer_tar(os.urandom(900_000))
    layers = [
        ("", tar, tar),
        ("+gzip", gzip.compress(tar), tar),
        ("+gzip", gzip.compress(tar[:1000]) + gzip.compress(tar[1000:], 1), tar),
        ("+zstd", zstd.compress(tar), tar),
        ("+zstd", zstd.compress(tar[:5000]) + zstd.compress(tar[5000:]), tar),
    ]
    assert check(joined(small_image(store, layers=layers).archive)).findings == []


def test_without_zstd_the_layer_is_told_to_be_unchecked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.formats.inflate.zstd_module", lambda: None)
    image = small_image(store, layers=[("+zstd", b"\x28\xb5\x2f\xfd...", b"plain")])
    (finding,) = check(joined(image.archive)).findings
    assert finding.severity == "warning"
    assert "backports.zstd" in finding.remedy


TAR = layer_tar(b"hello " * 400)
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"


def zstd_of(data: bytes) -> bytes:
    return bytes(pytest.importorskip("backports.zstd").compress(data))


@pytest.mark.parametrize(
    ("media_type", "packed", "told"),
    [
        ("+gzip", lambda data: data, "not compressed"),
        ("+zstd", lambda data: data, "not compressed"),
        ("+gzip", zstd_of, "zstd"),
        ("+zstd", gzip.compress, "gzip"),
        (f"{DOCKER}.gzip", lambda data: data, "not compressed"),
        (f"{DOCKER}.gzip", zstd_of, "zstd"),
        (f"{DOCKER}.zstd", gzip.compress, "gzip"),
        (DOCKER, gzip.compress, "gzip"),
        (DOCKER, zstd_of, "zstd"),
        ("+zstd", lambda data: b"\x5f\x2a\x4d\x18\3\0\0\0abc" + zstd_of(data), None),
        ("+gzip", lambda data: b"\x50\x2a\x4d\x18\0\0\0\0" + zstd_of(data), "zstd"),
        (DOCKER, lambda data: data, None),
        ("", lambda data: data, None),
    ],
)
def test_nodes_go_by_the_bytes_of_a_layer_where_they_look_at_them(
    media_type: str, packed: Callable[[bytes], bytes], told: str | None, store: Store
) -> None:
    image = small_image(store, layers=[(media_type, packed(TAR), TAR)])
    findings = check(joined(image.archive)).findings
    if told is None:
        assert findings == []
    else:
        assert [finding.severity for finding in findings] == ["warning"]
        assert f"its bytes are {told}" in findings[0].fact


def test_an_empty_layer_is_one_whatever_its_type_names(store: Store) -> None:
    image = small_image(store, layers=[("+gzip", b"", b""), ("", b"", b"")])
    findings = check(joined(image.archive)).findings
    assert {finding.severity for finding in findings} == {"warning"}


@pytest.mark.parametrize("packed", [gzip.compress, zstd_of], ids=["gzip", "zstd"])
def test_a_type_without_compression_is_not_unpacked_and_the_way_out_is_another_image(
    packed: Callable[[bytes], bytes], store: Store
) -> None:
    image = small_image(store, layers=[("", packed(TAR), TAR)])
    (finding,) = check(joined(image.archive)).findings
    assert finding.severity == "error"
    assert "is not unpacked by nodes" in finding.fact
    assert "another version of the image" in finding.remedy
    assert "fetch" not in finding.remedy


PACKED = [gzip.compress(TAR)[:-9], gzip.compress(b"another")]


@pytest.mark.parametrize("blob", PACKED, ids=["cut off", "another"])
def test_bytes_that_the_registry_itself_serves_are_not_fetched_again(
    blob: bytes, store: Store
) -> None:
    image = small_image(store, layers=[("+gzip", blob, TAR)])
    (finding,) = check(joined(image.archive)).findings
    assert "another version of the image" in finding.remedy


def test_zeros_compress_well_and_are_no_bomb(store: Store) -> None:
    zeros = bytes(20_000_000)
    image = small_image(store, layers=[("+gzip", gzip.compress(zeros), zeros)])
    assert check(joined(image.archive)).findings == []


def test_a_bomb_is_left_early_and_in_little_memory(store: Store) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(700)) + packer.flush()
    image = small_image(store, layers=[("+gzip", bomb, b"whatever")])
    data = joined(image.archive)
    tracemalloc.start()
    (finding,) = check(data).findings
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert finding.rule == "oci.layer"
    assert "a bomb" in finding.fact
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("damage", "rule", "fact"),
    [
        (lambda c: c.pop("oci-layout"), "oci.layout", "no oci-layout"),
        (lambda c: c.update({"oci-layout": b'{"imageLayoutVersion":"9"}'}), "oci.layout", "1.0.0"),
        (lambda c: c.update({"oci-layout": b"[]"}), "oci.layout", "1.0.0"),
        (lambda c: c.pop("index.json"), "oci.index", "no index.json"),
        (lambda c: c.update({"index.json": b"{"}), "oci.document", "not JSON"),
        (lambda c: c.update({"index.json": bytes(5_000_000)}), "oci.index", "5000000 bytes"),
        (lambda c: c.update({"blobs/sha256/" + "0" * 64: b"x"}), "oci.extra", "nothing refers"),
        (lambda c: c.update({"manifest.json": b"[]"}), "oci.extra", "nothing refers"),
    ],
)
def test_what_is_missing_or_too_much_is_told(
    damage: Callable[[dict[str, bytes]], object], rule: str, fact: str, store: Store
) -> None:
    contents = contents_of(small_image(store))
    damage(contents)
    (finding,) = check(tar_of(contents.items())).findings
    assert finding.rule == rule
    assert fact in finding.fact


def test_an_archive_with_blobs_only_is_refused(store: Store) -> None:
    """apache/cloudstack issue 13157: ``ctr: unrecognized image format``."""
    contents = contents_of(small_image(store))
    blobs = [(name, data) for name, data in contents.items() if name.startswith("blobs/")]
    assert rules(check(tar_of(blobs))) == ["oci.layout"]


def changed_index(contents: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> bytes:
    index = json.loads(contents["index.json"])
    change(index)
    return tar_of({**contents, "index.json": json.dumps(index).encode()}.items())


@pytest.mark.parametrize(
    ("change", "rule", "fact"),
    [
        (
            lambda i: i["manifests"].append(i["manifests"][0] | {"digest": "sha256:" + "1" * 64}),
            "oci.index",
            "one manifest, got 2",
        ),
        (lambda i: i["manifests"].clear(), "oci.index", "one manifest, got 0"),
        (lambda i: i["manifests"][0].pop("annotations"), "oci.name", "got none"),
        (
            lambda i: i["manifests"][0]["annotations"].update(
                {"io.containerd.image.name": "registry.k8s.io/pause:3.9"}
            ),
            "oci.name",
            "expected one image name",
        ),
        (lambda i: i["manifests"][0].update(size=3), "oci.blob", "expected 3 bytes"),
        (
            lambda i: i["manifests"][0].update(digest="sha256:" + "1" * 64),
            "oci.blob",
            "is missing",
        ),
        (lambda i: i["manifests"][0].update(digest="md5:1"), "oci.document", "sha256 digest"),
    ],
)
def test_a_wrong_index_is_told(
    change: Callable[[dict[str, Any]], object], rule: str, fact: str, store: Store
) -> None:
    report = check(changed_index(contents_of(small_image(store)), change))
    assert report.findings[0].rule == rule
    assert fact in report.findings[0].fact


def test_another_name_or_digest_than_expected_is_told(store: Store) -> None:
    image = small_image(store, REFERENCE)
    wanted = Digest.of(b"another")
    report = check(joined(image.archive), names=("registry.k8s.io/pause:3.9",), digest=wanted)
    assert rules(report) == ["oci.index", "oci.name"]
    assert f"expected registry.k8s.io/pause:3.9, got {REFERENCE}" in report.findings[1].fact


def test_another_architecture_than_expected_is_told(store: Store) -> None:
    image = small_image(store, architecture="arm64")
    (finding,) = check(joined(image.archive), architecture="amd64").findings
    assert "its configuration says linux/arm64" in finding.fact


def test_a_changed_byte_in_any_blob_is_told(store: Store) -> None:
    image = small_image(store)
    contents = contents_of(image)
    for blob, what in ((image.manifest, "manifest"), (image.config, "config")):
        name = f"blobs/sha256/{blob.digest.hex}"
        changed = bytes([contents[name][0] ^ 1]) + contents[name][1:]
        (finding,) = check(tar_of({**contents, name: changed}.items())).findings
        assert finding.rule == "oci.blob"
        assert finding.place == f"docker/a.tar: {what}"
    name = f"blobs/sha256/{image.layers[0].digest.hex}"
    changed = contents[name][:-9] + b"\0" + contents[name][-8:]
    data = tar_of({**contents, name: changed}.items())
    assert rules(check(data)) in (["oci.layer"], ["oci.blob"])
    assert rules(check(data, layers=False)) == []


def test_a_layer_that_is_another_when_uncompressed_is_told(store: Store) -> None:
    image = small_image(store, layers=[("+gzip", gzip.compress(b"this"), b"that")])
    (finding,) = check(joined(image.archive)).findings
    assert finding.rule == "oci.layer"
    assert f"expected {Digest.of(b'that')} uncompressed, got {Digest.of(b'this')}" in finding.fact


@pytest.mark.parametrize("cut", [1, 8, 30])
def test_compressed_data_that_ends_early_is_told(cut: int, store: Store) -> None:
    whole = gzip.compress(b"this is a layer" * 100)
    image = small_image(store, layers=[("+gzip", whole[:-cut], b"")])
    (finding,) = check(joined(image.archive)).findings
    assert finding.rule == "oci.layer"
    assert "ends early" in finding.fact


def test_an_archive_with_no_layer_data_or_a_wrong_layer_size_is_told(store: Store) -> None:
    image = small_image(store)
    contents = contents_of(image)
    name = f"blobs/sha256/{image.layers[0].digest.hex}"
    (finding,) = check(tar_of({**contents, name: b""}.items())).findings
    assert (finding.rule, finding.place) == ("oci.blob", "docker/a.tar: layer 0")


# --- the tar around it ---


def special(kind: bytes, name: bytes = b"link", link: bytes = b"target", size: int = 0) -> bytes:
    header = bytearray(tar_header(name.decode(), size))
    header[156:157] = kind
    header[157 : 157 + len(link)] = link
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


END = bytes(1024)
FILE = tar_header("a", 1) + b"x" + bytes(511)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "is cut off"),
        (b"<html>not a tar</html>".ljust(2048), "not a tar header"),
        (os.urandom(4096), "header"),
        (FILE, "is cut off"),
        (FILE + bytes(512), "is cut off"),
        (FILE[:700], "cut off"),
        (tar_header("a", 1 << 60) + END, "cut off"),
        (tar_header("a", 5000) + END, "cut off: 5632 bytes are promised, there are 1536"),
        (FILE + FILE + END, "'a' is there twice"),
        (FILE + tar_header("./a", 0) + END, "'a' is there twice"),
        (tar_header("../a", 0) + END, "leaves the archive"),
        (tar_header("/a", 0) + END, "leaves the archive"),
        (tar_header("a//b", 0) + END, "leaves the archive"),
        (tar_header("blobs/../../a", 0) + END, "leaves the archive"),
        (special(b"1") + END, "a hard link"),
        (special(b"2") + END, "a symbolic link"),
        (special(b"3") + END, "a character device"),
        (special(b"6") + END, "a pipe"),
        (special(b"S") + END, "a sparse file"),
        (special(b"L") + FILE + END, "a GNU long name"),
        (special(b"g") + FILE + END, "a global pax header"),
        (special(b"9") + END, "a member of type"),
        (
            special(b"x", size=1 << 20) + bytes(1 << 20) + END,
            "header of 1048576 bytes",
        ),
        (special(b"x", size=512) + b"nonsense".ljust(512, b"\0") + FILE + END, "pax header"),
        (
            special(b"x", size=26) + b"26 GNU.sparse.realsize=11\n".ljust(512, b"\0") + FILE + END,
            "a sparse file",
        ),
        (special(b"x", size=15) + b"15 path=/etc/x\n".ljust(512, b"\0") + FILE + END, "leaves"),
        (special(b"x", size=11) + b"11 size=-1\n".ljust(512, b"\0") + FILE + END, "not a size"),
        (FILE + END + b"hidden", "behind the end"),
        (FILE + END + bytes(3 << 20), "behind the end"),
        (FILE[:124] + b"zzzzzzzzzzz\0" + FILE[136:] + END, "checksum|octal"),
        (special(b"5", size=512) + bytes(512) + END, "a folder, 'link', has 512 bytes"),
    ],
)
def test_a_tar_that_is_no_image_archive_is_refused(data: bytes, fact: str) -> None:
    (finding,) = check(data).findings
    assert finding.rule == "oci.tar"
    assert re.search(fact, finding.fact), finding.fact


def test_a_million_members_are_refused() -> None:
    data = b"".join(tar_header(f"{number}", 0) for number in range(5000)) + END
    (finding,) = check(data).findings
    assert "more than 4096 members" in finding.fact


def test_pax_headers_for_single_members_are_read() -> None:
    data = special(b"x", size=30) + b"30 mtime=1700000000.123456789\n".ljust(512, b"\0") + FILE
    data += special(b"x", size=14) + b"14 path=b/ccc\n".ljust(512, b"\0") + tar_header("a", 0)
    assert read_archive(io.BytesIO(data + END)).files.keys() == {"a", "b/ccc"}
    assert "oci.tar" not in rules(check(data + END))


@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 7)), max_size=4))
def test_flipped_bits_never_end_in_a_traceback(
    flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = small_image(Store(tmp_path_factory.getbasetemp() / "flips"))
    data = bytearray(joined(image.archive))
    for at, bit in flips:
        data[at % len(data)] ^= 1 << bit
    report = check(bytes(data), names=(image.reference,), digest=image.manifest.digest)
    assert len(report.findings) <= 30


def test_archives_are_checked_where_they_lie_on_the_iso(store: Store, tmp_path: Path) -> None:
    images = [small_image(store, f"registry.k8s.io/part{number}:1") for number in range(5)]
    entries = [
        IsoEntry(f"docker/{image.manifest.digest.hex}.tar", 0o644, image.archive)
        for image in images
    ]
    wanted = {
        one.path: Expected((image.reference,), image.manifest.digest, "amd64")
        for one, image in zip(entries, images, strict=True)
    }
    wanted["docker/missing.tar"] = Expected()
    with IsoReader(iso_of(entries, tmp_path / "a.iso").path) as reader:
        reports = check_archives(reader, wanted)
    assert [report.place for report in reports] == sorted(wanted)
    assert [finding.place for report in reports for finding in report.findings] == [
        "docker/missing.tar"
    ]


def test_a_manifest_with_an_unknown_layer_type_is_told(store: Store) -> None:
    config = store.add_bytes(b"{}")
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": OCI_LAYER + "+lz4", "digest": config.digest, "size": config.size}],
    }
    manifest = store.add_bytes(json.dumps(document).encode())
    image = SmallImage(
        REFERENCE, manifest, config, (), "application/vnd.oci.image.manifest.v1+json"
    )
    (finding,) = check(joined(image.archive)).findings
    assert "no node can unpack" in finding.fact


def test_a_layer_that_is_listed_many_times_is_unpacked_once(store: Store) -> None:
    """150 times, each with another promise of what it unpacks to, took 97 seconds."""
    zeros = bytes(30_000_000)
    blob = gzip.compress(zeros)
    layers = [("+gzip", blob, zeros)] + [("+gzip", blob, b"%d" % n) for n in range(120)]
    started = time.process_time()
    report = check(joined(small_image(store, layers=layers).archive))
    assert time.process_time() - started < 20
    assert rules(report) == ["oci.layer"] * 101
    assert "not listed" in report.findings[-1].fact


def test_all_layers_of_a_medium_unpack_within_one_budget(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.medium._FREE", 1_000_000)
    layers = [("+gzip", gzip.compress(data), data) for data in (bytes(900_000), b"x" * 900_000)]
    (finding,) = check(joined(small_image(store, layers=layers).archive)).findings
    assert "archives unpack to more than" in finding.fact
