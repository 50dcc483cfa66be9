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
from isobuilder.demo.upstream import Upstream
from isobuilder.errors import InputError
from isobuilder.http import Http, HttpSettings
from isobuilder.model.config import Config, mirror_urls
from isobuilder.model.image import ImageReference
from isobuilder.model.kube import KubeVersion, core_images
from isobuilder.node.binary import inspect_binary
from isobuilder.sources.checksums import parse
from isobuilder.sources.fetch import Fetcher, Wanted
from isobuilder.sources.oci import ImagePin, RegistryClient, pull_images
from isobuilder.sources.registry_auth import Credentials
from isobuilder.store import Store

BOTH = pytest.mark.parametrize("architecture", content.ARCHITECTURES)
TEMPLATE = re.compile(r"{{ (\w+) }}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        content.fill(server)
        yield server


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(HttpSettings(), netrc=False) as opener:
        yield opener


def asked_for(architecture: str) -> list[dict[str, str]]:
    """Return what the recipe names under files and manifests, read by the simplest means."""
    text = content.recipe().decode()
    values = dict(re.findall(r'^  (\w+): "?([\w.]+)"?$', text, re.MULTILINE))
    values |= {"kubernetes": content.KUBERNETES, "arch": architecture}
    entries = []
    for block in re.split(r"^  - name: ", text, flags=re.MULTILINE)[1:]:
        entry = dict(re.findall(r'^    (\w+): "?([^"#\n]+?)"?(?:\s+#.*)?$', block, re.MULTILINE))
        entry["checksum"] = entry.get("checksum", "").replace("{{ url }}", entry["url"])
        entries.append(
            {key: TEMPLATE.sub(lambda m: values[m[1]], value) for key, value in entry.items()}
        )
    return entries


@BOTH
def test_every_file_of_the_recipe_is_there_with_its_checksum(
    upstream: Upstream, http: Http, tmp_path: Path, architecture: str
) -> None:
    config = Config(mirrors=upstream.mirrors)
    entries = asked_for(architecture)
    assert len(entries) == 12
    fetcher = Fetcher(Store(tmp_path), http)
    dialects = set()
    for entry in entries:
        digest = None
        if entry["checksum"]:
            said = http.get_small(mirror_urls(config, entry["checksum"])[0], limit=9999).body
            listed = parse(said, place=entry["checksum"])
            dialects.add(listed.dialect)
            promised = listed.checksum_for(entry["url"].rpartition("/")[2])
            digest = promised.hex
        urls = mirror_urls(config, entry["url"])
        blob = fetcher.fetch([Wanted(entry["path"], urls, None, None, 1 << 20)])[0]
        assert digest in {None, blob.digest.hex}
    assert len(dialects) >= 3


@BOTH
def test_programs_in_archives_are_of_the_architecture(
    upstream: Upstream, http: Http, architecture: str
) -> None:
    config = Config(mirrors=upstream.mirrors)
    expected = {
        "cni/": "loopback",
        "cri-tools/": "crictl",
        "etcd/": f"etcd-v{content.ETCD}-linux-{architecture}/etcdctl",
        "runtime/containerd-": "bin/ctr",
    }
    for prefix, member in expected.items():
        entry = next(e for e in asked_for(architecture) if e["path"].startswith(prefix))
        data = http.get_small(mirror_urls(config, entry["url"])[0], limit=1 << 20).body
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            found = archive.extractfile(member)
            assert found is not None
            assert archive.getmember(member).mode == 0o755
            facts = inspect_binary(io.BytesIO(found.read()), member)
        assert facts.architecture == architecture


@BOTH
def test_every_image_is_there_and_marked(
    upstream: Upstream, http: Http, tmp_path: Path, architecture: str
) -> None:
    core = core_images(KubeVersion(content.KUBERNETES)) or ()
    texts = [*core, content.PROVIDER_IMAGE, content.AUTOSCALER_IMAGE, content.CSI_IMAGE]
    for name in ("network", "headlamp", "provider", "autoscaler"):
        url = next(e["url"] for e in asked_for(architecture) if e["path"] == f"{name}.yaml")
        where = mirror_urls(Config(mirrors=upstream.mirrors), url)[0]
        text = http.get_small(where, limit=1 << 20).body.decode()
        texts += re.findall(r"image: (\S+)", text)
    client = RegistryClient(http, Config(mirrors=upstream.mirrors), Credentials(()))
    store = Store(tmp_path)
    pins = []
    for text in texts:
        fixed = text.replace("headlamp:latest", "headlamp:v0.40.1")
        found = client.resolve(ImageReference.parse(fixed), architecture)
        assert client.labels(found)[STAND_IN] == "true"
        pins.append(ImagePin(found.reference, found.digest))
    upstream.log.clear()
    pull_images(client, Fetcher(store, http), store, pins, architecture)
    assert len(upstream.log) == len({line.path.rpartition("/")[2] for line in upstream.log})


def test_two_upstreams_hold_the_same_bytes() -> None:
    first, second = Upstream(), Upstream()
    for server in (first, second):
        content.fill(server)
        server.close()
    assert vars(first)["_files"] == vars(second)["_files"]


def test_a_second_release_leaves_what_is_shared_as_it_was(upstream: Upstream) -> None:
    before = upstream.registry.manifest("registry.k8s.io/pause", "3.10.1")
    content.fill(upstream, "1.34.9")
    assert upstream.registry.manifest("registry.k8s.io/pause", "3.10.1") == before
    assert upstream.registry.tags("registry.k8s.io/kube-proxy") == ("v1.34.12", "v1.34.9")


def test_a_release_whose_images_are_not_known_is_refused() -> None:
    server = Upstream()
    with pytest.raises(InputError, match=r"1\.34\.99"):
        content.fill(server, "1.34.99")
    server.close()
