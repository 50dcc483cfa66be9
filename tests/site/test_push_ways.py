"""``site push`` to registries that do things in another way than most."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.images import ImageDocument
from isobuilder.digest import Digest
from isobuilder.errors import UpstreamError
from isobuilder.formats.oci import Platform
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.replies import FilePart, Reply, Request
from isobuilder.site.registry import refused
from isobuilder.site.shelf import Shelf
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.registry_auth import Credentials
from tests.cli.calling import call, errors, hints
from tests.conftest import QUICK
from tests.fakes.upstream import FakeUpstream
from tests.site.isos import INDEX, MANIFEST, PAUSE, described, image, iso, sbom, signature
from tests.site.test_push import BLOBS, PAUSE_IMAGE, SHARED, first, once, pushed, whole

__all__ = ["first"]

NAME = "registry.k8s.io/pause"
ARM = image(PAUSE, b"arm", architecture="arm64")


@pytest.fixture
def registry() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


def writer_of(http: Http, server: FakeUpstream) -> RegistryWriter:
    return RegistryWriter(server.url, http, Credentials(()))


def listed(server: FakeUpstream, tag: str = "3.10") -> list[dict[str, Any]]:
    top = server.registry.manifest(NAME, tag)
    assert top is not None
    return list(json.loads(top.data)["manifests"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_blobs_that_lie_in_a_storage_are_found_and_read_there(
    tmp_path: Path, registry: FakeUpstream, status: int
) -> None:
    def elsewhere(request: Request, reply: Reply) -> Reply | None:
        if request.path.startswith("/storage/"):
            return Reply(200, {}, registry.registry._blobs[Digest(request.path[9:])])
        if "/blobs/sha256" not in request.path or reply.status not in {200, 206}:
            return None
        return Reply(status, {"Location": f"/storage/{request.path.rpartition('/')[2]}"})

    registry.hooks.append(elsewhere)
    pushed(iso(tmp_path / "amd.iso", [PAUSE_IMAGE]), registry.url)
    report = pushed(iso(tmp_path / "arm.iso", [ARM]), registry.url)
    assert {entry["digest"] for entry in listed(registry)} == {PAUSE_IMAGE.digest, ARM.digest}
    assert len(report.moved) == 1


@pytest.mark.parametrize("answers", ["404", "a page", "another size"])
def test_a_redirect_to_where_nothing_lies_is_no_blob(
    first: Path, registry: FakeUpstream, answers: str
) -> None:
    lost = True

    def elsewhere(request: Request, reply: Reply) -> Reply | None:
        if request.path.startswith("/storage/"):
            data = registry.registry._blobs[Digest(request.path[9:])]
            if not lost:
                return Reply(200, {}, data)
            if answers == "404":
                return Reply(404)
            return Reply(200, {}, b"<html>" if answers == "a page" else data + b"x")
        if "/blobs/sha256" not in request.path or reply.status not in {200, 206}:
            return None
        return Reply(307, {"Location": f"/storage/{request.path.rpartition('/')[2]}"})

    pushed(first, registry.url)
    registry.hooks.append(elsewhere)
    with pytest.raises(UpstreamError, match="said that it has it, and has it not"):
        pushed(first, registry.url)
    lost = False
    assert pushed(first, registry.url).blobs_sent == 0


@pytest.mark.parametrize("way", ["range", "length", "neither"])
def test_what_a_storage_has_is_asked_for_by_its_first_byte(
    first: Path, registry: FakeUpstream, way: str
) -> None:
    def elsewhere(request: Request, reply: Reply) -> Reply | None:
        if request.path.startswith("/storage/"):
            data = registry.registry._blobs[Digest(request.path[9:])]
            if way == "range":
                assert request.headers["range"] == "bytes=0-0"
                return Reply(206, {"Content-Range": f"bytes 0-0/{len(data)}"}, data[:1])
            return Reply(200, {}, data if way == "length" else iter([data]))
        if "/blobs/sha256" not in request.path or reply.status not in {200, 206}:
            return None
        return Reply(307, {"Location": f"/storage/{request.path.rpartition('/')[2]}"})

    registry.hooks.append(elsewhere)
    assert pushed(first, registry.url).blobs_there == 0
    again = pushed(first, registry.url)
    assert again.blobs_sent == 0
    assert again.blobs_there > 0


def test_a_registry_that_is_at_another_address_is_told(first: Path, registry: FakeUpstream) -> None:
    def to_https(request: Request, _reply: Reply) -> Reply:
        return Reply(308, {"Location": f"https://{request.headers['host']}{request.path}"})

    registry.hooks.append(to_https)
    with pytest.raises(UpstreamError, match=r"the registry is at https://127\.0\.0\.1:") as caught:
        pushed(first, registry.url)
    assert caught.value.hint == "name that with --registry"


def test_referrers_in_several_pages_are_all_found(tmp_path: Path, registry: FakeUpstream) -> None:
    statements = [sbom(PAUSE_IMAGE, b"one"), sbom(PAUSE_IMAGE, b"two")]

    def pages(request: Request, _reply: Reply) -> Reply | None:
        if "/referrers/" not in request.path:
            return None
        number = int(request.first("page") or 0)
        entry = described(MANIFEST, statements[number].manifest)
        more = {} if number else {"Link": f'<{request.path}?page=1>; title="x"; rel=next'}
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        return Reply(200, {"Content-Type": INDEX, **more}, json.dumps(body).encode())

    registry.hooks.append(pages)
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE, *statements])
    assert pushed(path, registry.url).refused == []


@pytest.mark.parametrize(
    ("status", "posts", "hint"),
    [
        (503, QUICK.retries + 1, None),
        (404, 1, "check the address; at some registries the project has to be there first"),
        (403, 1, "look at the rights of the login there, at quotas and at rules for tags"),
        (405, 1, "is it read-only, or is there a limit? ask who runs the registry"),
        (
            302,
            1,
            "it leads elsewhere, to a page for logins perhaps; name the registry's own address",
        ),
    ],
)
def test_an_upload_that_does_not_begin_is_tried_as_often_as_anything_else(
    tmp_path: Path, registry: FakeUpstream, status: int, posts: int, hint: str | None
) -> None:
    registry.hooks.append(once("/blobs/uploads/", status, times=99))
    path = tmp_path / "blob"
    path.write_bytes(b"blob")
    with Http(QUICK, netrc=False) as http:
        writer, part = writer_of(http, registry), FilePart(path, 0, 4)
        with pytest.raises(HttpFailure, match="as the registry says") as caught:
            writer.put_blob("x/y", Digest.of(b"blob"), part, lambda _: None)
    assert caught.value.hint == hint
    assert len(registry.exchanges("POST")) == posts


def test_an_index_over_images_that_is_refused_ends_it_and_is_not_told_as_moved(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    pushed(iso(tmp_path / "amd.iso", [PAUSE_IMAGE]), registry.url)
    registry.hooks.append(once("/manifests/3.10", 403, method="PUT", times=9))
    done = call(
        "site", "push", iso(tmp_path / "arm.iso", [ARM]), "--registry", registry.url, code=4
    )
    assert "403 Forbidden: DENIED: as the registry says" in errors(done)[0]
    assert "moved" not in done.stderr
    assert "the images themselves are there" not in done.stderr


def test_a_tag_of_a_signature_that_is_refused_counts_as_no_tag(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE, signature(PAUSE_IMAGE)])
    registry.hooks.append(once(".sig", 403, method="PUT", times=9))
    report = pushed(path, registry.url)
    assert (report.tags, len(report.refused)) == (1, 1)


def test_one_platform_in_two_ways_of_writing_is_one(tmp_path: Path, registry: FakeUpstream) -> None:
    others: list[dict[str, object]] = [
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
        {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"},
        {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1"},
        {"os": "unknown", "architecture": "unknown"},
        {"os": "unknown", "architecture": "unknown"},
    ]
    entries = []
    for number, platform in enumerate(others):
        stored = image(PAUSE, b"%d" % number)
        registry.registry.put_manifest(NAME, ImageDocument(stored.manifest, MANIFEST))
        entries.append({**described(MANIFEST, stored.manifest), "platform": platform})
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    top = ImageDocument(json.dumps(body).encode(), INDEX)
    registry.registry.put_manifest(NAME, top, tag="3.10")
    pushed(iso(tmp_path / "arm.iso", [ARM]), registry.url)
    ours = {**described(MANIFEST, ARM.manifest), "platform": {"os": "linux"}}
    ours["platform"]["architecture"] = "arm64"
    found = listed(registry)
    assert ours in found
    assert sorted(entry["digest"] for entry in found) == sorted(
        [ARM.digest, *(entry["digest"] for entry in entries[1:])]
    )


def test_an_iso_with_another_way_of_writing_a_platform_has_another_image_for_it(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    longer = image(PAUSE, b"longer", architecture="arm64", variant="v8")
    places = [iso(tmp_path / "1.iso", [longer]), iso(tmp_path / "2.iso", [ARM])]
    catalog = Shelf(places).open()
    assert catalog.repositories[NAME].tags["3.10"] in {longer.digest, ARM.digest}
    assert len(catalog.shared) == 1
    for place in places:
        pushed(place, registry.url)
    assert registry.registry.tags(NAME) == ("3.10",)
    top = registry.registry.manifest(NAME, "3.10")
    assert top is not None
    assert top.digest == ARM.digest


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (Platform("linux", "arm64", "v8"), Platform("linux", "arm64")),
        (Platform("Linux", "ARM64", "8"), Platform("linux", "arm64")),
        (Platform("linux", "amd64", "v1"), Platform("linux", "amd64")),
        (Platform("linux", "arm"), Platform("linux", "arm", "7")),
    ],
)
def test_ways_of_writing_a_platform_are_known(given: Platform, same: Platform) -> None:
    assert given.plain() == same.plain()
    assert Platform("linux", "amd64", "v3").plain() != Platform("linux", "amd64").plain()
    assert Platform("linux", "arm", "v6").plain() != Platform("linux", "arm").plain()


@pytest.mark.parametrize(
    "there",
    [
        b'{"schemaVersion": 1, "name": "x", "fsLayers": [], "signatures": []}',
        json.dumps({**json.loads(PAUSE_IMAGE.manifest), "layers": "none"}).encode(),
    ],
)
def test_a_tag_of_what_cannot_be_read_is_moved(
    tmp_path: Path, registry: FakeUpstream, there: bytes
) -> None:
    document = ImageDocument(there, MANIFEST)
    registry.registry.put_manifest(NAME, document, tag="3.10")
    report = pushed(iso(tmp_path / "x.iso", [PAUSE_IMAGE]), registry.url)
    assert report.moved == [f"{NAME}:3.10: was {document.digest}, is {PAUSE_IMAGE.digest}"]


def test_a_fallback_tag_of_something_else_is_taken(tmp_path: Path, registry: FakeUpstream) -> None:
    tag = PAUSE_IMAGE.digest.replace(":", "-")
    registry.registry.put_manifest(NAME, ImageDocument(ARM.manifest, MANIFEST), tag=tag)
    pushed(iso(tmp_path / "x.iso", [PAUSE_IMAGE, sbom(PAUSE_IMAGE)]), registry.url)
    assert [entry["digest"] for entry in listed(registry, tag)] == [sbom(PAUSE_IMAGE).digest]


def test_a_mount_that_did_nothing_is_followed_by_the_blob(
    first: Path, registry: FakeUpstream
) -> None:
    def nothing(request: Request, reply: Reply) -> Reply | None:
        if "mount=" in request.query and reply.status == 201:
            name = request.path.removeprefix("/v2/").partition("/blobs/")[0]
            registry.registry._holds[name].discard(Digest.of(SHARED))
        return None

    registry.hooks.append(nothing)
    report = pushed(first, registry.url)
    assert (report.blobs_sent, report.blobs_mounted) == (BLOBS + 1, 0)
    assert whole(registry)


def test_what_a_registry_says_is_an_address_and_is_none_is_told(registry: FakeUpstream) -> None:
    def odd(request: Request, _reply: Reply) -> Reply | None:
        if request.method == "POST":
            return Reply(202, {"Location": "http://[x"})
        return refused(404, "X", "") if "/uploads/" in request.path else None

    registry.hooks.append(odd)
    with Http(QUICK, netrc=False) as http:
        writer = writer_of(http, registry)
        with pytest.raises(UpstreamError, match="names an address that is none"):
            writer.put_blob("x/y", Digest.of(b""), FilePart(Path("x"), 0, 0), lambda _: None)


def test_a_registry_that_is_not_there_is_no_matter_of_mirrors(first: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("retries: 0\n")
    done = call(
        *("site", "push", first, "--registry", "http://127.0.0.1:9", "--config", settings), code=4
    )
    assert hints(done) == ["hint: run the same command again; what is there is not sent again"]
