"""A real registry behind a proxy that makes it odd: lock, fetch, build and verify are right.

What cannot be right is refused, with the place and what the registry said.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from isobuilder.demo import images
from isobuilder.demo.images import Image, ImageDocument
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, IsobuilderError, UpstreamError
from isobuilder.formats.oci import OCI_INDEX
from isobuilder.http.replies import Reply, Request
from isobuilder.model.config import Config
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.fakes import odd_registry as odd
from tests.fakes.debian_registry import docker_registry, installed, push
from tests.fakes.hostile import FileServer
from tests.fakes.images import simple, zstd_layer
from tests.fakes.odd_registry import Oddity, OddRegistry, Tokens
from tests.pipeline.world import Locked, World

pytestmark = pytest.mark.skipif(not installed(), reason="apt-get install docker-registry")

PAGE = Reply(200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")


@dataclass
class Site:
    world: World
    store: Store
    folder: Path
    behind: str
    front: OddRegistry
    number: int = 0

    def chain(self, oddity: Oddity, image: Image | None = None, *more: str) -> list[str]:
        """Lock, fetch, build and verify a recipe with an image of the odd registry.

        Returns what verify finds. ``more`` are further mirrors, asked after the registry.
        """
        self.number += 1
        name = f"tool-{self.number}"
        push(self.behind, f"team/{name}", "1", image or simple(name, style="oci"))
        folder = self.folder / name
        # All but the image is there already.
        shutil.copytree(self.store.root, folder / "store", copy_function=os.link)
        recipe = folder / "r.yaml"
        shutil.copyfile(self.world.recipe, folder / "base.yaml")
        recipe.write_text(
            f"schema: 1\nextends: base.yaml\narchitectures: [amd64]\n"
            f"images: {{extra: [odd.example/team/{name}:1]}}\n"
        )
        mirrors = {**self.world.upstream.mirrors, "odd.example": (self.front.url, *more)}
        config = Config(mirrors=mirrors, retries=2, retry_budget=5.0)
        self.front.oddity = oddity
        self.front.asked.clear()
        with open_session(config, Store(folder / "store")) as session:
            lock = lock_recipe(recipe, "amd64", session).lock
            built = build(lock, folder, session)
            return [str(one) for one in verify(built.iso, lock=lock, store=session.store).findings]


@pytest.fixture(scope="module")
def site(
    world: World,
    full_store: Store,
    locked: Locked,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("odd")
    with docker_registry(folder, login=False) as behind, OddRegistry(behind) as front:
        with open_session(world.config, full_store) as session:
            build(locked.lock, folder, session)
        yield Site(world, full_store, folder, behind, front)


def elsewhere(site: Site) -> str:
    """Another host for the same server."""
    return site.front.url.replace("127.0.0.1", "localhost")


# Each is given the site, whose address some of them need.
FINE: dict[str, Callable[[Site], Oddity]] = {
    "nothing odd": lambda site: lambda request, reply: None,
    "no digest header": lambda site: odd.with_headers(odd.manifests, Docker_Content_Digest=None),
    "sha512 header": lambda site: odd.with_headers(
        odd.manifests, Docker_Content_Digest="sha512:" + "0" * 128
    ),
    "text/plain": lambda site: odd.with_headers(odd.manifests, Content_Type="text/plain"),
    "charset": lambda site: odd.with_headers(
        odd.by_tag, Content_Type=f"{OCI_INDEX}; charset=utf-8"
    ),
    "no content type": lambda site: odd.with_headers(odd.manifests, Content_Type=None),
    "blobs as html": lambda site: odd.with_headers(odd.blobs, Content_Type="text/html"),
    "aws-chunked": lambda site: odd.with_headers(lambda r: True, Content_Encoding="aws-chunked"),
    "utf-8": lambda site: odd.with_headers(lambda r: True, Content_Encoding="utf-8"),
    "binary, identity": lambda site: odd.with_headers(
        lambda r: True, Content_Encoding="binary, identity"
    ),
    "blobs labelled gzip": lambda site: odd.with_headers(odd.blobs, Content_Encoding="gzip"),
    "no length": lambda site: odd.in_chunks,
    "no ranges": lambda site: odd.with_headers(odd.blobs, Accept_Ranges="none"),
    "breaks off": lambda site: odd.cut_once(),
    "429 for a second": lambda site: odd.patient(429, "1"),
    "429 until a date": lambda site: odd.patient(429, odd.in_a_second()),
    "503 twice": lambda site: odd.patient(503, "0", times=2),
    "301": lambda site: odd.moved(301, to=elsewhere(site)),
    "302": lambda site: odd.moved(302, to=elsewhere(site), ranges=False),
    "303": lambda site: odd.moved(303, to=elsewhere(site)),
    "307": lambda site: odd.moved(307, to=elsewhere(site)),
    "308": lambda site: odd.moved(308, to=elsewhere(site)),
    "relative": lambda site: odd.moved(307, to="", relative=True),
    "tokens": lambda site: Tokens(site.front.url),
    "access_token": lambda site: Tokens(site.front.url, names=("access_token",)),
    "both, expired": lambda site: Tokens(
        site.front.url, names=("token", "access_token"), more={"expires_in": 0, "issued_at": "x"}
    ),
    "one use each": lambda site: Tokens(site.front.url, uses=1, more={"expires_in": 3600}),
    "no scope told": lambda site: Tokens(
        site.front.url, challenge='bearer realm="{url}/token", service="odd"'
    ),
    "several challenges": lambda site: Tokens(
        site.front.url,
        challenge='Negotiate, Basic realm="x", Bearer service=odd,realm="{url}/token"',
    ),
    "401 to HEAD": lambda site: Tokens(site.front.url, only_head=True),
}


@pytest.mark.parametrize("name", FINE)
def test_an_odd_registry_is_borne(site: Site, name: str) -> None:
    assert site.chain(FINE[name](site)) == []


def test_a_token_is_for_one_repository_and_stays_with_the_registry(site: Site) -> None:
    tokens = Tokens(site.front.url)
    moved = odd.moved(307, to=elsewhere(site))

    def both(request: Request, reply: Reply) -> Reply | None:
        stored = request.path.startswith("/storage")
        return (None if stored else tokens(request, reply)) or moved(request, reply)

    assert site.chain(both) == []
    assert tokens.scopes == [f"repository:team/tool-{site.number}:pull"]


def variants() -> Image:
    """An index with variants, platforms nobody knows, and annotations."""
    both = simple("variants", style="oci")
    index = json.loads(both.top.data)
    other = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    entries = {item["platform"]["architecture"]: item for item in index["manifests"]}
    odd_ones = [
        {**entries["arm64"], "platform": other},
        {
            **entries["arm64"],
            "platform": {"os": "windows", "architecture": "amd64", "os.version": "10.0.1"},
        },
        {**entries["arm64"], "platform": {"os": "linux", "architecture": "amd64", "variant": "v3"}},
        {**entries["arm64"], "platform": {"os": "linux", "architecture": "riscv64"}},
    ]
    index["manifests"] = [*odd_ones, entries["amd64"], entries["arm64"]]
    top = ImageDocument(json.dumps(index).encode(), both.top.media_type)
    return replace(both, top=top)


ODD_IMAGES: dict[str, Callable[[], Image]] = {
    "zstd": lambda: images.index(
        {"amd64": images.image([zstd_layer({"a": b"1" * 300_000})], style="oci")}, style="oci"
    ),
    "plain": lambda: images.image([images.layer({"a": b"2"}, compression="none")], style="oci"),
    "no layers": lambda: images.image([], style="oci"),
    "the same layer twice": lambda: images.image([images.layer({"a": b"3"})] * 2, style="oci"),
    "an empty layer": lambda: images.image([images.layer({})], style="docker"),
    "attestations": lambda: simple("x", style="oci", attestations=True),
    "variants": variants,
    "no media type": lambda: images.image(
        [images.layer({"a": b"4"})], style="oci", media_type=False
    ),
}


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_an_odd_image_is_taken(site: Site, name: str) -> None:
    assert site.chain(lambda request, reply: None, ODD_IMAGES[name]()) == []


def mislabelled() -> Image:
    """An image whose layer says gzip and is none."""
    plain = images.layer({"a": b"5"}, compression="none")
    return images.image([replace(plain, compression="gzip")], style="oci")


def test_a_layer_whose_label_lies_is_taken_as_nodes_do_and_told(site: Site) -> None:
    (found,) = site.chain(lambda request, reply: None, mislabelled())
    assert "its bytes are not compressed; nodes go by the bytes" in found


def denied(status: int, code: str, message: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, {"Content-Type": "application/json"}, body)


SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []}).encode()
HELM = {
    "schemaVersion": 2,
    "config": {
        "mediaType": "application/vnd.cncf.helm.config.v1+json",
        "size": 2,
        "digest": str(Digest.of(b"{}")),
    },
    "layers": [],
}
REFUSED: dict[str, tuple[Oddity, type[IsobuilderError], str]] = {
    "a page": (odd.instead(odd.by_tag, PAGE), UpstreamError, "an HTML page that begins with"),
    "nothing": (odd.instead(odd.by_tag, Reply(200)), UpstreamError, "got nothing"),
    "text": (
        odd.instead(odd.by_tag, Reply(200, {}, b"OK")),
        UpstreamError,
        "2 bytes that begins with",
    ),
    "an error with 200": (
        odd.instead(odd.by_tag, replace(denied(500, "UNKNOWN", "try later"), status=200)),
        UpstreamError,
        "an error in place of an answer: UNKNOWN: try later",
    ),
    "cut JSON": (odd.instead(odd.by_tag, Reply(200, {}, b'{"a"')), IntegrityError, "not JSON"),
    "schema 1": (odd.instead(odd.by_tag, Reply(200, {}, SCHEMA_1)), InputError, "schema 1"),
    "a chart": (
        odd.instead(odd.by_tag, Reply(200, {}, json.dumps(HELM).encode())),
        InputError,
        "not a container image",
    ),
    "really gzip": (
        odd.instead(
            odd.by_tag,
            Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"schemaVersion": 2}')),
        ),
        UpstreamError,
        "encoded as gzip",
    ),
    "wrong digest header": (
        odd.with_headers(odd.by_tag, Docker_Content_Digest="sha256:" + "0" * 64),
        IntegrityError,
        "the registry says sha256:000",
    ),
    "a page for a blob": (odd.instead(odd.blobs, PAGE), IntegrityError, "HTML page"),
    "412": (
        odd.instead(odd.by_tag, denied(412, "DENIED", "vulnerable image")),
        UpstreamError,
        "412 Precondition Failed: DENIED: vulnerable image",
    ),
    "403": (
        odd.instead(odd.blobs, denied(403, "DENIED", "licence")),
        UpstreamError,
        "DENIED: licence",
    ),
    "404": (
        odd.instead(odd.by_tag, denied(404, "MANIFEST_UNKNOWN", "manifest unknown")),
        UpstreamError,
        "MANIFEST_UNKNOWN: manifest unknown",
    ),
    "429 for a day": (
        odd.instead(
            odd.by_tag,
            replace(
                denied(429, "TOOMANYREQUESTS", "pull limit"),
                headers={"Retry-After": "86400", "Content-Type": "application/json"},
            ),
        ),
        UpstreamError,
        "TOOMANYREQUESTS: pull limit",
    ),
    "301 in a circle": (
        odd.instead(odd.by_tag, Reply(301, {"Location": "?"})),
        UpstreamError,
        "redirects in a loop",
    ),
    "401 without a challenge": (
        odd.instead(odd.by_tag, Reply(401)),
        UpstreamError,
        "without a challenge",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_with_its_place(site: Site, name: str) -> None:
    oddity, kind, told = REFUSED[name]
    with pytest.raises(kind) as caught:
        site.chain(oddity)
    assert told in str(caught.value)
    assert f"odd.example/team/tool-{site.number}" in str(caught.value)
    assert site.front.url.removeprefix("http://") in str(caught.value)


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "429 for a day"])
def test_the_next_mirror_is_asked_when_one_is_of_no_use(site: Site, name: str) -> None:
    assert site.chain(REFUSED[name][0], None, site.behind) == []


def test_an_index_without_the_platform_is_a_mirror_of_no_use(site: Site) -> None:
    half = json.loads(simple("half", architectures=["arm64"], style="oci").top.data)
    oddity = odd.instead(odd.by_tag, Reply(200, {}, json.dumps(half).encode()))
    assert site.chain(oddity, None, site.behind) == []
    with pytest.raises(InputError, match="expected an image for linux/amd64, got linux/arm64"):
        site.chain(oddity)


def test_a_mirror_that_lacks_one_blob_gets_it_from_the_next(site: Site) -> None:
    gone = odd.instead(
        lambda request: odd.blobs(request) and not request.headers.get("range"),
        Reply(404),
        times=1,
    )
    assert site.chain(gone, None, site.behind) == []


@pytest.mark.parametrize("first", [b"<html>Log in</html>", b"", b"0" * 64 + b"  another\n"])
def test_a_checksum_file_of_no_use_is_asked_for_at_the_next_mirror(
    site: Site, files: FileServer, first: bytes
) -> None:
    files.add("one/tool", b"tool")
    files.add("one/SHA256SUMS", first)
    files.add("two/SHA256SUMS", f"{Digest.of(b'tool').hex}  tool\n".encode())
    site.number += 1
    recipe = site.folder / f"sums-{site.number}.yaml"
    address = "https://files.example"
    shutil.copyfile(site.world.recipe, site.folder / "base.yaml")
    recipe.write_text(
        f"schema: 1\nextends: base.yaml\narchitectures: [amd64]\nfiles:\n- {{name: tool, "
        f"path: tool, url: '{address}/tool', checksum: '{address}/SHA256SUMS'}}\n"
    )
    mirrors = {**site.world.upstream.mirrors, address: (files.url("one"), files.url("two"))}
    with open_session(Config(mirrors=mirrors, retries=0), site.store) as session:
        lock = lock_recipe(recipe, "amd64", session).lock
    tool = next(file for file in lock.files if file.name == "tool")
    assert tool.evidence.source == "checksum-file"


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def test_layers_that_may_not_be_passed_on_are_refused(site: Site) -> None:
    image = simple("foreign", architectures=["amd64"], style="docker")
    data = image.manifests[0].data.replace(
        b"application/vnd.docker.image.rootfs.diff.tar.gzip", FOREIGN.encode()
    )
    with pytest.raises(InputError, match="may not be redistributed"):
        site.chain(odd.instead(odd.by_tag, Reply(200, {}, data)))
