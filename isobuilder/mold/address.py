"""What an ISO's URL really serves, seen from here."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from isobuilder.errors import UpstreamError
from isobuilder.http.addresses import redact
from isobuilder.http.client import Http
from isobuilder.progress import SILENT, Progress, task

_MAGIC_AT = 32769  # "CD001" of the first volume descriptor (ECMA-119, 8.1)
_REDIRECTS = {301, 302, 303, 307, 308}
_ANY_STATUS = range(200, 600)


@dataclass(frozen=True, slots=True)
class Served:
    """The first answer of a URL, redirects not followed."""

    status: int
    location: str | None  # of a redirect, secrets left out
    length: int | None
    is_iso: bool | None  # None when the body was not looked at


def resolve_host(host: str) -> tuple[str, ...]:
    """Return the addresses of a host as this machine sees them; empty if there are none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(entry[4][0]) for entry in found}))


def refused_kind(address: str) -> str | None:
    """Return why Mold refuses to register an ISO at an address, None if it takes it."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if found.version == 6:
        return "an IPv6 address"
    for kind in ("loopback", "link_local", "multicast", "unspecified"):
        if getattr(found, f"is_{kind}"):
            return f"a {kind.replace('_', '-')} address"
    return None


def allowed_by(address: str, sites: str) -> bool:
    """Tell whether the storage VM may fetch from ``address`` with these internal sites."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if not found.is_private:
        return True
    for site in filter(None, (part.strip() for part in sites.split(","))):
        try:
            if found in ipaddress.ip_network(site, strict=False):
                return True
        except ValueError:
            continue  # Mold keeps what was typed; a word that is no network allows nothing
    return False


def look_at(http: Http, url: str) -> Served:
    """Ask for ``url`` once and read just enough to tell an ISO from a web page.

    Raises:
        UpstreamError: no answer at all.
    """
    with http.get(url, accept=_ANY_STATUS) as response:
        location = response.headers.get("Location")
        if response.status in _REDIRECTS:
            target = redact(_joined(url, location)) if location else None
            return Served(response.status, target, response.length, None)
        if response.status != 200:
            return Served(response.status, None, response.length, None)
        head = bytearray()
        for chunk in response.chunks():
            head += chunk
            if len(head) >= _MAGIC_AT + 5:
                break
        magic = bytes(head[_MAGIC_AT : _MAGIC_AT + 5]) == b"CD001"
        return Served(response.status, None, response.length, magic)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # which redact calls malformed


def hash_of(http: Http, url: str, *, limit: int, progress: Progress = SILENT) -> tuple[str, int]:
    """Download ``url`` and return SHA-256 and size of what it serves, redirects followed.

    Raises:
        UpstreamError: it cannot be downloaded to its end, or is longer than ``limit`` bytes.
    """
    digest = hashlib.sha256()
    size = 0
    with (
        http.get(url) as response,
        task(progress, urlsplit(url).path.rsplit("/", 1)[-1], total=response.length) as bar,
    ):
        for chunk in response.chunks():
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise UpstreamError(f"{redact(url)}: longer than the {limit} bytes of the ISO")
            bar.advance(len(chunk))
        if response.length is not None and size != response.length:
            raise UpstreamError(f"{redact(url)}: {size} of {response.length} bytes came")
    return digest.hexdigest(), size
