"""The embedded upstream holds everything its recipe asks for, for both architectures."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo import content
from isobuilder.demo.images import STAND_IN
from isobuilder.errors import InputError
from isobuilder.formats.elf import inspect_binary
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config, mirror_urls
from isobuilder.model.loading import load_recipe
from isobuilder.model.recipe import FileEntry, ManifestEntry
from isobuilder.rules.pairings import core_images
from isobuilder.sources.checksums import parse
from isobuilder.sources.fetch import Download, Fetcher
from isobuilder.sources.registry import ImagePin, RegistryClient
from isobuilder.sources.registry_auth import Credentials
from isobuilder.store import Store
from tests.fakes.upstream import FakeUpstream
from tests.sources.fetching import pull_images

BOTH = pytest.mark.parametrize("architecture", content.ARCHITECTURES)


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        content.fill(server)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(HttpSettings(), netrc=False) as opener:
        yield opener


@pytest.fixture(params=[0, 1], ids=["plain", "csi"])
def recipe_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return content.write_recipes(tmp_path)[request.param]


@BOTH
def test_every_file_of_the_recipe_is_there_with_its_checksum(
    upstream: FakeUpstream, http: Http, tmp_path: Path, recipe_path: Path, architecture: str
) -> None:
    config = Config(mirrors=upstream.mirrors)
    recipe = load_recipe(recipe_path, architecture)
    fetcher = Fetcher(Store(tmp_path / "store"), http)
    dialects = set()
    entries: list[FileEntry | ManifestEntry] = [*recipe.files, *recipe.manifests]
    for entry in entries:
        urls = mirror_urls(config, entry.source)
        blob = fetcher.fetch([Download(entry.path, urls, None, None, 1 << 20)])[0]
        if entry.checksum:
            said = http.get_small(mirror_urls(config, entry.checksum)[0], limit=9999).body
            listed = parse(said, place=entry.checksum)
            dialects.add(listed.dialect)
            assert listed.checksum_for(entry.source.rpartition("/")[2]).hex == blob.digest.hex
    assert len(dialects) >= 3


@BOTH
def test_programs_in_archives_are_of_the_architecture(
    upstream: FakeUpstream, http: Http, tmp_path: Path, architecture: str
) -> None:
    config = Config(mirrors=upstream.mirrors)
    expected = {
        "cni-plugins": "loopback",
        "crictl": "crictl",
        "etcd": f"etcd-v{content.ETCD}-linux-{architecture}/etcdctl",
        "containerd": "bin/ctr",
    }
    recipe = load_recipe(content.write_recipes(tmp_path)[0], architecture)
    for entry in (entry for entry in recipe.files if entry.name in expected):
        member = expected[entry.name]
        data = http.get_small(mirror_urls(config, entry.source)[0], limit=1 << 20).body
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            found = archive.extractfile(member)
            assert found is not None
            assert archive.getmember(member).mode == 0o755
            facts = inspect_binary(io.BytesIO(found.read()), member)
        assert facts.architecture == architecture


@BOTH
def test_every_image_is_there_and_marked(
    upstream: FakeUpstream, http: Http, tmp_path: Path, recipe_path: Path, architecture: str
) -> None:
    config = Config(mirrors=upstream.mirrors)
    recipe = load_recipe(recipe_path, architecture)
    texts = list(core_images(recipe.kubernetes) or ())
    texts += [component.image for component in recipe.components.values()]
    for entry in recipe.manifests:
        where = mirror_urls(config, entry.source)[0]
        text = http.get_small(where, limit=1 << 20).body.decode()
        named = re.findall(r"image: (\S+)", text)
        texts += [recipe.images.replace.get(name, name) for name in named]
    client = RegistryClient(http, config, Credentials(()))
    pins = []
    for text in texts:
        found = client.resolve(ImageReference.parse(text), architecture)
        assert client.labels(found)[STAND_IN] == "true"
        pins.append(ImagePin(found.reference, found.digest))
    upstream.log.clear()
    store = Store(tmp_path / "store")
    pull_images(client, Fetcher(store, http), store, pins, architecture)
    assert len(upstream.log) == len({line.path.rpartition("/")[2] for line in upstream.log})


def test_two_upstreams_hold_the_same_bytes() -> None:
    first, second = FakeUpstream(), FakeUpstream()
    for server in (first, second):
        content.fill(server)
        server.close()
    assert vars(first)["_files"] == vars(second)["_files"]


def test_a_second_release_leaves_what_is_shared_as_it_was(upstream: FakeUpstream) -> None:
    before = upstream.registry.manifest("registry.k8s.io/pause", "3.10.1")
    content.fill(upstream, "1.34.9")
    assert upstream.registry.manifest("registry.k8s.io/pause", "3.10.1") == before
    assert upstream.registry.tags("registry.k8s.io/kube-proxy") == ("v1.34.12", "v1.34.9")


def test_a_release_whose_images_are_not_known_is_refused() -> None:
    server = FakeUpstream()
    with pytest.raises(InputError, match=r"1\.34\.99"):
        content.fill(server, "1.34.99")
    server.close()
