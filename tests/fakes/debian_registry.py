"""Debian's docker-registry, started for a test, and the smallest way to put an image into it."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from isobuilder.demo.images import Image
from isobuilder.digest import Digest
from tools.lab.servers import free_port

USER, PASSWORD = "ann", "s3cret-word"
BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_HASHED = "$2y$05$abcdefghijklmnopqrstuuEpHRRKIlpAGo.iP7Bpa.htQEJMAAnRe"
_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{root}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_AUTH = 'auth: {{htpasswd: {{realm: lab, path: "{users}"}}}}\n'


def installed() -> bool:
    return shutil.which("docker-registry") is not None


@contextmanager
def docker_registry(folder: Path, *, login: bool = True) -> Iterator[str]:
    """Run it, behind a password if ``login``, and yield its address."""
    port = free_port()
    users = folder / "users"
    users.write_text(f"{USER}:{_HASHED}\n")
    config = folder / "registry.yml"
    text = _CONFIG + (_AUTH if login else "")
    config.write_text(text.format(root=folder / "data", port=port, users=users))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def push(url: str, name: str, tag: str, image: Image) -> None:
    """Put an image into a registry by the distribution API."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:

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


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        with suppress(OSError):
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401}
        return False
