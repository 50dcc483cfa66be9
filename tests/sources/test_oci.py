"""Image references become pinned images, on good registries and on hostile ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from isobuilder.demo import images
from isobuilder.demo.images import Image, ImageDocument
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, UpstreamError
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config
from isobuilder.sources.registry import RegistryClient
from isobuilder.sources.registry_auth import Credentials
from tests.fakes import hostile_registry as hostile
from tests.fakes.images import simple
from tests.fakes.upstream import FakeUpstream, Hook

PAUSE = ImageReference.parse("registry.k8s.io/pause:3.10.1")
SETTINGS = HttpSettings(retries=2, first_delay=0.001, retry_budget=5, stall_timeout=10)

ClientOf = Callable[..., RegistryClient]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(SETTINGS, netrc=False) as opener:
        yield opener


@pytest.fixture
def client_of(http: Http) -> ClientOf:
    def make(*servers: FakeUpstream, credentials: Credentials | None = None) -> RegistryClient:
        mirrors = {
            "registry.k8s.io": tuple(f"{server.url}/registry.k8s.io" for server in servers),
            "docker.io": tuple(f"{server.url}/docker.io" for server in servers),
        }
        return RegistryClient(http, Config(mirrors=mirrors), credentials or Credentials(()))

    return make


def put(server: FakeUpstream, image: Image, tag: str = "3.10.1") -> None:
    server.put_image("registry.k8s.io/pause", tag, image)


@pytest.mark.parametrize("style", ["docker", "oci"])
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_tag_becomes_index_manifest_and_layers(
    upstream: FakeUpstream, client_of: ClientOf, style: images.Style, architecture: str
) -> None:
    image = simple("pause", style=style, attestations=True, labels={"a": "b"})
    put(upstream, image)
    client = client_of(upstream)
    found = client.resolve(PAUSE, architecture)
    expected = image.manifests[["amd64", "arm64"].index(architecture)]
    assert (found.index, found.digest) == (image.top.digest, expected.digest)
    assert found.manifest_bytes == expected.data
    assert found.config.platform.architecture == architecture
    assert client.labels(found)["a"] == "b"
    assert found.size == len(expected.data) + sum(blob.size for blob in found.manifest.blobs)


def test_an_image_of_one_platform_has_no_index(upstream: FakeUpstream, client_of: ClientOf) -> None:
    image = images.image([images.layer({"pause": b"1"})])
    put(upstream, image)
    found = client_of(upstream).resolve(PAUSE, "amd64")
    assert (found.index, found.digest) == (None, image.top.digest)


def test_manifests_without_media_type_are_known_by_their_content(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    single = images.image([images.layer({"pause": b"1"})], style="oci", media_type=False)
    top = hostile.edited(
        images.index({"amd64": single}, style="oci").top, lambda body: body.pop("mediaType")
    )
    image = Image(replace(top, media_type="application/json"), single.manifests, single.blobs)
    put(upstream, image)
    upstream.hooks.append(hostile.only("/manifests/", hostile.header("Content-Type", "")))
    found = client_of(upstream).resolve(PAUSE, "amd64")
    assert (found.index, found.digest) == (top.digest, single.top.digest)


def test_one_of_a_thousand_entries_is_found(upstream: FakeUpstream, client_of: ClientOf) -> None:
    image = simple("pause", architectures=["amd64"])

    def crowd(body: dict[str, Any]) -> None:
        other = dict(body["manifests"][0], digest="sha256:" + 64 * "0")
        body["manifests"] = [
            dict(other, platform={"os": "windows", "architecture": "amd64", "variant": str(n)})
            for n in range(1000)
        ] + body["manifests"]

    put(upstream, replace(image, top=hostile.edited(image.top, crowd)))
    assert client_of(upstream).resolve(PAUSE, "amd64").digest == image.manifests[0].digest


def test_an_index_within_an_index_is_followed_once_and_not_further(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    image = simple("pause")
    tops = [image.top]
    for _ in range(2):
        inner = tops[-1]

        def nest(body: dict[str, Any], inner: ImageDocument = inner) -> None:
            body["manifests"] = [inner.entry()]

        tops.append(hostile.edited(image.top, nest))
    every = (*image.manifests, *tops)
    for tag, top in zip(("two", "three"), tops[1:], strict=True):
        put(upstream, Image(top, every, image.blobs), tag)
    client = client_of(upstream)
    found = client.resolve(replace(PAUSE, tag="two"), "amd64")
    assert (found.index, found.digest) == (tops[1].digest, image.manifests[0].digest)
    with pytest.raises(IntegrityError, match="more than 2 indexes within each other"):
        client.resolve(replace(PAUSE, tag="three"), "amd64")


def test_schema_1_is_refused_with_a_way_out(upstream: FakeUpstream, client_of: ClientOf) -> None:
    top = hostile.schema_1("pause")
    put(upstream, Image(top, (top,), ()))
    with pytest.raises(InputError, match="schema 1") as caught:
        client_of(upstream).resolve(PAUSE, "amd64")
    assert caught.value.hint is not None


def test_another_architecture_than_the_index_promises_is_refused(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    arm = images.image([images.layer({"pause": b"1"})], architecture="arm64")
    put(upstream, images.index({"amd64": arm}))
    with pytest.raises(IntegrityError, match="its configuration says linux/arm64"):
        client_of(upstream).resolve(PAUSE, "amd64")


def test_an_architecture_that_is_not_there_is_the_authors_to_mend(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    put(upstream, simple("pause", architectures=["amd64"], attestations=True))
    with pytest.raises(InputError, match="expected an image for linux/arm64, got linux/amd64"):
        client_of(upstream).resolve(PAUSE, "arm64")


@pytest.mark.parametrize("pinned", ["index", "manifest"])
def test_a_pinned_digest_is_compared_with_the_bytes(
    upstream: FakeUpstream, client_of: ClientOf, pinned: str
) -> None:
    image = simple("pause")
    put(upstream, image)
    document = image.top if pinned == "index" else image.manifests[0]
    reference = PAUSE.with_digest(document.digest)
    assert client_of(upstream).resolve(reference, "amd64").digest == image.manifests[0].digest
    upstream.hooks.append(hostile.only(f"/manifests/{document.digest}", hostile.flipped))
    with pytest.raises(IntegrityError, match=f"expected {document.digest}, got sha256:"):
        client_of(upstream).resolve(reference, "amd64")


@pytest.mark.parametrize("part", ["manifests/sha256", "blobs/sha256"])
def test_what_an_index_names_is_compared_with_the_bytes(
    upstream: FakeUpstream, client_of: ClientOf, part: str
) -> None:
    put(upstream, simple("pause"))
    upstream.hooks.append(hostile.only(part, hostile.flipped))
    with pytest.raises(IntegrityError, match=r"expected sha256:\w+, got sha256:\w+"):
        client_of(upstream).resolve(PAUSE, "amd64")


def test_a_wrong_size_in_the_index_is_refused(upstream: FakeUpstream, client_of: ClientOf) -> None:
    image = simple("pause", architectures=["amd64"])

    def shrink(body: dict[str, Any]) -> None:
        body["manifests"][0]["size"] -= 1

    put(upstream, replace(image, top=hostile.edited(image.top, shrink)))
    with pytest.raises(IntegrityError, match=r"expected \d+ bytes, got \d+"):
        client_of(upstream).resolve(PAUSE, "amd64")


def test_a_registry_that_contradicts_itself_is_refused_where_nothing_is_pinned(
    upstream: FakeUpstream, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    image = simple("pause")
    put(upstream, image)
    lie = hostile.header("Docker-Content-Digest", "sha256:" + 64 * "0")
    upstream.hooks.append(hostile.only("/manifests/", lie))
    with pytest.raises(IntegrityError, match="the registry says sha256:000"):
        client_of(upstream).resolve(PAUSE, "amd64")
    with caplog.at_level(logging.WARNING):
        found = client_of(upstream).resolve(PAUSE.with_digest(image.top.digest), "amd64")
    assert found.index == image.top.digest
    assert "the right bytes" in caplog.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (hostile.page, UpstreamError),
        (hostile.endless, UpstreamError),
        (hostile.truncated, UpstreamError),
        (hostile.gone, UpstreamError),
        (hostile.busy(503), UpstreamError),
        (hostile.header("Content-Encoding", "gzip"), UpstreamError),
    ],
)
def test_a_failing_registry_is_an_error_that_names_the_place(
    upstream: FakeUpstream,
    client_of: ClientOf,
    fault: Hook,
    error: type[Exception],
) -> None:
    put(upstream, simple("pause"))
    upstream.hooks.append(hostile.only("/manifests/3.10.1", fault))
    with pytest.raises(error, match="pause"):
        client_of(upstream).resolve(PAUSE, "amd64")


@pytest.mark.parametrize("fault", [hostile.busy(429), hostile.busy(503), hostile.truncated])
def test_a_passing_fault_is_passed_over(
    upstream: FakeUpstream, client_of: ClientOf, fault: Hook
) -> None:
    put(upstream, simple("pause"))
    upstream.hooks.append(hostile.only("/manifests/", fault, times=2))
    assert client_of(upstream).resolve(PAUSE, "amd64").index is not None
    assert len(upstream.exchanges("GET", under="/v2/")) == 5


def test_mirrors_are_asked_in_order_until_one_has_the_right_bytes(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    image = simple("pause")
    reference = PAUSE.with_digest(image.top.digest)
    with FakeUpstream() as empty, FakeUpstream() as wrong:
        put(wrong, image)
        wrong.hooks.append(hostile.only("/manifests/", hostile.flipped))
        put(upstream, image)
        found = client_of(empty, wrong, upstream).resolve(reference, "amd64")
        assert found.index == image.top.digest
        assert [line.status for line in empty.log] == [404, 404, 404]
        # Its manifests are wrong, its configuration is not: the last one is not asked for it.
        assert [line.path.split("/")[4] for line in wrong.log] == ["manifests"] * 2 + ["blobs"]
        assert len(upstream.log) == 2


def test_when_every_mirror_fails_each_is_named(client_of: ClientOf) -> None:
    with FakeUpstream() as one, FakeUpstream() as two:
        with pytest.raises(UpstreamError) as caught:
            client_of(one, two).resolve(PAUSE, "amd64")
        text = str(caught.value)
        assert text.startswith(
            "registry.k8s.io/pause:3.10.1: none of 2 addresses delivers: http://127.0.0.1:"
        )
        assert all(f":{server.port}/v2/registry.k8s.io/pause" in text for server in (one, two))


def test_wrong_bytes_are_reported_before_missing_ones(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    put(upstream, simple("pause"))
    upstream.hooks.append(hostile.only("/manifests/sha256", hostile.flipped))
    with FakeUpstream() as empty, pytest.raises(IntegrityError):
        client_of(upstream, empty).resolve(PAUSE, "amd64")


def test_short_names_of_docker_hub_are_written_out(
    upstream: FakeUpstream, client_of: ClientOf
) -> None:
    upstream.put_image("docker.io/library/nginx", "1.27", simple("nginx"))
    client_of(upstream).resolve(ImageReference.parse("nginx:1.27"), "amd64")
    assert upstream.log[0].path == "/v2/docker.io/library/nginx/manifests/1.27"


def test_a_registry_tree_on_disk_is_a_mirror_too(tmp_path: Any) -> None:
    image = simple("pause")
    folder = tmp_path / "v2" / "pause"
    for document in (image.top, *image.manifests):
        for name in (document.digest, *(["3.10.1"] if document == image.top else [])):
            path = folder / "manifests" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(document.data)
    for blob in image.blobs:
        path = folder / "blobs" / Digest.of(blob)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    config = Config(mirrors={"registry.k8s.io": (tmp_path.as_uri(),)})
    with Http(config.http) as http:
        found = RegistryClient(http, config, Credentials(())).resolve(PAUSE, "arm64")
    assert found.digest == image.manifests[1].digest
