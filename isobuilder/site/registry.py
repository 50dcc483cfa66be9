"""The half of the distribution API that reads, answered from a table of names.

Source: OCI distribution specification 1.1, "Pull", "Content Discovery" and "Listing Referrers";
containerd's ``docs/hosts.md`` for the ``ns`` parameter, by which a mirror is told whose repository
is meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from isobuilder.digest import Digest
from isobuilder.formats.reference import DOCKER_HUB
from isobuilder.http.replies import Reply, Request, content_reply
from isobuilder.site.catalog import Catalog, HeldRepository
from isobuilder.site.held import HeldManifest
from isobuilder.text import whole_number

_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_ROUTE = re.compile(
    r"/v2/(?P<name>[^?]+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>[^/]*)"
)
_NO_DIGEST = "expected sha256: and 64 hexadecimal digits"
_PAGE = 10_000  # names of a list, unless fewer are asked for


def registry_reply(catalog: Catalog, request: Request) -> Reply:
    """Return the answer to a request below ``/v2``."""
    if request.method not in {"GET", "HEAD"}:
        said = "these images come out of ISOs: nothing can be changed here"
        reply = refused(405, "UNSUPPORTED", said)
        reply.headers["Allow"] = "GET, HEAD"
        return reply
    if request.path in {"/v2", "/v2/"}:
        return Reply(200, {**_VERSION, "Content-Type": "application/json"}, b"{}")
    if request.path == "/v2/_catalog":
        names = sorted(name for name, found in catalog.repositories.items() if found.tags)
        return _listed(request, {}, "repositories", names)
    return _in_repository(catalog, request)


def _in_repository(catalog: Catalog, request: Request) -> Reply:
    match = _ROUTE.fullmatch(request.path)
    if match is None or (match["kind"] == "tags" and match["rest"] != "list"):
        return refused(404, "UNSUPPORTED", "no such address of the distribution API")
    repository = _meant(catalog, match["name"], request)
    if repository is None:
        return refused(404, "NAME_UNKNOWN", "no ISO has this repository")
    if match["kind"] == "tags":
        return _listed(request, {"name": match["name"]}, "tags", sorted(repository.tags))
    part = {"manifests": _manifest, "blobs": _blob, "referrers": _referrers}[match["kind"]]
    return part(request, repository, match["rest"])


def _meant(catalog: Catalog, name: str, request: Request) -> HeldRepository | None:
    """Return the repository that a name stands for: whole, of a mirrored registry, of Docker Hub.

    A mirror is told the registry as ``ns``; then nobody else's repository is meant, unless it is
    our own name that was asked for.
    """
    namespace = request.first("ns")
    if namespace and namespace != request.headers.get("host"):
        return catalog.repositories.get(f"{namespace}/{name}")
    found = catalog.repositories.get(name) or catalog.repositories.get(f"{DOCKER_HUB}/{name}")
    if found is None and "/" not in name.removeprefix(f"{DOCKER_HUB}/"):
        short = name.removeprefix(f"{DOCKER_HUB}/")
        found = catalog.repositories.get(f"{DOCKER_HUB}/library/{short}")
    return found


def _manifest(request: Request, repository: HeldRepository, reference: str) -> Reply:
    found = repository.find(reference)
    if found is None and ":" in reference and _digest(reference) is None:
        return refused(400, "DIGEST_INVALID", _NO_DIGEST)
    if found is None:
        return refused(404, "MANIFEST_UNKNOWN", "no ISO has this tag or digest")
    return _by_digest(request, found)


def _blob(request: Request, repository: HeldRepository, reference: str) -> Reply:
    digest = _digest(reference)
    if digest is None:
        return refused(400, "DIGEST_INVALID", _NO_DIGEST)
    place = repository.blobs.get(digest)
    if place is None:
        return refused(404, "BLOB_UNKNOWN", "no ISO has this blob in this repository")
    reply = content_reply(
        request, place, etag=f'"{digest}"', modified=0, content_type="application/octet-stream"
    )
    reply.headers["Docker-Content-Digest"] = digest
    return reply


def _referrers(request: Request, repository: HeldRepository, reference: str) -> Reply:
    digest = _digest(reference)
    if digest is None:
        return refused(400, "DIGEST_INVALID", _NO_DIGEST)
    wanted = request.first("artifactType")
    reply = _by_digest(request, repository.referrers(digest, wanted))
    if wanted is not None:
        reply.headers["OCI-Filters-Applied"] = "artifactType"
    return reply


def _digest(reference: str) -> Digest | None:
    try:
        return Digest(reference)
    except ValueError:
        return None


def _by_digest(request: Request, manifest: HeldManifest) -> Reply:
    reply = content_reply(
        request,
        manifest.data,
        etag=f'"{manifest.digest}"',
        modified=0,
        content_type=manifest.document.media_type,
    )
    reply.headers["Docker-Content-Digest"] = manifest.digest
    if manifest.document.subject is not None:
        reply.headers["OCI-Subject"] = manifest.document.subject
    return reply


def _listed(request: Request, body: dict[str, object], key: str, names: Sequence[str]) -> Reply:
    last, count = request.first("last"), whole_number(request.first("n") or "")
    names = [name for name in names if last is None or name > last]
    headers = {"Content-Type": "application/json"}
    count = _PAGE if count is None else min(count, _PAGE)
    if len(names) > count:
        names = names[:count]
        if names:
            asked = {"n": count, "last": names[-1], "ns": request.first("ns")}
            query = urlencode({name: value for name, value in asked.items() if value is not None})
            headers["Link"] = f'<{quote(request.path)}?{query}>; rel="next"'
    return Reply(200, headers, json.dumps({**body, key: names}).encode())


def refused(status: int, code: str, message: str) -> Reply:
    """Return an answer in the form of the specification's errors."""
    body = {"errors": [{"code": code, "message": message}]}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
