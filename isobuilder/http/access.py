"""What opens a server: logins of the configuration and of ``~/.netrc``, certificates, trust."""

from __future__ import annotations

import base64
import netrc
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from isobuilder.errors import EnvironmentProblem
from isobuilder.files import own_path
from isobuilder.http.addresses import origin
from isobuilder.http.settings import ServerAccess

if TYPE_CHECKING:
    import ssl

_MOST_PASSWORD = 64 * 1024  # bytes; tokens of some clouds have some KiB


@dataclass(frozen=True, slots=True)
class ServerLogin:
    """A user with a password, and who named them."""

    user: str
    password: str = field(repr=False)
    source: str  # for people

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode())
        return f"Basic {pair.decode('ascii')}"

    def __str__(self) -> str:
        return f"the login {self.user!r} of {self.source}"


def secrets_of(header: str) -> tuple[str, ...]:
    """Return what of the value of an Authorization header nobody else may read."""
    scheme, _, told = header.partition(" ")
    if scheme.lower() != "basic":
        return (told,)
    try:
        pair = base64.b64decode(told).decode()
    except ValueError:
        return (told,)
    return told, pair, pair.partition(":")[2]


def access_to(servers: Iterable[ServerAccess], url: str) -> ServerAccess | None:
    """Return what the configuration says about a server: the entry with the longest address."""
    fitting = [
        server
        for server in servers
        if origin(server.address) == origin(url)
        and f"{urlsplit(url).path}/".startswith(f"{urlsplit(server.address).path.rstrip('/')}/")
    ]
    return max(fitting, key=lambda server: len(server.address), default=None)


def configured_login(access: ServerAccess | None) -> ServerLogin | None:
    """Return the login of an entry, its password read now.

    Raises:
        EnvironmentProblem: the file with the password cannot be read, or has none.
    """
    if access is None or access.password_file is None:
        return None
    path = access.password_file
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_PASSWORD).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise EnvironmentProblem(
            f"{path}: {reason}; it is the password_file of {access.address}"
        ) from None
    if not lines or not lines[0]:
        raise EnvironmentProblem(f"{path}: its first line is empty, expected a password")
    return ServerLogin(access.user, lines[0], f"servers in the configuration, {access.address}")


class Netrc:
    """Logins of ``~/.netrc``, or of the file that ``NETRC`` names.

    ``own_hosts`` are those that the configuration names.
    """

    def __init__(self, own_hosts: Collection[str] = ()) -> None:
        self._own_hosts = own_hosts
        named = os.environ.get("NETRC")
        self._path = Path(named) if named else own_path("~/.netrc")
        self._hosts: dict[str, tuple[str, str, str]] = {}
        try:
            found = netrc.netrc(self._path).hosts
            self._hosts = {name.lower(): entry for name, entry in found.items()}
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
            # Its own message repeats the line, which may hold a password.
            raise EnvironmentProblem(
                f"{self._path}: not readable as a netrc file ({type(error).__name__})",
                hint="mend the file, or point NETRC to another one",
            ) from error

    def login(self, url: str, *, named_by_server: bool) -> ServerLogin | None:
        """Return the login for ``url``, or None.

        The ``default`` entry counts only for hosts of the configuration, and not where a server
        sent us: neither a recipe's author nor a server may choose who gets a password.
        """
        host = (urlsplit(url).hostname or "").lower()
        is_own = host in self._own_hosts and not named_by_server
        name = host if host in self._hosts and host != "default" else "default"
        if name not in self._hosts or (name == "default" and not is_own):
            return None
        user, _, password = self._hosts[name]
        return ServerLogin(user, password or "", f"{self._path}{self._line(name)}")

    def _line(self, name: str) -> str:
        """Say in which line the entry of ``name`` begins."""
        wanted = "default" if name == "default" else f"machine {name}"
        lines = self._path.read_text(encoding="utf-8", errors="replace").lower().splitlines()
        for number, line in enumerate(lines, 1):
            if f" {wanted} " in f" {' '.join(line.split())} ":
                return f", line {number}"
        return ""


def tls_context(access: ServerAccess | None = None) -> ssl.SSLContext:
    """Return whom to trust, and what to show: as configured, else what this machine has.

    That is SSL_CERT_FILE, SSL_CERT_DIR, else the system's store.

    Raises:
        EnvironmentProblem: a file that is named is not there, or not what it should be; of
            SSL_CERT_FILE OpenSSL itself would say nothing and then refuse every server.
    """
    import ssl

    if access is None or access.ca_file is None:
        context = _context_of_this_machine()
    else:
        try:
            context = ssl.create_default_context(cafile=access.ca_file)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise _unusable(access.ca_file, "ca_file", access.address, error) from error
    if access is not None and access.client_certificate is not None:
        try:
            # Without a password for the key: else OpenSSL asks at the terminal.
            context.load_cert_chain(access.client_certificate, access.client_key, lambda: "")
        except (OSError, ValueError) as error:
            path = access.client_certificate
            raise _unusable(path, "client_certificate", access.address, error) from error
    return context


def _unusable(path: Path, what: str, address: str, error: Exception) -> EnvironmentProblem:
    reason = "expected PEM, with the key that belongs to it"
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        reason = error.strerror or type(error).__name__
    return EnvironmentProblem(f"{path}: {reason}; it is the {what} of {address}")


def _context_of_this_machine() -> ssl.SSLContext:
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
