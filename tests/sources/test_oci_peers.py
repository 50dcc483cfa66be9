"""Our client, Debian's docker-registry and skopeo understand each other."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from isobuilder.demo import images
from isobuilder.demo.images import Image
from isobuilder.digest import Digest
from isobuilder.errors import UpstreamError
from isobuilder.formats.reference import ImageReference
from isobuilder.http import Http, HttpSettings
from isobuilder.model.config import Config
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry import ImagePin, RegistryClient
from isobuilder.sources.registry_auth import Credentials
from isobuilder.store import Store
from tests.fakes.images import simple
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream
from tests.sources.fetching import pull_images

USER, PASSWORD = "ann", "s3cret-word"
HASHED = "$2y$05$abcdefghijklmnopqrstuuEpHRRKIlpAGo.iP7Bpa.htQEJMAAnRe"
BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{root}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: lab, path: "{users}"}}}}
"""

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not (shutil.which("docker-registry") and shutil.which("skopeo")),
        reason="apt-get install docker-registry skopeo",
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        with suppress(OSError):
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401}
        return False


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Run Debian's registry behind a password and yield its address."""
    port = free_port()
    users = folder / "users"
    users.write_text(f"{USER}:{HASHED}\n")
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "data", port=port, users=users))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


def push(url: str, name: str, tag: str, image: Image) -> None:
    """Put an image into a registry by the distribution API, in the smallest possible way."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:

        def call(method: str, path: str, body: bytes = b"", kind: str = "") -> str:
            headers = {"Authorization": BASIC} | ({"Content-Type": kind} if kind else {})
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status in {201, 202}, (method, path, answer.status, said)
            return answer.getheader("Location", "")

        for blob in image.blobs:
            place = urlsplit(call("POST", f"/v2/{name}/blobs/uploads/"))
            target = f"{place.path}?{place.query}&digest={Digest.of(blob)}"
            call("PUT", target, blob, "application/octet-stream")
        for document in image.manifests:
            place_of = f"/v2/{name}/manifests/{document.digest}"
            call("PUT", place_of, document.data, document.media_type)
        call("PUT", f"/v2/{name}/manifests/{tag}", image.top.data, image.top.media_type)


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
