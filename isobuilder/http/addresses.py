"""Addresses, and what the environment says about reaching them."""

from __future__ import annotations

import base64
import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit, urlunsplit

from isobuilder.errors import EnvironmentProblem, InputError

if TYPE_CHECKING:
    import ssl

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
        ValueError: the port is not a number.
    """
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or _DEFAULT_PORTS.get(parts.scheme, 0),
    )


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
        raise InputError(f"{redact(url)}: expected an http or https address")
    return urldefrag(url).url


def may_share_credentials(old: str, new: str) -> bool:
    """Say if a redirect from ``old`` to ``new`` may take the credentials along.

    Only to the same origin, or from http to https on the same host at their usual ports.
    """
    before, after = origin(old), origin(new)
    return before == after or (
        before[1] == after[1] and (before[::2], after[::2]) == (("http", 80), ("https", 443))
    )


class Netrc:
    """Logins of ``~/.netrc``, or of the file that ``NETRC`` names."""

    def __init__(self) -> None:
        named = os.environ.get("NETRC")
        self._path = Path(named) if named else Path("~/.netrc").expanduser()
        self._file: netrc.netrc | None = None
        try:
            self._file = netrc.netrc(self._path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
            # Its own message repeats the line, which may hold a password.
            raise EnvironmentProblem(
                f"{self._path}: not readable as a netrc file ({type(error).__name__})",
                hint="mend the file, or point NETRC to another one",
            ) from error

    def authorization(self, url: str, *, named_by_server: bool) -> str | None:
        """Return the header for ``url``, or None.

        The ``default`` entry counts only for an address that was asked for, and not for one that
        a server named: it must not be able to choose who else gets a password.
        """
        host = urlsplit(url).hostname or ""
        hosts = self._file.hosts if self._file else {}
        name = host if host in hosts or named_by_server else "default"
        if name not in hosts:
            return None
        entry = hosts[name]
        user, _, password = entry
        pair = base64.b64encode(f"{user}:{password or ''}".encode())
        return f"Basic {pair.decode('ascii')}"


def tls_context() -> ssl.SSLContext:
    """Return the trust this machine has: SSL_CERT_FILE, SSL_CERT_DIR, else the system's store.

    Raises:
        EnvironmentProblem: SSL_CERT_FILE or SSL_CERT_DIR names what is not there; OpenSSL itself
            would say nothing and then refuse every server.
    """
    import ssl

    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        named = os.environ.get(variable)
        if named and not Path(named).exists():
            raise EnvironmentProblem(
                f"{variable}: {named} does not exist", hint=f"correct or unset {variable}"
            )
    context = ssl.create_default_context()
    known = ssl.get_default_verify_paths()
    if not known.cafile and not known.capath:  # a Python that was built elsewhere
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def proxy_of(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY choose for ``url``."""
    if not any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        return None  # what follows takes long to import

    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


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
