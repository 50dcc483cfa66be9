"""The embedded registry, to which one can push as well.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from isobuilder.demo.images import ImageDocument
from isobuilder.demo.registry import DemoRegistry
from isobuilder.digest import Digest
from isobuilder.http.replies import Reply, Request
from isobuilder.site.registry import refused

_NAME = re.compile(r"/v2/(?P<name>[^?]+?)/(manifests|blobs|tags)/.*")
_MANIFEST = re.compile(r"/v2/(?P<name>[^?]+?)/manifests/(?P<rest>[^/]*)")
_UPLOAD = re.compile(r"/v2/(?P<name>[^?]+?)/blobs/uploads/(?P<rest>[^/]*)")
_MAX_BODY = 1 << 30  # bytes of an upload


class PushRegistry(DemoRegistry):
    def __init__(self) -> None:
        super().__init__()
        self._uploads: dict[str, bytearray] = {}
        self._guard = threading.Lock()

    @staticmethod
    def name_in(path: str) -> str:
        """The repository that an address names, or nothing."""
        match = _NAME.fullmatch(path)
        return match["name"] if match else ""

    def answer(self, request: Request) -> Reply:
        if match := _UPLOAD.fullmatch(request.path):
            return self._on_upload(request, match["name"], match["rest"])
        match = _MANIFEST.fullmatch(request.path)
        if match and request.method == "PUT":
            return self._push_manifest(request, match["name"], match["rest"])
        return super().answer(request)

    def _push_manifest(self, request: Request, name: str, reference: str) -> Reply:
        media_type = request.headers.get("content-type", "").partition(";")[0]
        body = request.body()
        document = ImageDocument(body, media_type)
        if ":" in reference and reference != document.digest:
            return refused(400, "DIGEST_INVALID", f"the content is {document.digest}")
        try:
            missing = [digest for digest in _needs(body) if not self._has(name, Digest(digest))]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return refused(400, "MANIFEST_INVALID", str(error))
        if missing:
            return refused(404, "MANIFEST_BLOB_UNKNOWN", f"push {missing[0]} first")
        self.put_manifest(name, document, tag=None if ":" in reference else reference)
        place = f"/v2/{quote(name)}/manifests/{document.digest}"
        return Reply(201, {"Location": place, "Docker-Content-Digest": document.digest})

    def _has(self, name: str, digest: Digest) -> bool:
        return digest in self._holds[name] or digest in self._manifests[name]

    def _on_upload(self, request: Request, name: str, session: str) -> Reply:
        if request.method == "POST":
            return self._begin_upload(request, name)
        with self._guard:
            data = self._uploads.get(session)
        if data is None:
            return refused(404, "BLOB_UPLOAD_UNKNOWN", f"no upload {session}")
        place = _upload_place(name, session)
        if request.method == "DELETE":
            del self._uploads[session]
            return Reply(204)
        if request.method == "PATCH" and not _continues(request, len(data)):
            return Reply(416, {"Location": place, "Range": f"0-{max(0, len(data) - 1)}"})
        data += request.body(_MAX_BODY)
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
            self._uploads[session] = bytearray(request.body(_MAX_BODY))
        if request.first("digest"):
            return self._end_upload(request, name, session)
        return Reply(202, {"Location": _upload_place(name, session), "Range": "0-0"})

    def _end_upload(self, request: Request, name: str, session: str) -> Reply:
        with self._guard:
            data = bytes(self._uploads.pop(session))
        if Digest.of(data) != request.first("digest"):
            return refused(400, "DIGEST_INVALID", f"the content is {Digest.of(data)}")
        return _blob_created(name, self.put_blob(name, data))


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
