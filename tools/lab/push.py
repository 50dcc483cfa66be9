"""Filling a registry over the OCI distribution API."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from tools.lab.images import Descriptor, Tagged
from tools.lab.place import LabError


def push(images: Iterable[Tagged], blobs: Path, port: int) -> None:
    """Push every image to the registry on ``port``; ``registry.k8s.io/pause`` keeps its whole name.

    Raises:
        LabError: the registry refuses something; the text has its answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        pusher = _Pusher(connection, blobs)
        for image in images:
            repository, tag = image.reference.rsplit(":", 1)
            for blob in image.blobs:
                pusher.blob(repository, blob)
            for manifest in image.manifests[:-1]:
                pusher.manifest(repository, manifest, manifest.digest)
            pusher.manifest(repository, image.top, tag)


class _Pusher:
    def __init__(self, connection: http.client.HTTPConnection, blobs: Path) -> None:
        self._connection = connection
        self._blobs = blobs
        self._home: dict[str, str] = {}  # where a blob already is

    def blob(self, repository: str, blob: Descriptor) -> None:
        place = f"/v2/{repository}/blobs"
        if self._call("HEAD", f"{place}/{blob.digest}", {200, 404})[0] == 200:
            return
        known = self._home.setdefault(blob.digest, repository)
        if known != repository:
            query = urlencode({"mount": blob.digest, "from": known})
            if self._call("POST", f"{place}/uploads/?{query}", {201, 202})[0] == 201:
                return
        _, location = self._call("POST", f"{place}/uploads/", {202})
        parts = urlsplit(location)
        query = f"{parts.query}&" if parts.query else ""
        target = f"{parts.path}?{query}{urlencode({'digest': blob.digest})}"
        with self._content(blob).open("rb") as content:
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(blob.size),
            }
            self._call("PUT", target, {201}, content, headers)

    def manifest(self, repository: str, manifest: Descriptor, name: str) -> None:
        self._call(
            "PUT",
            f"/v2/{repository}/manifests/{name}",
            {201},
            self._content(manifest).read_bytes(),
            {"Content-Type": manifest.media_type},
        )

    def _content(self, item: Descriptor) -> Path:
        return self._blobs / item.digest.removeprefix("sha256:")

    def _call(
        self,
        method: str,
        path: str,
        expected: set[int],
        body: BinaryIO | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        self._connection.request(method, path, body, dict(headers or {}))
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in expected:
            raise LabError(f"registry: {method} {path}: {answer.status} {said[:300]!r}")
        return answer.status, answer.getheader("Location", "")
