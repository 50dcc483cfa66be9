"""Which proxy the environment chooses for an address, in the forms that curl, Go and pip take."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from isobuilder.errors import EnvironmentProblem
from isobuilder.text import whole_number

_USUAL = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}  # ports
_FORM = re.compile(
    # The last @ ends the login, as for curl.
    r"(?:([A-Za-z0-9]+)://)?(?:(.*)@)?(\[[0-9A-Fa-f:.]+\]|[^\s:/@#?\[\]]+)(?::([0-9]{1,5}))?/?"
)
_ENTRY = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """One proxy, and who named it."""

    variable: str  # of the environment
    scheme: str  # http and https: by CONNECT where needed; socks5; socks5h, which resolves names
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """Host and port, without the login."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def address(self) -> str:
        """The address without the login."""
        return f"{self.scheme}://{self.place}"

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS 5, and no http."""
        return self.scheme.startswith("socks")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the login nobody else may read, in each form in which it is sent."""
        login = f"{self.user}:{self.password}"
        sent = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        return (login, self.password, sent) if sent else ()

    @property
    def headers(self) -> Mapping[str, str]:
        """What an http proxy is sent along with each request, or to open a tunnel."""
        if not self.user and not self.password:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password}".encode())
        return {"Proxy-Authorization": f"Basic {pair.decode('ascii')}"}


def proxy_of(url: str) -> ProxyServer | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY choose for ``url``.

    Names in lower case come first. A login may be percent-encoded, as it must be where it has one
    of ``@ : / # %``.

    Raises:
        EnvironmentProblem: a variable has no address of a proxy; its value is not repeated.
    """
    parts = urlsplit(url)
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if text := os.environ.get(variable, "").strip():
                passed_by = _is_excepted(parts.hostname or "", parts.port or _USUAL[parts.scheme])
                return None if passed_by else _read(variable, text)
    return None


def _read(variable: str, text: str) -> ProxyServer:
    found = _FORM.fullmatch(text)
    scheme = (found[1] or "http").lower() if found else ""
    port = int(found[4] or _USUAL.get(scheme, 0)) if found else 0
    if found is None or scheme not in _USUAL or not 0 < port < 65536:
        raise EnvironmentProblem(
            f"{variable}: not the address of a proxy",
            hint="write http://host:port or socks5h://host:port; in a user or password write "
            "@ : / # % as %40 %3A %2F %23 %25",
        )
    user, _, password = (found[2] or "").partition(":")
    return ProxyServer(
        variable, scheme, found[3].strip("[]"), port, unquote(user), unquote(password)
    )


def _is_excepted(host: str, port: int) -> bool:
    """Say if NO_PROXY names a server.

    Its entries, between commas or blanks: ``*``; a name, which also stands for all below it, with
    or without ``.`` or ``*.`` before it; an address; a network such as ``10.0.0.0/8``. Names and
    addresses may have a port.
    """
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    entries = listed.replace(",", " ").split()
    return any(_stands_for(entry.lower(), host.lower().rstrip("."), port) for entry in entries)


def _stands_for(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of them is a name, or has a port
    found = _ENTRY.fullmatch(entry)
    if found is None:
        return False
    name, number = found[1], whole_number(found[2] or "")
    name = name.strip("[]").removeprefix("*").strip(".")
    ours = host == name or (bool(name) and not _is_address(host) and host.endswith(f".{name}"))
    return ours and number in {None, port}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
