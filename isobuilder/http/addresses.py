"""Addresses: what they are, what they show, where they may lead."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit, urlunsplit

from isobuilder.errors import InputError

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def redact(url: str) -> str:
    """Return ``url`` without what could be secret: user, password and the values of the query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(malformed address)"
    query = "..." if parts.query else ""
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what credentials belong to.

    Raises:
        ValueError: the port is not a number, or the host is one that some readers take for an IPv4
            address and others for a name, such as 0x7f.1.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        IPv4Address(host)
    return parts.scheme, host, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def host_of(url: str) -> str | None:
    """Return the host that an address names; None for one that names none, or is none at all."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_this_machine(host: str | None) -> bool:
    """Say if nobody but this machine answers under a name; 127.example.org is a stranger's."""
    if host is None or host.lower() == "localhost":
        return host is not None
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(url: str) -> str:
    """Return ``url`` without its fragment if it can be asked for.

    Raises:
        InputError: it is not an http, https or file address.
    """
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        scheme, host = "", ""
    if scheme != "file" and (scheme not in {"http", "https"} or not host):
        raise InputError(
            f"{redact(url)}: expected an http or https address",
            hint="its host is a name, or an IP address; of IPv4 four decimal numbers",
        )
    return urldefrag(url).url


def may_share_credentials(old: str, new: str) -> bool:
    """Say if a redirect from ``old`` to ``new`` may take the credentials along.

    Only to the same origin, or from http to https on the same host at their usual ports.
    """
    before, after = origin(old), origin(new)
    return before == after or (
        before[1] == after[1] and (before[::2], after[::2]) == (("http", 80), ("https", 443))
    )


def local_path(url: str) -> Path | None:
    """Return the path a ``file:`` address means, or None when it names another machine."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.hostname not in {None, "localhost"} or "\0" in path:
        return None
    return Path(path)


def local_folder(url: str) -> Path | None:
    """Return the folder that a mirror on this machine is, None for one elsewhere."""
    return local_path(url) if url.startswith("file:") else None


def climbs(url: str) -> bool:
    """Say if the path of an address could leave the folder it begins in."""
    return not {".", ".."}.isdisjoint(unquote(urlsplit(url).path).split("/"))
