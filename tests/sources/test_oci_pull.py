"""Pinned images arrive in the store, each digest once, or an error says what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isobuilder.demo import images
from isobuilder.demo.images import Image
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry import ImagePin, RegistryClient
from isobuilder.sources.registry_auth import Credentials
from isobuilder.store import Store
from tests.fakes import hostile_registry as hostile
from tests.fakes.images import simple, zstd_layer
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream, Hook
from tests.sources.fetching import pull_images

BASE = images.layer({"base": bytes(range(256)) * 400}, compression="none")
SETTINGS = HttpSettings(retries=2, first_delay=0.001, retry_budget=5, stall_timeout=10)


@dataclass(frozen=True, slots=True)
class Site:
    """A store, and a way to fill it from the given upstreams."""

    store: Store
    pull: Callable[..., None]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, upstream: FakeUpstream) -> Iterator[Site]:
    store = Store(tmp_path / "store")
    with Http(SETTINGS, netrc=False) as http:

        def pull(
            *pins: ImagePin,
            architecture: str = "amd64",
            mirrors: tuple[str, ...] = (),
            jobs: int = 8,
        ) -> None:
            config = Config(mirrors={"r.example": mirrors or (f"{upstream.url}/r.example",)})
            client = RegistryClient(http, config, Credentials(()))
            pull_images(client, Fetcher(store, http, jobs=jobs), store, pins, architecture)

        yield Site(store, pull)


def put(server: FakeUpstream, name: str, **options: object) -> tuple[Image, ImagePin]:
    """Serve an image of ``name`` on the common base layer, and pin it for amd64."""
    image = simple(name, shared=[BASE], **options)  # type: ignore[arg-type]
    server.put_image(f"r.example/{name}", "1", image)
    reference = ImageReference.parse(f"r.example/{name}:1")
    return image, ImagePin(reference, image.manifests[0].digest)


def test_every_part_of_an_image_is_in_the_store(site: Site, upstream: FakeUpstream) -> None:
    image, pin = put(upstream, "a")
    site.pull(pin)
    wanted = {Digest.of(BASE.data), pin.digest}
    held = {digest for digest in map(Digest.of, image.blobs) if site.store.find(digest)}
    assert wanted - {pin.digest} <= held
    assert len(held) == 3  # of amd64: configuration, base, its own layer
    manifest = site.store.find(pin.digest)
    assert manifest is not None
    assert manifest.read() == image.manifests[0].data


def test_each_digest_is_on_the_wire_once(site: Site, upstream: FakeUpstream) -> None:
    pins = [put(upstream, name)[1] for name in "abcdef"]
    site.pull(*pins, *pins)
    asked = Counter(line.path.rpartition("/")[2] for line in upstream.log)
    assert set(asked.values()) == {1}
    assert len(asked) == 6 * 3 + 1  # manifest, configuration, own layer; one common base
    upstream.log.clear()
    site.pull(*pins)
    assert upstream.log == []


def test_blobs_start_with_the_largest(site: Site, upstream: FakeUpstream) -> None:
    pins = [put(upstream, name)[1] for name in "abc"]
    site.pull(*pins, jobs=1)
    sizes = [line.size for line in upstream.log if "/blobs/" in line.path]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == len(BASE.data)


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_wrong_bytes_are_refused_and_not_kept(
    site: Site, upstream: FakeUpstream, part: str
) -> None:
    _, pin = put(upstream, "a")
    upstream.hooks.append(hostile.only(part, hostile.flipped))
    with pytest.raises(IntegrityError, match=r"expected sha256:\w+, got sha256:\w+"):
        site.pull(pin)
    if part == "/manifests/":
        assert site.store.find(pin.digest) is None
    assert site.store.find(Digest.of(BASE.data)) is None


@pytest.mark.parametrize("fault", [hostile.truncated, hostile.busy(429), hostile.busy(503)])
def test_a_blob_that_fails_on_the_way_is_fetched_to_its_end(
    site: Site, upstream: FakeUpstream, fault: Hook
) -> None:
    _, pin = put(upstream, "a")
    upstream.hooks.append(hostile.only(str(Digest.of(BASE.data)), fault, times=2))
    site.pull(pin)
    blob = site.store.find(Digest.of(BASE.data))
    assert blob is not None
    assert blob.read() == BASE.data


def test_a_blob_that_breaks_off_goes_on_where_it_stopped(
    site: Site, upstream: FakeUpstream
) -> None:
    _, pin = put(upstream, "a")
    upstream.hooks.append(hostile.only(str(Digest.of(BASE.data)), hostile.truncated, times=1))
    site.pull(pin)
    tries = [line for line in upstream.log if line.path.endswith(Digest.of(BASE.data))]
    assert [line.status for line in tries] == [200, 206]
    assert sum(line.size for line in tries) == len(BASE.data)


def test_an_image_of_another_platform_than_wanted_is_refused(
    site: Site, upstream: FakeUpstream
) -> None:
    _, pin = put(upstream, "a")
    with pytest.raises(IntegrityError, match=r"r\.example/a:1: .*says linux/amd64"):
        site.pull(pin, architecture="arm64")


def test_an_index_where_a_manifest_was_pinned_is_refused(
    site: Site, upstream: FakeUpstream
) -> None:
    image, pin = put(upstream, "a")
    with pytest.raises(IntegrityError, match="got an index"):
        site.pull(ImagePin(pin.reference, image.top.digest))


def test_blobs_come_from_the_next_mirror_when_one_lacks_them(
    site: Site, upstream: FakeUpstream
) -> None:
    _, pin = put(upstream, "a")
    upstream.hooks.append(hostile.only(str(Digest.of(BASE.data)), hostile.gone))
    with FakeUpstream() as second:
        put(second, "a")
        site.pull(pin, mirrors=(f"{upstream.url}/r.example", f"{second.url}/r.example"))
        assert [line.path.rpartition("/")[2] for line in second.log] == [Digest.of(BASE.data)]


def test_an_image_that_is_nowhere_is_named_in_the_error(site: Site, upstream: FakeUpstream) -> None:
    pin = ImagePin(ImageReference.parse("r.example/none:1"), Digest.of(b"none"))
    with pytest.raises(UpstreamError, match="none"):
        site.pull(pin)


def test_a_token_that_expires_between_blobs_is_replaced(site: Site, upstream: FakeUpstream) -> None:
    login = upstream.login = TokenLogin()
    _, pin = put(upstream, "a")

    def revoke(request: Request, reply: Reply) -> None:
        if "/manifests/" in request.path and reply.status == 200:
            login.revoke_all()

    upstream.hooks.append(revoke)
    site.pull(pin)
    assert len(login.issued) == 2
    assert site.store.find(Digest.of(BASE.data)) is not None


def test_a_blob_at_a_cdn_is_fetched_without_the_token(site: Site, upstream: FakeUpstream) -> None:
    upstream.login = TokenLogin()
    _, pin = put(upstream, "a")
    with FakeUpstream() as cdn:
        upstream.hooks.append(hostile.only("/blobs/", hostile.moved_to(cdn)))
        site.pull(pin)
        assert [line.status for line in cdn.log] == [200] * 3
        assert not [line for line in cdn.log if "authorization" in line.headers]
    asked = [line for line in upstream.log if "/blobs/" in line.path]
    assert all("authorization" in line.headers for line in asked)


def test_layers_of_every_compression_travel_as_they_are(site: Site, upstream: FakeUpstream) -> None:
    files = {"a": b"x" * 99}
    layers = [images.layer(files, compression="none"), images.layer(files), zstd_layer(files)]
    styles: tuple[images.Style, ...] = ("docker", "oci")
    for style in styles:
        image = images.image(layers, style=style)
        upstream.put_image(f"r.example/{style}", "1", image)
        reference = ImageReference.parse(f"r.example/{style}:1")
        site.pull(ImagePin(reference, image.top.digest))
    for layer in layers:
        assert site.store.find(Digest.of(layer.data)) is not None
