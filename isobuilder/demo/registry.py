"""The embedded OCI registry: pull, push, tags, and a login if one is set.

Source: OCI distribution specification 1.1. Everything is kept in memory or read from the disk.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from isobuilder.demo.images import Document, Image
from isobuilder.demo.logins import Login
from isobuilder.demo.server import Reply, Request, content_reply
from isobuilder.digest import Digest

_ROUTE = re.compile(
    r"/v2/(?P<name>[^?]+?)/(?P<kind>manifests|blobs/uploads|blobs|tags)/(?P<rest>[^/]*)"
)


class Registry:
    """Repositories, their manifests and tags, and the blobs each of them holds."""

    def __init__(self) -> None:
        self.login: Login | None = None
        self._blobs: dict[Digest, bytes | Path] = {}
        self._holds: defaultdict[str, set[Digest]] = defaultdict(set)
        self._manifests: defaultdict[str, dict[str, Document]] = defaultdict(dict)
        self._uploads: dict[str, bytearray] = {}
        self._guard = threading.Lock()

    @property
    def repositories(self) -> tuple[str, ...]:
        """The name of every repository that has a manifest."""
        return tuple(sorted(name for name, held in self._manifests.items() if held))

    def tags(self, name: str) -> tuple[str, ...]:
        """Return the tags of a repository."""
        return tuple(sorted(ref for ref in self._manifests.get(name, {}) if ":" not in ref))

    def manifest(self, name: str, reference: str) -> Document | None:
        """Return what a tag or digest names, or None."""
        return self._manifests.get(name, {}).get(reference)

    def put_image(self, name: str, tag: str, image: Image) -> None:
        """Serve ``image`` as ``name:tag`` and under its digests."""
        for blob in image.blobs:
            self.put_blob(name, blob)
        for document in (*image.manifests, image.top):
            self.put_manifest(name, document)
        self.put_manifest(name, image.top, tag=tag)

    def put_blob(self, name: str, content: bytes | Path) -> Digest:
        """Hold a blob in the repository ``name``; a path is read when it is asked for."""
        digest = Digest.of_file(content) if isinstance(content, Path) else Digest.of(content)
        with self._guard:
            self._blobs[digest] = content
            self._holds[name].add(digest)
        return digest

    def put_manifest(self, name: str, document: Document, *, tag: str | None = None) -> None:
        """Hold a manifest or index under its digest, and under ``tag`` if given."""
        with self._guard:
            self._manifests[name][document.digest] = document
            if tag is not None:
                self._manifests[name][tag] = document

    def answer(self, request: Request, url: str) -> Reply:
        """Return the answer to a request below ``/v2/``; ``url`` is the registry's own address."""
        match = _ROUTE.fullmatch(request.path)
        name, action = (match["name"], _action(request)) if match else ("", "pull")
        if self.login and (refusal := self.login.refuse(request, name, action, url)):
            return refusal
        if request.path in {"/v2", "/v2/"}:
            return Reply(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        if match is None:
            return _error(404, "UNSUPPORTED", f"no such address: {request.path}")
        part = {
            "manifests": self._on_manifest,
            "blobs": self._on_blob,
            "blobs/uploads": self._on_upload,
            "tags": self._on_tags,
        }[match["kind"]]
        return part(request, name, match["rest"])

    def _on_manifest(self, request: Request, name: str, reference: str) -> Reply:
        if request.method == "PUT":
            return self._push_manifest(request, name, reference)
        document = self.manifest(name, reference)
        if document is None:
            return _error(404, "MANIFEST_UNKNOWN", f"no manifest {name}:{reference}")
        if request.method == "DELETE":
            with self._guard:
                held = self._manifests[name]
                for key in [key for key, value in held.items() if value == document]:
                    if ":" in reference or key == reference:
                        del held[key]
            return Reply(202)
        headers = {
            "Content-Type": document.media_type,
            "Docker-Content-Digest": document.digest,
            "ETag": f'"{document.digest}"',
        }
        return Reply(200, headers, document.data)

    def _push_manifest(self, request: Request, name: str, reference: str) -> Reply:
        media_type = request.headers.get("content-type", "").partition(";")[0]
        document = Document(request.body, media_type)
        if ":" in reference and reference != document.digest:
            return _error(400, "DIGEST_INVALID", f"the content is {document.digest}")
        try:
            missing = [
                digest for digest in _needs(request.body) if not self._has(name, Digest(digest))
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _error(400, "MANIFEST_INVALID", str(error))
        if missing:
            return _error(404, "MANIFEST_BLOB_UNKNOWN", f"push {missing[0]} first")
        self.put_manifest(name, document, tag=None if ":" in reference else reference)
        place = f"/v2/{quote(name)}/manifests/{document.digest}"
        return Reply(201, {"Location": place, "Docker-Content-Digest": document.digest})

    def _has(self, name: str, digest: Digest) -> bool:
        return digest in self._holds[name] or digest in self._manifests[name]

    def _on_blob(self, request: Request, name: str, reference: str) -> Reply:
        try:
            digest = Digest(reference)
        except ValueError:
            return _error(400, "DIGEST_INVALID", f"not a digest: {reference}")
        if digest not in self._holds.get(name, set()):
            return _error(404, "BLOB_UNKNOWN", f"no blob {digest} in {name}")
        if request.method == "DELETE":
            self._holds[name].discard(digest)
            return Reply(202)
        reply = content_reply(
            request,
            self._blobs[digest],
            etag=f'"{digest}"',
            content_type="application/octet-stream",
        )
        reply.headers["Docker-Content-Digest"] = digest
        return reply

    def _on_tags(self, request: Request, name: str, part: str) -> Reply:
        if part != "list" or not self._manifests.get(name):
            return _error(404, "NAME_UNKNOWN", f"no repository {name}")
        last, count = request.first("last"), request.first("n")
        tags = [tag for tag in self.tags(name) if last is None or tag > last]
        headers = {"Content-Type": "application/json"}
        if count is not None and count.isdigit() and len(tags) > int(count):
            tags = tags[: int(count)]
            after = quote(tags[-1]) if tags else ""
            headers["Link"] = f'</v2/{quote(name)}/tags/list?n={count}&last={after}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": name, "tags": tags}).encode())

    def _on_upload(self, request: Request, name: str, session: str) -> Reply:
        if request.method == "POST":
            return self._begin_upload(request, name)
        with self._guard:
            data = self._uploads.get(session)
        if data is None:
            return _error(404, "BLOB_UPLOAD_UNKNOWN", f"no upload {session}")
        place = _upload_place(name, session)
        if request.method == "DELETE":
            del self._uploads[session]
            return Reply(204)
        if request.method == "PATCH" and not _continues(request, len(data)):
            return Reply(416, {"Location": place, "Range": f"0-{max(0, len(data) - 1)}"})
        data += request.body
        if request.method == "PUT":
            return self._end_upload(request, name, session)
        status = 204 if request.method == "GET" else 202
        return Reply(status, {"Location": place, "Range": f"0-{max(0, len(data) - 1)}"})

    def _begin_upload(self, request: Request, name: str) -> Reply:
        mount, source = request.first("mount"), request.first("from")
        for digest in self._holds.get(source or "", set()) if mount else ():
            if digest == mount:
                self._holds[name].add(digest)
                return _blob_created(name, digest)
        session = secrets.token_hex(16)
        with self._guard:
            self._uploads[session] = bytearray(request.body)
        if request.first("digest"):
            return self._end_upload(request, name, session)
        return Reply(202, {"Location": _upload_place(name, session), "Range": "0-0"})

    def _end_upload(self, request: Request, name: str, session: str) -> Reply:
        with self._guard:
            data = bytes(self._uploads.pop(session))
        if Digest.of(data) != request.first("digest"):
            return _error(400, "DIGEST_INVALID", f"the content is {Digest.of(data)}")
        return _blob_created(name, self.put_blob(name, data))


def _action(request: Request) -> str:
    return "pull" if request.method in {"GET", "HEAD"} else "push"


def _upload_place(name: str, session: str) -> str:
    # With a query, as real registries have one: a client must add to it, not replace it.
    return f"/v2/{quote(name)}/blobs/uploads/{session}?_state={session[:8]}"


def _continues(request: Request, size: int) -> bool:
    stretch = request.headers.get("content-range")
    return stretch is None or stretch.partition("-")[0] == str(size)


def _needs(manifest: bytes) -> Iterator[str]:
    document: Any = json.loads(manifest)
    for key in ("layers", "manifests"):
        for entry in document.get(key, []):
            yield entry["digest"]
    if "config" in document:
        yield document["config"]["digest"]


def _blob_created(name: str, digest: Digest) -> Reply:
    place = f"/v2/{quote(name)}/blobs/{digest}"
    return Reply(201, {"Location": place, "Docker-Content-Digest": digest})


def _error(status: int, code: str, message: str) -> Reply:
    body = {"errors": [{"code": code, "message": message}]}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
