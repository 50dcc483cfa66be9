"""``site serve`` gives images, files and ISOs straight out of closed ISO files."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.http.connection import Limits
from isobuilder.http.serving import Server
from isobuilder.site.server import SiteLogin, SiteServer
from isobuilder.site.shelf import Shelf
from tests.contract.trees import tar
from tests.site.asking import ask, raw
from tests.site.isos import (
    ETCD,
    INDEX,
    MANIFEST,
    PAUSE,
    SBOM,
    archive,
    archive_files,
    image,
    iso,
    sbom,
    signature,
)

PAUSE_IMAGE = image(PAUSE)
LARGE = bytes(range(256)) * 4096 * 8  # 8 MiB
ETCD_IMAGE = image(ETCD, LARGE)
SIGNATURE, SBOM_OF_IT = signature(PAUSE_IMAGE), sbom(PAUSE_IMAGE)
PATH = "/v2/registry.k8s.io/pause"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return iso(
        tmp_path_factory.mktemp("isos") / "first.iso",
        [PAUSE_IMAGE, SIGNATURE, SBOM_OF_IT],
        [ETCD_IMAGE],
        files={"network.yaml": b"kind: List\n", "k8s/kubelet": b"\x7fELF", "a b@c.txt": b"x"},
    )


@pytest.fixture(scope="module")
def site(first: Path) -> Iterator[SiteServer]:
    with serving(first) as server:
        yield server


def serving(*places: Path, **options: object) -> SiteServer:
    shelf = Shelf(places)
    shelf.open()
    return SiteServer(shelf, **options)  # type: ignore[arg-type]


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def test_an_image_is_there_by_tag_and_by_digest(site: Server) -> None:
    for reference in ("3.10", PAUSE_IMAGE.digest):
        said = ask(site, f"{PATH}/manifests/{reference}")
        assert (said.status, said.body) == (200, PAUSE_IMAGE.manifest)
        assert said.headers["content-type"] == MANIFEST
        assert said.headers["docker-content-digest"] == PAUSE_IMAGE.digest
    for blob in PAUSE_IMAGE.blobs:
        said = ask(site, f"{PATH}/blobs/{Digest.of(blob)}")
        assert (said.status, said.body) == (200, blob)


def test_head_tells_the_size_and_sends_nothing(site: Server) -> None:
    said = ask(site, f"{PATH}/manifests/3.10", method="HEAD")
    assert (said.status, said.body) == (200, b"")
    assert said.headers["content-length"] == str(len(PAUSE_IMAGE.manifest))
    place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"
    assert ask(site, place, method="HEAD").headers["content-length"] == str(len(LARGE))


def test_a_part_of_a_blob_comes_out_of_the_middle_of_the_iso(site: Server) -> None:
    place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"
    said = ask(site, place, Range="bytes=1000001-3000000")
    assert (said.status, said.body) == (206, LARGE[1000001:3000001])
    assert said.headers["content-range"] == f"bytes 1000001-3000000/{len(LARGE)}"
    end = ask(site, place, Range=f"bytes={len(LARGE) - 5}-{len(LARGE) + 999}")
    assert end.body == LARGE[-5:]  # and no byte of what lies behind it on the ISO
    assert ask(site, place, Range=f"bytes={len(LARGE)}-").status == 416


def test_a_mirror_is_told_the_registry_by_ns(site: Server) -> None:
    assert ask(site, "/v2/pause/manifests/3.10?ns=registry.k8s.io").body == PAUSE_IMAGE.manifest
    assert ask(site, "/v2/pause/manifests/3.10?ns=quay.io").status == 404
    assert ask(site, "/v2/registry.k8s.io/pause/manifests/3.10?ns=quay.io").status == 404
    own = f"127.0.0.1:{site.port}"
    assert ask(site, f"{PATH}/manifests/3.10?ns={own}").status == 200


def test_names_of_docker_hub_have_their_short_forms(tmp_path: Path) -> None:
    nginx = image("docker.io/library/nginx:1.27")
    with serving(iso(tmp_path / "x.iso", [nginx])) as server:
        for name in ("library/nginx", "nginx", "docker.io/nginx", "docker.io/library/nginx"):
            assert ask(server, f"/v2/{name}/manifests/1.27").body == nginx.manifest
        assert ask(server, "/v2/library/nginx/manifests/1.27?ns=docker.io").status == 200


def test_signatures_and_what_refers_to_an_image_are_there_in_each_way(site: Server) -> None:
    tag = f"{PAUSE_IMAGE.digest.replace(':', '-')}.sig"
    assert ask(site, f"{PATH}/manifests/{tag}").body == SIGNATURE.manifest
    listed = ask(site, f"{PATH}/referrers/{PAUSE_IMAGE.digest}")
    assert listed.headers["content-type"] == INDEX
    entry = json.loads(listed.body)["manifests"][0]
    assert entry == {
        "mediaType": MANIFEST,
        "digest": SBOM_OF_IT.digest,
        "size": len(SBOM_OF_IT.manifest),
        "artifactType": SBOM,
        "annotations": {"made.by": "somebody"},
    }
    fallback = ask(site, f"{PATH}/manifests/{PAUSE_IMAGE.digest.replace(':', '-')}")
    assert fallback.body == listed.body
    manifest = ask(site, f"{PATH}/manifests/{SBOM_OF_IT.digest}")
    assert manifest.headers["oci-subject"] == PAUSE_IMAGE.digest
    other = ask(site, f"{PATH}/referrers/{PAUSE_IMAGE.digest}?artifactType=a/b")
    assert json.loads(other.body)["manifests"] == []
    assert other.headers["oci-filters-applied"] == "artifactType"
    nothing = ask(site, f"{PATH}/referrers/sha256:{64 * '0'}")
    assert (nothing.status, json.loads(nothing.body)["manifests"]) == (200, [])


def test_repositories_and_tags_are_listed_page_by_page(site: Server) -> None:
    names = json.loads(ask(site, "/v2/_catalog").body)["repositories"]
    assert names == ["registry.k8s.io/etcd", "registry.k8s.io/pause"]
    page = ask(site, "/v2/_catalog?n=1")
    assert json.loads(page.body)["repositories"] == names[:1]
    following = page.headers["link"].partition(">")[0].removeprefix("<")
    assert json.loads(ask(site, following).body)["repositories"] == names[1:]
    tags = json.loads(ask(site, f"{PATH}/tags/list").body)
    assert tags["name"] == "registry.k8s.io/pause"
    assert "3.10" in tags["tags"]
    found, following = [], "/v2/pause/tags/list?ns=registry.k8s.io&n=1"
    while following:
        page = ask(site, following)
        found += json.loads(page.body)["tags"]
        following = page.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert found == tags["tags"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/registry.k8s.io/nothing/manifests/1", 404, "NAME_UNKNOWN"),
        (f"{PATH}/manifests/9", 404, "MANIFEST_UNKNOWN"),
        (f"{PATH}/manifests/sha256:{64 * 'a'}", 404, "MANIFEST_UNKNOWN"),
        (f"{PATH}/blobs/sha256:{64 * 'a'}", 404, "BLOB_UNKNOWN"),
        (f"{PATH}/blobs/sha256:abc", 400, "DIGEST_INVALID"),
        (f"{PATH}/blobs/md5:abc", 400, "DIGEST_INVALID"),
        (f"{PATH}/manifests/sha256:zz", 400, "DIGEST_INVALID"),
        (f"{PATH}/blobs/{Digest.of(LARGE)}", 404, "BLOB_UNKNOWN"),  # another repository has it
        ("/v2/../../etc/passwd", 404, "UNSUPPORTED"),
        ("/v2/%2e%2e/manifests/%2fetc%2fpasswd", 404, "UNSUPPORTED"),
        (f"{PATH}/manifests/..%00", 404, "MANIFEST_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_told_as_registries_tell_it(
    site: Server, path: str, status: int, code: str
) -> None:
    said = ask(site, path)
    assert (said.status, json.loads(said.body)["errors"][0]["code"]) == (status, code)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_nothing_can_be_changed(site: Server, method: str) -> None:
    for path in (f"{PATH}/manifests/3.10", f"{PATH}/blobs/uploads/", "/isos/first.iso"):
        said = ask(site, path, method=method)
        assert said.status == 405
        assert said.headers["allow"] == "GET, HEAD"
    assert ask(site, f"{PATH}/manifests/3.10").body == PAUSE_IMAGE.manifest


def test_statements_about_vulnerabilities_travel_with_the_iso(first: Path) -> None:
    first.with_suffix(".vex.json").write_text("{}")
    with serving(first) as site:
        assert ask(site, "/isos/first.vex.json").body == b"{}"
    first.with_suffix(".vex.json").unlink()


def test_the_iso_itself_comes_whole_in_parts_and_with_its_sum(site: Server, first: Path) -> None:
    data = first.read_bytes()
    whole = ask(site, "/isos/first.iso")
    assert (whole.status, whole.body) == (200, data)
    part = ask(site, "/isos/first.iso", Range="bytes=32768-40959", If_Range=whole.headers["etag"])
    assert (part.status, part.body) == (206, data[32768:40960])
    assert ask(site, "/isos/first.iso", If_None_Match=whole.headers["etag"]).status == 304
    assert (
        ask(site, "/isos/first.iso.sha256").body == f"{Digest.of(data).hex}  first.iso\n".encode()
    )
    packed = base64.b64encode(bytes.fromhex(Digest.of(data).hex)).decode()
    assert ask(site, "/isos/first.iso").headers["repr-digest"] == f"sha-256=:{packed}:"
    known = json.loads(ask(site, "/site.json").body)["isos"]
    assert known == [
        {
            "name": "first.iso",
            "path": "/isos/first.iso",
            "size": len(data),
            "sha256": Digest.of(data).hex,
        }
    ]


def test_every_file_on_the_iso_is_there_by_its_name(site: Server) -> None:
    said = ask(site, "/files/first.iso/network.yaml")
    assert said.body == b"kind: List\n"
    assert said.headers["content-type"] == "text/plain; charset=utf-8"
    assert said.headers["x-content-type-options"] == "nosniff"
    packed = base64.b64encode(bytes.fromhex(Digest.of(said.body).hex)).decode()
    assert said.headers["repr-digest"] == f"sha-256=:{packed}:"
    assert ask(site, "/files/first.iso/a%20b%40c.txt").body == b"x"
    for path in ("", "/nothing", "/../first.iso", "/%2e%2e/first.iso", "/k8s", "/k8s/"):
        assert ask(site, f"/files/first.iso{path}").status == 404


def test_the_page_speaks_korean_and_english(site: Server) -> None:
    english, korean = ask(site, "/"), ask(site, "/", Accept_Language="ko-KR,ko;q=0.9,en;q=0.5")
    assert "lang='en'" in english.body.decode()
    assert "이미지" in korean.body.decode()
    assert f"http://127.0.0.1:{site.port}" in english.body.decode()
    assert "default-src 'none'" in english.headers["content-security-policy"]
    assert "/files/first.iso/a%20b%40c.txt" in ask(site, "/files/first.iso/").body.decode()


def test_the_report_beside_an_iso_is_a_page_that_can_do_nothing(tmp_path: Path) -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    files = {"evil.report.html": page}
    path = iso(tmp_path / "with.iso", [PAUSE_IMAGE], files=files)
    path.with_suffix(".report.html").write_bytes(page)
    with serving(path) as server:
        reply = ask(server, "/isos/with.report.html")
        assert (reply.status, reply.body) == (200, page)
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert b"<a href='/isos/with.report.html'>report</a>" in ask(server, "/").body
        inside = ask(server, "/files/with.iso/evil.report.html")
        assert inside.headers["content-type"] == "application/octet-stream"
        path.with_suffix(".report.html").unlink()
        deadline = time.monotonic() + 60
        while b"report.html" in ask(server, "/").body:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_catalogue_is_shown_and_nothing_else_of_its_folder(first: Path, tmp_path: Path) -> None:
    (tmp_path / "isos").mkdir()
    for name in ("index.html", "index.json", "feed.atom", "isos/a.js", "isos/a.html", "key.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "away.html").symlink_to("/etc/hostname")
    with serving(first, catalogue=tmp_path) as server:
        kinds = {
            name: ask(server, f"/catalogue/{name}").headers["content-type"].partition(";")[0]
            for name in ("", "index.html", "index.json", "feed.atom", "isos/a.js", "isos/a.html")
        }
        assert list(kinds.values()) == [
            *("text/html", "text/html", "application/json", "application/atom+xml"),
            *("text/javascript", "text/html"),
        ]
        assert ask(server, "/catalogue/isos/a.js").body == b"isos/a.js"
        for name in ("key.pem", "away.html", "isos/", "../etc/hostname", "isos/../key.pem"):
            assert ask(server, f"/catalogue/{name}").status == 404
        assert b"<a href='/catalogue/'>" in ask(server, "/").body


def test_a_name_is_no_part_of_the_page(tmp_path: Path) -> None:
    name = "a'\"&<b>\n\udcff?.iso"
    iso(tmp_path / "x.iso", [PAUSE_IMAGE]).rename(tmp_path / name)
    with serving(tmp_path) as server:
        page = ask(server, "/").body.decode()
        assert "a&#x27;&quot;&amp;&lt;b&gt;" in page
        assert "<b>" not in page
        assert ask(server, "/site.json").status == 200


def test_what_a_name_hides_is_seen_on_pages_and_its_address_is_right(tmp_path: Path) -> None:
    name = "a\x1b[31m\n\u202eosi.b.iso"
    path = iso(tmp_path / name, [PAUSE_IMAGE])
    with serving(tmp_path) as server:
        inside = f"/files/{quote(name)}/"
        for page in (ask(server, "/").body.decode(), ask(server, inside).body.decode()):
            assert r"a\x1b[31m\n\u202eosi.b.iso" in page
            assert "\x1b" not in page
            assert "\u202e" not in page
            assert "a\n" not in page
        assert f"<a href='/isos/{quote(name)}'>" in ask(server, "/").body.decode()
        assert ask(server, f"/isos/{quote(name)}").body == path.read_bytes()


def test_a_name_that_is_no_utf_8_is_found_by_its_address(tmp_path: Path) -> None:
    path = iso(tmp_path / os.fsdecode(b"y\xff.iso"), [PAUSE_IMAGE], files={"a": b"x"})
    lines: list[str] = []
    with serving(tmp_path, access=lines.append) as server:
        [one] = json.loads(ask(server, "/site.json").body)["isos"]
        assert one["path"] == "/isos/y%FF.iso"
        assert ask(server, one["path"]).body == path.read_bytes()
        assert ask(server, f"{one['path']}.sha256").body.endswith(b"  y\xff.iso\n")
        assert ask(server, "/files/y%FF.iso/a").body == b"x"
        assert ask(server, "/files/y%FF.iso/").status == 200
        assert ask(server, "/isos/y%FE.iso").status == 404
        assert ask(server, "/v2/%FF/manifests/%FF").status == 404
    assert "GET /isos/y%FF.iso 200" in lines[1]


def test_a_path_in_the_access_log_is_one_field(first: Path) -> None:
    lines: list[str] = []
    with serving(first, access=lines.append) as server:
        ask(server, "/x%20200%2010%200.001%20'curl'%0a")
        while not lines:
            time.sleep(0.01)
    fields = lines[0].split(" ")
    assert fields[2:5] == ["GET", "/x%20200%2010%200.001%20%27curl%27%0A", "404"]
    assert len(fields) == 8


def test_what_is_no_request_is_noted_and_counted_too(first: Path) -> None:
    lines: list[str] = []
    with serving(first, access=lines.append) as server:
        raw(server, b"GET / HTTP/1.1\r\n\r\n")
        raw(server, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        while len(lines) < 2:
            time.sleep(0.01)
        told = ask(server, "/metrics").body.decode()
    assert {tuple(line.split(" ")[1:5]) for line in lines[:2]} == {
        ("127.0.0.1", "-", "-", "400"),
        ("127.0.0.1", "-", "-", "431"),
    }
    for code in (400, 431):
        assert f'isobuilder_site_requests_total{{kind="other",code="{code}"}} 1' in told


def test_numbers_are_counted_and_health_is_told(first: Path) -> None:
    lines: list[str] = []
    with serving(first, access=lines.append) as server:
        assert ask(server, "/healthz").body == b"ok\n"
        ask(server, f"{PATH}/blobs/{Digest.of(PAUSE_IMAGE.blobs[0])}", User_Agent="a\tb")
        ask(server, "/nothing")
        until_counted = 'isobuilder_site_requests_total{kind="other",code="404"} 1'
        while until_counted not in (told := ask(server, "/metrics").body.decode()):
            time.sleep(0.01)
    assert 'isobuilder_site_requests_total{kind="blob",code="200"} 1' in told
    size = len(PAUSE_IMAGE.blobs[0])
    assert f'isobuilder_site_sent_bytes_total{{kind="blob"}} {size}' in told
    assert "isobuilder_site_isos 1" in told
    # Whose answer went out first need not be noted first: each client has its own thread.
    [blob] = [line for line in lines if f" 127.0.0.1 GET {PATH}/blobs/" in line]
    assert r"'a\tb'" in blob
    assert [line for line in lines if " GET /nothing 404 " in line]


def test_two_isos_share_a_tag_by_platform(tmp_path: Path) -> None:
    amd, arm = image(PAUSE), image(PAUSE, architecture="arm64")
    one, two = iso(tmp_path / "1.iso", [amd]), iso(tmp_path / "2.iso", [arm])
    with serving(one, two) as server, serving(two, one) as other:
        said = ask(server, f"{PATH}/manifests/3.10")
        assert said.headers["content-type"] == INDEX
        found = json.loads(said.body)["manifests"]
        platforms = {entry["platform"]["architecture"]: entry["digest"] for entry in found}
        assert platforms == {"amd64": amd.digest, "arm64": arm.digest}
        assert ask(server, f"{PATH}/manifests/{Digest.of(said.body)}").body == said.body
        assert ask(server, f"{PATH}/manifests/{arm.digest}").body == arm.manifest
        assert ask(other, f"{PATH}/manifests/3.10").body == said.body


def test_of_two_images_for_one_platform_the_newer_iso_has_the_tag(tmp_path: Path) -> None:
    old, new = image(PAUSE, b"old"), image(PAUSE, b"new")
    iso(tmp_path / "a.iso", [new], epoch=1_800_000_000)
    iso(tmp_path / "b.iso", [old], epoch=1_700_000_000)
    with serving(tmp_path) as server:
        assert ask(server, f"{PATH}/manifests/3.10").body == new.manifest
        assert ask(server, f"{PATH}/manifests/{old.digest}").body == old.manifest
        warned = json.loads(ask(server, "/site.json").body)["warnings"]
        assert warned == [f"{PAUSE} is {new.digest} of a.iso; b.iso has another"]


def test_names_come_from_images_list_where_an_archive_has_only_a_tag(tmp_path: Path) -> None:
    only_tag = image("3.10")
    name = f"{only_tag.digest.hex}.tar"
    listed = f"{name} registry.k8s.io/pause\n".encode()
    path = iso(tmp_path / "x.iso", [only_tag], files={"docker/images.list": listed})
    with serving(path) as server:
        assert ask(server, f"{PATH}/manifests/3.10").body == only_tag.manifest
        assert ask(server, f"{PATH}/manifests/{only_tag.digest}").status == 200


def saved(*, layer: bytes = b"", leave_out: str = "", tags: object = (PAUSE,)) -> bytes:
    """Return what ``docker save`` wrote before version 25."""
    config, plain = PAUSE_IMAGE.blobs
    entry = {"Config": "c.json", "RepoTags": tags, "Layers": ["a/layer.tar"]}
    files = {
        "c.json": config,
        "a/layer.tar": layer or plain,
        "manifest.json": json.dumps([entry]).encode(),
    }
    return tar({name: data for name, data in files.items() if name != leave_out})


def test_images_that_docker_saved_get_a_manifest(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [ETCD_IMAGE], files={"docker/saved.tar": saved()})
    with serving(path) as server:
        said = ask(server, f"{PATH}/manifests/3.10")
        assert said.headers["content-type"].endswith("distribution.manifest.v2+json")
        manifest = json.loads(said.body)
        for described, blob in zip(
            (manifest["config"], *manifest["layers"]), PAUSE_IMAGE.blobs, strict=True
        ):
            assert described["size"] == len(blob)
            assert ask(server, f"{PATH}/blobs/{described['digest']}").body == blob
        assert ask(server, f"{PATH}/manifests/{Digest.of(said.body)}").body == said.body


def spoilt(path: str, data: bytes | None) -> bytes:
    """Return an archive in which one file is another, or missing."""
    files = archive_files(PAUSE_IMAGE)
    if data is None:
        del files[path]
    else:
        files[path] = data
    return tar(files)


MANIFEST_FILE = f"blobs/sha256/{PAUSE_IMAGE.digest.hex}"
LAYER_FILE = f"blobs/sha256/{Digest.of(PAUSE_IMAGE.blobs[1]).hex}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (spoilt(MANIFEST_FILE, b"{}"), "its content is sha256:"),
        (spoilt(MANIFEST_FILE, None), "missing"),
        (spoilt(LAYER_FILE, None), "is missing"),
        (spoilt(LAYER_FILE, b"short"), "has 5 bytes, expected"),
        (spoilt("index.json", b"[]"), "expected a JSON object"),
        (spoilt("oci-layout", None), "no OCI layout"),
        (archive(image("no name at all")), "what its images are called"),
        (b"no tar" * 200, "not a tar header"),
        (saved(layer=b"\x1f\x8bpacked"), "packed, so it is not the bytes of its digest"),
        (saved(leave_out="a/layer.tar"), "is missing"),
        (saved(leave_out="c.json"), "is missing"),
        (saved(tags=()), "what its images are called"),
        (tar({"manifest.json": b"[]"}), "expected a list of images"),
        (b"\x1f\x8b" + bytes(600), "not a tar header"),
        (archive(PAUSE_IMAGE)[:1700], "cut off"),
    ],
)
def test_an_archive_that_is_not_whole_is_told_and_the_others_are_served(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = iso(tmp_path / "x.iso", [ETCD_IMAGE], files={"docker/bad.tar": data})
    with serving(path) as server:
        warned = json.loads(ask(server, "/site.json").body)["warnings"]
        assert len(warned) == 1
        assert warned[0].startswith("x.iso: docker/bad.tar: ")
        assert said in warned[0]
        assert ask(server, f"{PATH}/manifests/3.10").status == 404
        assert ask(server, "/v2/registry.k8s.io/etcd/manifests/3.6.5-0").status == 200
        assert ask(server, "/files/x.iso/docker/bad.tar").body == data


def test_an_iso_that_is_none_is_refused_when_named_and_passed_over_in_a_folder(
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.iso"
    bad.write_bytes(bytes(100_000))
    with pytest.raises(IntegrityError, match=r"bad\.iso: byte 32769: not an ISO 9660 image"):
        Shelf([bad]).open()
    with pytest.raises(EnvironmentProblem, match="no such file or folder"):
        Shelf([tmp_path / "nothing.iso"]).open()
    iso(tmp_path / "good.iso", [PAUSE_IMAGE])
    os.mkfifo(tmp_path / "pipe.iso")
    (tmp_path / "gone.iso").symlink_to("/nothing")
    (tmp_path / "folder.iso").mkdir()
    with serving(tmp_path) as server:
        isos = json.loads(ask(server, "/site.json").body)["isos"]
        assert [one["name"] for one in isos] == ["good.iso"]


def until(server: Server, path: str, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while ask(server, path).status != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_isos_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert ask(server, f"{PATH}/manifests/3.10").status == 404
        path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
        until(server, f"{PATH}/manifests/3.10", 200)
        (tmp_path / "x.manifest.json").write_text("{}")
        until(server, "/isos/x.manifest.json", 200)
        path.unlink()
        until(server, f"{PATH}/manifests/3.10", 404)
        assert ask(server, "/isos/x.manifest.json").status == 404


def test_a_folder_in_which_nothing_changes_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf([tmp_path])
    shelf.open()
    assert not shelf.look()  # empty, as it was
    iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    assert shelf.look()
    assert not shelf.look()

    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    caplog.clear()
    assert shelf.look()
    assert not shelf.look()
    assert caplog.messages == [f"{tmp_path}: Permission denied"]


def test_a_place_that_cannot_be_looked_at_is_told_once_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    for folder in (far, near):
        folder.mkdir()
    iso(far / "x.iso", [PAUSE_IMAGE])
    shelf = Shelf([far, near])
    shelf.open()
    look = Path.stat

    def stale(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == far or far in path.parents:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return look(path, follow_symlinks=follow_symlinks)

    def listed(folder: Path) -> Iterator[Path]:
        stale(folder)
        return map(folder.joinpath, os.listdir(folder))  # noqa: PTH208 - it is what is replaced

    monkeypatch.setattr(Path, "stat", stale)
    monkeypatch.setattr(Path, "iterdir", listed)
    iso(near / "y.iso", [PAUSE_IMAGE])
    assert shelf.look()
    assert not shelf.look()
    assert [holding.name for holding in shelf.catalog.holdings] == ["y.iso"]
    assert caplog.messages == [f"{far}: {os.strerror(errno.ESTALE)}"]
    with pytest.raises(EnvironmentProblem, match=f"{far}: "):
        Shelf([far]).open()


def test_a_catalogue_that_cannot_be_read_is_told_once(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("isobuilder.site.server.LOOK_SECONDS", 0.01)
    (tmp_path / "index.html").write_text("x")

    def refuse(folder: Path, _pattern: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    with serving(first, catalogue=tmp_path) as server:
        monkeypatch.setattr(Path, "rglob", refuse)
        until(server, "/catalogue/", 404)
        time.sleep(0.2)
        assert ask(server, "/isos/first.iso", method="HEAD").status == 200
    assert caplog.messages == [f"{tmp_path}: Permission denied"]


def test_an_iso_that_is_being_copied_is_not_worth_a_word_until_that_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = iso(tmp_path / "whole", [PAUSE_IMAGE]).read_bytes()
    shelf = Shelf([tmp_path])
    shelf.open()
    caplog.clear()
    for size in (0, 40_000, 50_000, 60_000):
        (tmp_path / "x.iso").write_bytes(whole[:size])
        assert not shelf.look()  # nothing of what is served changed
    assert caplog.messages == []
    assert not shelf.look()
    assert not shelf.look()
    [told] = caplog.messages
    assert told.startswith(f"not served: {tmp_path / 'x.iso'}: byte")
    (tmp_path / "x.iso").write_bytes(whole)
    assert shelf.look()
    assert [one.name for one in shelf.catalog.holdings] == ["x.iso"]


def two_of_one_name(tmp_path: Path) -> tuple[Path, Path]:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = iso(tmp_path / "a" / "x.iso", [PAUSE_IMAGE])
    return first, iso(tmp_path / "b" / "x.iso", [ETCD_IMAGE])


def test_of_two_isos_of_one_name_the_other_is_served_when_the_first_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, other = two_of_one_name(tmp_path)
    shelf = Shelf([first.parent, other.parent])
    assert [one.iso.path for one in shelf.open().holdings] == [first]
    assert not shelf.look()
    assert caplog.messages == [f"{other}: {first} is served under this name"]
    first.unlink()
    assert shelf.look()
    assert [one.iso.path for one in shelf.catalog.holdings] == [other]


def test_a_folder_of_more_isos_than_are_served_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = iso(tmp_path / "0.iso", [image(PAUSE)])
    for number in range(1, 1003):
        os.link(one, tmp_path / f"{number}.iso")
    shelf = Shelf([tmp_path])
    assert len(shelf.open().holdings) == 1000
    told = f"{tmp_path}: the first 1000 of its 1003 ISOs are served; name a second folder with "
    assert caplog.messages == [f"{told}the others"]
    shelf.look()
    assert len(caplog.messages) == 1


def test_an_iso_that_cannot_be_read_takes_no_name_from_one_that_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, other = two_of_one_name(tmp_path)
    whole = first.read_bytes()
    first.write_bytes(b"no ISO")
    shelf = Shelf([first.parent, other.parent])
    assert [one.iso.path for one in shelf.open().holdings] == [other]
    assert not any("is served under this name" in line for line in caplog.messages)
    first.write_bytes(whole)
    assert shelf.look()
    assert [one.iso.path for one in shelf.catalog.holdings] == [first]


def test_an_iso_that_could_not_be_read_is_read_when_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    with monkeypatch.context() as closed:

        def refuse(_path: Path) -> None:  # as for who is not root
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        closed.setattr("isobuilder.site.shelf.held_by", refuse)
        shelf = Shelf([tmp_path])
        assert shelf.open().holdings == ()
        assert not shelf.look()
    assert not shelf.look()
    path.chmod(0o444)
    assert shelf.look()
    assert len(shelf.catalog.holdings) == 1


def test_an_iso_that_was_replaced_gives_no_byte_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.site.server.LOOK_SECONDS", 3600)
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    other = iso(tmp_path / "other", [image("docker.io/a/b:1", b"else")], files={"z": LARGE})
    blob = f"{PATH}/blobs/{Digest.of(PAUSE_IMAGE.blobs[0])}"
    with serving(tmp_path) as server:
        assert ask(server, blob).status == 200
        other.replace(path)
        said = ask(server, blob)
        assert (said.status, said.headers["retry-after"]) == (503, "1")
        assert ask(server, "/isos/x.iso").status == 503
        path.unlink()
        assert ask(server, blob).status == 503
        assert ask(server, "/isos/x.iso.sha256").status == 503
        assert ask(server, f"{PATH}/manifests/3.10").status == 200  # read when it was right


def test_other_bytes_of_the_same_size_and_date_have_another_name_and_sum(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    with serving(tmp_path) as server:
        before = ask(server, "/isos/x.iso.sha256").body
        etag = ask(server, "/isos/x.iso").headers["etag"]
        was = path.stat()
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        time.sleep(0.01)
        deadline = time.monotonic() + 60
        while (said := ask(server, "/isos/x.iso.sha256")).status != 200 or said.body == before:
            assert time.monotonic() < deadline
        assert said.body.startswith(Digest.of(path.read_bytes()).hex.encode())
        assert ask(server, "/isos/x.iso", Range="bytes=9-", If_Range=etag).status == 200
        assert ask(server, "/isos/x.iso").headers["etag"] != etag


def test_another_iso_of_the_same_date_is_not_put_to_what_came_of_the_first(tmp_path: Path) -> None:
    isos = [iso(tmp_path / name, [image(PAUSE, name.encode())]) for name in ("x.iso", "new")]
    for path in isos:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    with serving(isos[0]) as server:
        date = ask(server, "/isos/x.iso", method="HEAD").headers["last-modified"]
    isos[1].replace(isos[0])
    with serving(isos[0]) as server:
        said = ask(server, "/isos/x.iso", Range="bytes=9-", If_Range=date)
    assert said.headers["last-modified"] == date
    assert (said.status, said.body) == (200, isos[0].read_bytes())


@pytest.mark.parametrize("moved", [False, True], ids=["linked", "moved away"])
def test_a_backup_by_hard_links_ends_no_transfer_under_way(tmp_path: Path, *, moved: bool) -> None:
    path = iso(tmp_path / "x.iso", [ETCD_IMAGE])
    with serving(path) as server, closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(60)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /isos/x.iso HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = client.recv(65536)
        if moved:
            path.rename(tmp_path / "backup")
        else:
            os.link(path, tmp_path / "backup")
            path.chmod(0o400)
        while piece := client.recv(1 << 20):
            data += piece
    assert data.partition(b"\r\n\r\n")[2] == (tmp_path / "backup").read_bytes()


def test_a_transfer_under_way_ends_right_though_the_iso_is_replaced(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [ETCD_IMAGE])
    place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"
    with (
        serving(path) as server,
        closing(socket.create_connection(("127.0.0.1", server.port))) as c,
    ):
        c.sendall(f"GET {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = c.recv(65536)
        iso(tmp_path / "new", [PAUSE_IMAGE]).replace(path)
        until(server, f"{PATH}/manifests/3.10", 200)
        while piece := c.recv(1 << 20):
            data += piece
    assert data.partition(b"\r\n\r\n")[2] == LARGE


def test_an_iso_that_became_a_pipe_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.site.server.LOOK_SECONDS", 3600)
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    with serving(tmp_path) as server:
        path.unlink()
        os.mkfifo(path)
        for asked in ("/isos/x.iso", "/isos/x.iso.sha256"):
            assert ask(server, asked).status == 503, asked  # which waits for a minute at most


@pytest.mark.parametrize("put_back", [False, True], ids=["now", "date put back"])
@pytest.mark.parametrize("at", [0, -1])
def test_an_iso_that_is_written_over_in_place_is_not_sent_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, *, put_back: bool
) -> None:
    monkeypatch.setattr("isobuilder.site.server.LOOK_SECONDS", 3600)
    path = iso(tmp_path / "x.iso", [ETCD_IMAGE])
    place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"
    was = path.stat()
    with serving(path) as server, closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(60)
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = client.recv(65536)
        with path.open("r+b") as file:
            file.seek(at, os.SEEK_SET if at == 0 else os.SEEK_END)
            file.write(b"x")
        if put_back:
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(1 << 20):
                data += piece
    assert b" 200 " in data[:20]
    assert len(data.partition(b"\r\n\r\n")[2]) < len(LARGE)


def test_fifty_clients_at_once_get_every_byte_right(site: Server) -> None:
    place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"

    def get(_number: int) -> bool:
        return Digest.of(ask(site, place).body) == Digest.of(LARGE)

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(get, range(50)))


def test_slow_readers_half_requests_and_bombs_keep_nobody_waiting(first: Path) -> None:
    limits = Limits(head_seconds=0.5, idle_seconds=0.5, piece_seconds=0.5, clients=60)
    with serving(first, limits=limits) as server:
        clients = [connected(server) for _ in range(50)]
        place = f"/v2/registry.k8s.io/etcd/blobs/{Digest.of(LARGE)}"
        for number, client in enumerate(clients):
            request = f"GET {place} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            client.sendall(request if number % 2 else request[:20])
        assert ask(server, f"{PATH}/manifests/3.10").status == 200
        bomb = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000
        assert raw(server, bomb).startswith((b"HTTP/1.1 431", b""))
        deadline = time.monotonic() + 60
        while server.connections > 1:  # nobody read: they are dropped
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for client in clients:
            client.close()


def test_thousands_of_ranges_get_the_whole_once(site: Server) -> None:
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(3000))
    said = ask(site, "/files/first.iso/network.yaml", Range=ranges)
    assert (said.status, said.body) == (200, b"kind: List\n")


def test_only_the_login_opens_it(first: Path) -> None:
    with serving(first, login=SiteLogin("ann", "s3:cret")) as server:
        for given in ("", "Basic", "Basic !!", basic("ann", "s3"), basic("bob", "s3:cret")):
            said = ask(server, "/v2/", Authorization=given)
            assert said.status == 401
            assert said.headers["www-authenticate"].startswith("Basic ")
            assert json.loads(said.body)["errors"][0]["code"] == "UNAUTHORIZED"
            assert ask(server, "/isos/first.iso", Authorization=given).status == 401
        assert ask(server, "/healthz").status == 200
        assert ask(server, "/v2/", Authorization=basic("ann", "s3:cret")).status == 200
    assert "s3:cret" not in repr(SiteLogin("ann", "s3:cret"))


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def test_nothing_is_written_beside_the_iso(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    before = {one: one.stat().st_mtime_ns for one in (tmp_path, path)}
    with serving(tmp_path) as server:
        for place in ("/", "/isos/x.iso", "/isos/x.iso.sha256", f"{PATH}/manifests/3.10"):
            assert ask(server, place).status == 200
    assert {one: one.stat().st_mtime_ns for one in before} == before
    assert [one.name for one in tmp_path.iterdir()] == ["x.iso"]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_copies_every_image(site: Server, tmp_path: Path) -> None:
    for stored, name in ((PAUSE_IMAGE, PAUSE), (ETCD_IMAGE, ETCD)):
        target = tmp_path / stored.digest.hex
        source = f"docker://127.0.0.1:{site.port}/{name}"
        words = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source]
        subprocess.run([*words, f"dir:{target}"], check=True, capture_output=True)
        assert (target / "manifest.json").read_bytes() == stored.manifest
        for blob in stored.blobs:
            assert (target / Digest.of(blob).hex).read_bytes() == blob
