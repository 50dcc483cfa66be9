"""Our client, Debian's docker-registry and skopeo understand each other."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.demo import images
from isobuilder.demo.images import Image
from isobuilder.errors import UpstreamError
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.model.config import Config
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry import ImagePin, RegistryClient
from isobuilder.sources.registry_auth import Credentials
from isobuilder.store import Store
from tests.fakes.debian_registry import BASIC, PASSWORD, USER, docker_registry, push
from tests.fakes.images import simple
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream
from tests.sources.fetching import pull_images

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not (shutil.which("docker-registry") and shutil.which("skopeo")),
        reason="apt-get install docker-registry skopeo",
    ),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


def login_file(folder: Path, url: str) -> Path:
    auth = {"auth": BASIC.removeprefix("Basic ")}
    path = folder / "auth.json"
    path.write_text(json.dumps({"auths": {urlsplit(url).netloc: auth}}))
    return path


def skopeo(*argv: str | Path) -> str:
    done = subprocess.run(["skopeo", *argv], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def one_image(style: images.Style) -> Image:
    base = images.layer({"etc/base": bytes(range(256)) * 500})
    return simple("tool", shared=[base], style=style, attestations=style == "oci")


@pytest.mark.parametrize("style", ["docker", "oci"])
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_what_debians_registry_serves_is_what_skopeo_sees(
    registry: str, tmp_path: Path, style: images.Style, architecture: str
) -> None:
    image = one_image(style)
    push(registry, f"lab/{style}", "1", image)
    auth = login_file(tmp_path, registry)
    reference = ImageReference.parse(f"r.example/{style}:1")
    config = Config(mirrors={"r.example": (f"{registry}/lab",)})
    store = Store(tmp_path / "store")
    with Http(HttpSettings(), netrc=False) as opener:
        client = RegistryClient(opener, config, Credentials([auth]))
        found = client.resolve(reference, architecture)
        pin = ImagePin(reference, found.digest)
        pull_images(client, Fetcher(store, opener), store, [pin], architecture)
    assert found.index == image.top.digest
    copied = tmp_path / "copied"
    skopeo(
        *("copy", "--src-tls-verify=false", "--authfile", auth),
        *("--override-arch", architecture, "--override-os", "linux"),
        f"docker://{urlsplit(registry).netloc}/lab/{style}:1",
        f"dir:{copied}",
    )
    assert (copied / "manifest.json").read_bytes() == found.manifest_bytes
    for blob in found.manifest.blobs:
        held = store.find(blob.digest)
        assert held is not None
        assert held.read() == (copied / blob.digest.hex).read_bytes()


def test_debians_registry_refuses_who_has_no_password(registry: str, tmp_path: Path) -> None:
    config = Config(mirrors={"r.example": (registry,)})
    with Http(HttpSettings(), netrc=False) as opener:
        client = RegistryClient(opener, config, Credentials(()))
        with pytest.raises(UpstreamError, match="a login is needed"):
            client.resolve(ImageReference.parse("r.example/lab/none:1"), "amd64")


@pytest.mark.parametrize("style", ["docker", "oci"])
def test_skopeo_pulls_from_the_embedded_registry_and_pushes_to_it(
    tmp_path: Path, style: images.Style
) -> None:
    image = one_image(style)
    with FakeUpstream(login=TokenLogin({USER: PASSWORD})) as server:
        server.put_image("r.example/tool", "1", image)
        auth = login_file(tmp_path, server.url)
        host = urlsplit(server.url).netloc
        skopeo(
            *("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"),
            *("--authfile", auth),
            f"docker://{host}/r.example/tool:1",
            f"docker://{host}/private.example/tool:2",
        )
        pushed = server.registry.manifest("private.example/tool", "2")
        assert pushed == image.top
        listed = skopeo(
            *("list-tags", "--tls-verify=false", "--authfile", auth),
            f"docker://{host}/private.example/tool",
        )
        assert json.loads(listed)["Tags"] == ["2"]
