"""Which server, and who we are there: options, configuration, environment, cloudstack.ini.

Address and keys come from one source: keys that were made for one server are never sent to the
address that another source names.
"""

from __future__ import annotations

import configparser
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from isobuilder.errors import EnvironmentProblem, InputError, UsageProblem
from isobuilder.files import is_file, own_path, read_bytes
from isobuilder.model.base import check_port
from isobuilder.model.config import MoldProfile
from isobuilder.mold.api.signing import SignatureAlgorithm

PREFIX = "ISOBUILDER_MOLD"
_KEYRING_SERVICE = "isobuilder-mold"
_MOST_KEYS = 32 * 1024  # bytes of a file with keys; of much, configparser takes the square of time
_SECTION = ("endpoint", "key", "secret", "verify", "signature")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A user's key pair; the secret half signs and never leaves."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password for a session, the alternative to keys."""

    username: str
    password: str = field(repr=False)
    domain: str = "/"


@dataclass(frozen=True, slots=True)
class MoldServer:
    """One management server and everything needed to talk to it."""

    name: str
    endpoint: str
    credentials: ApiKey | Login
    algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256
    ca_file: Path | None = None  # certificates of a private authority, PEM
    timeout: float = 30.0  # seconds for one answer
    least_speed: int = 1024  # bytes of its body a second; 0: any
    least_speed_seconds: float = 60.0  # of waiting, over which that is measured
    origin: str = ""  # where the credentials came from; for people
    options: str = ""  # of a command line that choose it again; for people

    def __post_init__(self) -> None:
        """Check the address, as ``check_endpoint`` does."""
        object.__setattr__(self, "endpoint", check_endpoint(self.endpoint))


@dataclass(frozen=True, slots=True)
class Choice:
    """What the person chose on the command line; secrets are never among it."""

    endpoint: str | None = None
    key_file: Path | None = None
    signature: str | None = None
    ca_file: Path | None = None
    username: str | None = None
    domain: str | None = None
    timeout: float | None = None
    plain_http: bool = False  # keys may go where everybody on the way reads them


def check_endpoint(text: str) -> str:
    """Return the address of the API: ``https://mold.example`` gets its ``/client/api``.

    Raises:
        InputError: not an http or https address, or one that carries credentials.
    """
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(
            f"Mold endpoint: expected http:// or https:// and a host, got {text[:80]!r}",
            hint="such as https://mold.example:8443/client/api",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"Mold endpoint: the address of {parts.hostname} carries credentials or a query",
            hint="keys belong into a key file, the environment or the keyring",
        )
    try:
        check_port(parts)
    except ValueError as error:
        raise InputError(f"Mold endpoint: {error}") from error
    path = parts.path.rstrip("/")
    if path in {"", "/client"}:
        path = "/client/api"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


@dataclass(frozen=True, slots=True)
class _Source:
    """One place that names a server: its address, and the keys that belong to that address."""

    name: str  # of the server
    endpoint: str
    profile: MoldProfile | None = None  # a profile of the configuration
    section: Mapping[str, str] = field(default_factory=dict)  # the shared variables of cs, or a
    place: str = ""  # section of cloudstack.ini, and which
    keyring: str | None = None  # under which name a keyring has its keys; None: its own


def resolve_server(
    name: str | None,
    profiles: Mapping[str, MoldProfile],
    *,
    environ: Mapping[str, str],
    choice: Choice = Choice(),
    home: Path | None = None,
) -> MoldServer:
    """Return the server of that name, with the first credentials found that belong to it.

    ``name`` is a profile of the configuration or a section of ``cloudstack.ini``. Named, the server
    is what they say, whatever the variables for any server say; its own variables
    (``ISOBUILDER_MOLD_<NAME>_...``) win over both. Not named, it is that of ``--endpoint``, of
    ``ISOBUILDER_MOLD_ENDPOINT``, the only profile there is, or what ``cs`` would take.

    Raises:
        UsageProblem: which server is not clear.
        InputError: no endpoint or no credentials, a file that cannot be read as such, or a plain
            http address that is not on this machine and was not asked for as such.
        EnvironmentProblem: a file with keys that others may read.
    """
    source = _find_source(name, profiles, environ, choice, home or own_path("~"))
    variables = _Variables(environ, source)
    _refuse_plain_http(source, variables, choice)
    credentials, origin = _find_credentials(source, variables, choice)
    verify = source.section.get("verify", "")
    ca_text = (
        choice.ca_file
        or variables.own("CA_FILE")
        or (source.profile.ca_file if source.profile else None)
        or (verify if "/" in verify else None)
        or variables.shared("CA_FILE")
        or environ.get("SSL_CERT_FILE")
    )
    return MoldServer(
        name=source.name,
        endpoint=source.endpoint,
        credentials=credentials,
        algorithm=_algorithm(source, variables, choice),
        ca_file=_existing(ca_text),
        timeout=choice.timeout or (source.profile.timeout if source.profile else 30.0),
        origin=origin,
    )


def _refuse_plain_http(source: _Source, variables: _Variables, choice: Choice) -> None:
    parts = urlsplit(source.endpoint)
    asked = choice.plain_http or (variables.get("PLAIN_HTTP") or "").lower() in {"1", "true", "yes"}
    asked = asked or (source.profile is not None and source.profile.plain_http)
    if parts.scheme == "https" or asked or _is_this_machine(parts.hostname or ""):
        return
    raise InputError(
        f"mold server {source.name!r}: {source.endpoint} is not encrypted: everybody on the way "
        "could read the answers and use the keys",
        hint="use https; or say that this network is trusted, with --plain-http, "
        f"plain_http: true in the configuration, or {PREFIX}_PLAIN_HTTP=1",
    )


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _find_source(
    name: str | None,
    profiles: Mapping[str, MoldProfile],
    environ: Mapping[str, str],
    choice: Choice,
    home: Path,
) -> _Source:
    named = name or environ.get(f"{PREFIX}_SERVER") or None
    if choice.endpoint:
        endpoint = check_endpoint(choice.endpoint)
        profile = profiles.get(named or "")
        if profile is not None and check_endpoint(profile.endpoint) != endpoint:
            profile = None  # its keys were made for another address
        host = urlsplit(endpoint).hostname or "mold"
        return _Source(named or host, endpoint, profile, keyring=None if profile else host)
    shared = environ.get(f"{PREFIX}_ENDPOINT")
    if named is None and shared:
        endpoint = check_endpoint(shared)
        return _Source(urlsplit(endpoint).hostname or "mold", endpoint)
    if named is None and len(profiles) > 1:
        raise UsageProblem(
            f"{len(profiles)} mold servers are configured: {', '.join(sorted(profiles))}",
            hint="choose with --server NAME; it may be given several times",
        )
    chosen = named or next(iter(profiles), None) or environ.get("CLOUDSTACK_REGION", "cloudstack")
    own = environ.get(_own_variable(chosen, "ENDPOINT"))
    if own:
        return _Source(chosen, check_endpoint(own))
    if chosen in profiles:
        return _Source(chosen, check_endpoint(profiles[chosen].endpoint), profiles[chosen])
    section, place = _shared_section(chosen, environ, home, any_server=named is None)
    if not section.get("endpoint"):
        if named is not None:
            raise UsageProblem(
                f"mold server {chosen!r}: no such profile; "
                f"known: {', '.join(sorted(profiles)) or 'none'}",
                hint="write it under mold: in the configuration, or as a section of "
                "~/.cloudstack.ini",
            )
        raise InputError(
            "no mold server is configured: no endpoint",
            hint=f"give --endpoint, {PREFIX}_ENDPOINT, or a profile in the configuration",
        )
    return _Source(chosen, check_endpoint(section["endpoint"]), section=section, place=place)


def _own_variable(name: str, what: str) -> str:
    return f"{PREFIX}_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_{what}"


class _Variables:
    """``ISOBUILDER_MOLD_<NAME>_...`` of a server, and ``ISOBUILDER_MOLD_...`` where they fit it."""

    def __init__(self, environ: Mapping[str, str], source: _Source) -> None:
        self._environ = environ
        self._name = source.name
        self._own_fit = self._fits(_own_variable(source.name, "ENDPOINT"), source)
        self._shared_fit = self._fits(f"{PREFIX}_ENDPOINT", source)

    def _fits(self, variable: str, source: _Source) -> bool:
        """Tell whether keys may be taken: with an address beside them they are for that one."""
        address = self._environ.get(variable)
        return not address or check_endpoint(address) == source.endpoint

    def own(self, what: str) -> str | None:
        """Return the variable of this server."""
        name = _own_variable(self._name, what)
        return (self._environ.get(name) or None) if self._own_fit else None

    def shared(self, what: str) -> str | None:
        """Return the variable for any server."""
        return (self._environ.get(f"{PREFIX}_{what}") or None) if self._shared_fit else None

    def get(self, what: str) -> str | None:
        """Return the first of both."""
        return self.own(what) or self.shared(what)


def _algorithm(source: _Source, variables: _Variables, choice: Choice) -> SignatureAlgorithm:
    text = (
        choice.signature
        or variables.own("SIGNATURE")
        or (source.profile.signature if source.profile else None)
        or source.section.get("signature")
        or variables.shared("SIGNATURE")
        or SignatureAlgorithm.HMAC_SHA256.value
    )
    try:
        return SignatureAlgorithm(text.lower())
    except ValueError as error:
        raise InputError(
            f"mold server {source.name!r}: unknown signature algorithm {text[:40]!r}",
            hint="hmac-sha256 for Mold, hmac-sha1 for Apache CloudStack",
        ) from error


def _find_credentials(
    source: _Source, variables: _Variables, choice: Choice
) -> tuple[ApiKey | Login, str]:
    for found, origin in _candidates(source, variables, choice):
        if found is not None:
            return found, origin
    raise InputError(
        f"mold server {source.name!r}: no credentials for {source.endpoint}",
        hint=f"set {PREFIX}_API_KEY and {PREFIX}_SECRET_KEY, or give --key-file FILE with the "
        "lines api_key = ... and secret_key = ...",
    )


def _candidates(
    source: _Source, variables: _Variables, choice: Choice
) -> Iterator[tuple[ApiKey | Login | None, str]]:
    """Yield what each place has: the command line, what is this server's own, what is for any."""
    name = source.name
    if choice.key_file is not None:
        yield read_key_file(choice.key_file), f"key file {choice.key_file}"
    if choice.username:
        yield _login(name, choice.username, variables, choice), "environment (session login)"
    yield from _candidates_of(name, variables.own, variables, choice)
    if source.profile is not None and source.profile.key_file:
        path = own_path(source.profile.key_file)
        yield read_key_file(path), f"key file {source.profile.key_file}"
    yield _from_keyring(source.keyring or name), "system keyring"
    yield _keys_of_section(source), source.place
    yield from _candidates_of(name, variables.shared, variables, choice)


def _candidates_of(
    name: str, get: Callable[[str], str | None], variables: _Variables, choice: Choice
) -> Iterator[tuple[ApiKey | Login | None, str]]:
    if username := get("USERNAME"):
        yield _login(name, username, variables, choice), "environment (session login)"
    yield _keys_of(name, get("API_KEY"), get("SECRET_KEY")), "environment"
    if path := get("KEY_FILE"):
        yield read_key_file(own_path(path)), f"key file {path}"


def _keys_of_section(source: _Source) -> ApiKey | None:
    key, secret = source.section.get("key"), source.section.get("secret")
    return ApiKey(key, secret) if key and secret else None


def _login(name: str, username: str, variables: _Variables, choice: Choice) -> Login:
    password = variables.get("PASSWORD")
    if not password:
        raise InputError(
            f"mold server {name!r}: a user name without a password",
            hint=f"put the password into {PREFIX}_PASSWORD",
        )
    return Login(username, password, choice.domain or variables.get("DOMAIN") or "/")


def _keys_of(name: str, key: str | None, secret: str | None) -> ApiKey | None:
    if bool(key) != bool(secret):
        raise InputError(
            f"mold server {name!r}: only one of the two keys is in the environment",
            hint=f"set both {PREFIX}_API_KEY and {PREFIX}_SECRET_KEY",
        )
    return ApiKey(key, secret) if key and secret else None


def read_key_file(path: Path) -> ApiKey:
    """Return the pair in a file with the lines ``api_key = ...`` and ``secret_key = ...``.

    Raises:
        InputError: the file is missing or holds something else; its content is never shown.
        EnvironmentProblem: others may read it.
    """
    _refuse_open_file(path)
    found: dict[str, str] = {}
    for line in _read_text(path).splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith(("#", ";")):
            found[re.sub(r"[^a-z]", "", name.lower())] = value.strip().strip("\"'")
    key = found.get("apikey") or found.get("key")
    secret = found.get("secretkey") or found.get("secret")
    if not key or not secret:
        raise InputError(
            f"{path}: no pair of keys found",
            hint="it needs two lines: api_key = ... and secret_key = ...",
        )
    return ApiKey(key, secret)


def _refuse_open_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise EnvironmentProblem(
            f"{path}: holds keys and others may read it (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}",
        )


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path, _MOST_KEYS).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file") from error


def _from_keyring(name: str) -> ApiKey | None:
    """Return the pair the system keyring holds for this server, if there is a keyring at all."""
    try:
        keyring = import_module("keyring")
        failure = import_module("keyring.errors").KeyringError
    except ImportError:
        return None
    service = f"{_KEYRING_SERVICE}/{name}"
    try:
        key = keyring.get_password(service, "api-key")
        secret = keyring.get_password(service, "secret-key")
    except failure:
        return None  # no desktop session, a locked keyring: the next source is asked
    return ApiKey(key, secret) if key and secret else None


def _shared_section(
    name: str, environ: Mapping[str, str], home: Path, *, any_server: bool
) -> tuple[dict[str, str], str]:
    """Return what the conventions of ``cs`` say of a server, all from one place, and which.

    That is the variables ``CLOUDSTACK_...`` (they name no server), the file ``CLOUDSTACK_CONFIG``
    names, or ``~/.cloudstack.ini``. The one of the current folder is not read: it came with
    whatever that folder holds, and would decide where keys go.
    """
    variables = {what: environ.get(f"CLOUDSTACK_{what.upper()}") for what in _SECTION}
    if any_server and variables["endpoint"]:
        return {key: value for key, value in variables.items() if value}, "CLOUDSTACK_KEY"
    chosen = environ.get("CLOUDSTACK_CONFIG")
    place = own_path(chosen) if chosen else home / ".cloudstack.ini"
    if not is_file(place):
        return {}, ""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read_text(place))
    except configparser.Error as error:
        # The parser's own message quotes lines, which may be secrets.
        raise InputError(f"{place}: not an ini file ({type(error).__name__})") from None
    if not parser.has_section(name):
        return {}, ""
    if parser.has_option(name, "secret"):
        _refuse_open_file(place)
    found = {key: value for key, value in parser.items(name) if value}
    return found, f"{place} [{name}]"


def _existing(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    chosen = own_path(path)
    if not is_file(chosen):
        raise InputError(
            f"CA file {chosen}: no such file", hint="a PEM file with the private authority's chain"
        )
    return chosen
