"""The embedded OCI registry: what was put in can be pulled, and tags can be listed.

Source: OCI distribution specification 1.1. Everything is kept in memory.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from urllib.parse import quote

from isobuilder.demo.images import EPOCH, Image, ImageDocument
from isobuilder.digest import Digest
from isobuilder.http.replies import Reply, Request, content_reply
from isobuilder.site.registry import refused
from isobuilder.text import whole_number

_ROUTE = re.compile(r"/v2/(?P<name>[^?]+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>[^/]*)")


class DemoRegistry:
    """Repositories, their manifests and tags, and the blobs each of them holds."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._holds: defaultdict[str, set[Digest]] = defaultdict(set)
        self._manifests: defaultdict[str, dict[str, ImageDocument]] = defaultdict(dict)

    @property
    def repositories(self) -> tuple[str, ...]:
        """The name of every repository that has a manifest."""
        return tuple(sorted(name for name, held in self._manifests.items() if held))

    def tags(self, name: str) -> tuple[str, ...]:
        """Return the tags of a repository."""
        return tuple(sorted(ref for ref in self._manifests.get(name, {}) if ":" not in ref))

    def manifest(self, name: str, reference: str) -> ImageDocument | None:
        """Return what a tag or digest names, or None."""
        return self._manifests.get(name, {}).get(reference)

    def put_image(self, name: str, tag: str, image: Image) -> None:
        """Serve ``image`` as ``name:tag`` and under its digests."""
        for blob in image.blobs:
            self.put_blob(name, blob)
        for document in (*image.manifests, image.top):
            self.put_manifest(name, document)
        self.put_manifest(name, image.top, tag=tag)

    def put_blob(self, name: str, content: bytes) -> Digest:
        """Hold a blob in the repository ``name`` and return what it is asked for by."""
        digest = Digest.of(content)
        self._blobs[digest] = content
        self._holds[name].add(digest)
        return digest

    def put_manifest(self, name: str, document: ImageDocument, *, tag: str | None = None) -> None:
        """Hold a manifest or index under its digest, and under ``tag`` if given."""
        self._manifests[name][document.digest] = document
        if tag is not None:
            self._manifests[name][tag] = document

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request below ``/v2/``."""
        if request.path in {"/v2", "/v2/"}:
            return Reply(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        match = _ROUTE.fullmatch(request.path)
        if match is None:
            return refused(404, "UNSUPPORTED", f"no such address: {request.path}")
        if request.method not in {"GET", "HEAD"}:
            return refused(405, "UNSUPPORTED", "there is nothing to change here")
        part = {
            "manifests": self._on_manifest,
            "blobs": self._on_blob,
            "tags": self._on_tags,
        }[match["kind"]]
        return part(request, match["name"], match["rest"])

    def _on_manifest(self, request: Request, name: str, reference: str) -> Reply:
        document = self.manifest(name, reference)
        if document is None:
            return refused(404, "MANIFEST_UNKNOWN", f"no manifest {name}:{reference}")
        return _by_digest(request, document.data, document.media_type)

    def _on_blob(self, request: Request, name: str, reference: str) -> Reply:
        try:
            digest = Digest(reference)
        except ValueError:
            return refused(400, "DIGEST_INVALID", f"not a digest: {reference}")
        if digest not in self._holds.get(name, set()):
            return refused(404, "BLOB_UNKNOWN", f"no blob {digest} in {name}")
        return _by_digest(request, self._blobs[digest], "application/octet-stream")

    def _on_tags(self, request: Request, name: str, part: str) -> Reply:
        if part != "list" or not self._manifests.get(name):
            return refused(404, "NAME_UNKNOWN", f"no repository {name}")
        last, count = request.first("last"), whole_number(request.first("n") or "")
        tags = [tag for tag in self.tags(name) if last is None or tag > last]
        headers = {"Content-Type": "application/json"}
        if count is not None and len(tags) > count:
            tags = tags[:count]
            after = quote(tags[-1]) if tags else ""
            headers["Link"] = f'</v2/{quote(name)}/tags/list?n={count}&last={after}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": name, "tags": tags}).encode())


def _by_digest(request: Request, data: bytes, content_type: str) -> Reply:
    digest = Digest.of(data)
    reply = content_reply(
        request, data, etag=f'"{digest}"', modified=EPOCH, content_type=content_type
    )
    reply.headers["Docker-Content-Digest"] = digest
    return reply
