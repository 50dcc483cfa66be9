"""Which server, and who we are there: options, environment, key file, keyring, cloudstack.ini."""

from __future__ import annotations

import configparser
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from isobuilder.errors import EnvironmentProblem, InputError, UsageProblem
from isobuilder.model.config import MoldProfile
from isobuilder.mold.api.signing import SignatureAlgorithm

PREFIX = "ISOBUILDER_MOLD"
KEYRING_SERVICE = "isobuilder-mold"


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
class Server:
    """One management server and everything needed to talk to it."""

    name: str
    endpoint: str
    credentials: ApiKey | Login
    algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256
    ca_file: Path | None = None  # certificates of a private authority, PEM
    timeout: float = 30.0  # seconds for one answer
    origin: str = ""  # where the credentials came from; for people


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


def check_endpoint(text: str) -> str:
    """Return the address of the API: ``https://mold.example`` gets its ``/client/api``.

    Raises:
        InputError: not an http or https address, or one that carries credentials.
    """
    parts = urlsplit(text.strip())
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
    path = parts.path.rstrip("/")
    if path in {"", "/client"}:
        path = "/client/api"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def resolve_server(
    name: str | None,
    profiles: Mapping[str, MoldProfile],
    *,
    environ: Mapping[str, str],
    choice: Choice = Choice(),
    home: Path | None = None,
    folder: Path | None = None,
) -> Server:
    """Return the server of that name with the first credentials found.

    Order: options, environment, key file, system keyring, ``cloudstack.ini``. ``name`` is a profile
    of the configuration or a section of ``cloudstack.ini``; None takes the only profile there is.

    Raises:
        UsageProblem: which server is not clear.
        InputError: no endpoint or no credentials, or a file that cannot be read as such.
        EnvironmentProblem: a file with keys that others may read.
    """
    chosen = _chosen_name(name, profiles, environ, choice)
    profile = profiles.get(chosen)
    ini = _read_cloudstack_ini(chosen, environ, home or Path.home(), folder or Path.cwd())
    if (
        profile is None
        and name is not None
        and not ini
        and not _variable(environ, name, "ENDPOINT")
    ):
        known = ", ".join(sorted(profiles)) or "none"
        raise UsageProblem(
            f"mold server {name!r}: no such profile; known: {known}",
            hint="write it under mold: in the configuration, or as a section of cloudstack.ini",
        )
    endpoint = _find_endpoint(chosen, profile, environ, choice, ini)
    credentials, origin = _find_credentials(chosen, profile, environ, choice, ini)
    ca_text = (
        choice.ca_file
        or _variable(environ, chosen, "CA_FILE")
        or (profile.ca_file if profile else None)
        or (ini.get("verify") if "/" in ini.get("verify", "") else None)
        or environ.get("SSL_CERT_FILE")
    )
    return Server(
        name=chosen,
        endpoint=check_endpoint(endpoint),
        credentials=credentials,
        algorithm=_algorithm(chosen, profile, environ, choice, ini),
        ca_file=_existing(ca_text),
        timeout=choice.timeout or (profile.timeout if profile else 30.0),
        origin=origin,
    )


def _chosen_name(
    name: str | None,
    profiles: Mapping[str, MoldProfile],
    environ: Mapping[str, str],
    choice: Choice,
) -> str:
    if name:
        return name
    if from_environment := environ.get(f"{PREFIX}_SERVER"):
        return from_environment
    if choice.endpoint or environ.get(f"{PREFIX}_ENDPOINT"):
        return urlsplit(choice.endpoint or environ[f"{PREFIX}_ENDPOINT"]).hostname or "mold"
    if len(profiles) == 1:
        return next(iter(profiles))
    if profiles:
        raise UsageProblem(
            f"{len(profiles)} mold servers are configured: {', '.join(sorted(profiles))}",
            hint="choose with --server NAME; it may be given several times",
        )
    return environ.get("CLOUDSTACK_REGION", "cloudstack")


def _find_endpoint(
    name: str,
    profile: MoldProfile | None,
    environ: Mapping[str, str],
    choice: Choice,
    ini: Mapping[str, str],
) -> str:
    endpoint = (
        choice.endpoint
        or _variable(environ, name, "ENDPOINT")
        or (profile.endpoint if profile else None)
        or environ.get("CLOUDSTACK_ENDPOINT")
        or ini.get("endpoint")
    )
    if not endpoint:
        raise InputError(
            f"mold server {name!r}: no endpoint",
            hint=f"give --endpoint, {PREFIX}_ENDPOINT, or a profile in the configuration",
        )
    return endpoint


def _variable(environ: Mapping[str, str], name: str, what: str) -> str | None:
    """Return ``ISOBUILDER_MOLD_<NAME>_<WHAT>``, else ``ISOBUILDER_MOLD_<WHAT>``."""
    own = re.sub(r"[^A-Z0-9]", "_", name.upper())
    return environ.get(f"{PREFIX}_{own}_{what}") or environ.get(f"{PREFIX}_{what}") or None


def _algorithm(
    name: str,
    profile: MoldProfile | None,
    environ: Mapping[str, str],
    choice: Choice,
    ini: Mapping[str, str],
) -> SignatureAlgorithm:
    text = (
        choice.signature
        or _variable(environ, name, "SIGNATURE")
        or (profile.signature if profile else None)
        or ini.get("signature")
        or SignatureAlgorithm.HMAC_SHA256.value
    )
    try:
        return SignatureAlgorithm(text.lower())
    except ValueError as error:
        raise InputError(
            f"mold server {name!r}: unknown signature algorithm {text[:40]!r}",
            hint="hmac-sha256 for Mold, hmac-sha1 for Apache CloudStack",
        ) from error


def _find_credentials(
    name: str,
    profile: MoldProfile | None,
    environ: Mapping[str, str],
    choice: Choice,
    ini: Mapping[str, str],
) -> tuple[ApiKey | Login, str]:
    if choice.key_file is not None:
        return read_key_file(choice.key_file), f"key file {choice.key_file}"
    if username := choice.username or _variable(environ, name, "USERNAME"):
        return _login(name, username, environ, choice), "environment (session login)"
    if pair := _keys_of_environment(name, environ):
        return pair, "environment"
    file = _variable(environ, name, "KEY_FILE") or (profile.key_file if profile else None)
    if file:
        return read_key_file(Path(file).expanduser()), f"key file {file}"
    if pair := _from_keyring(name):
        return pair, "system keyring"
    shared = {name: environ.get(f"CLOUDSTACK_{name.upper()}") for name in ("key", "secret")}
    for found, origin in ((shared, "CLOUDSTACK_KEY"), (ini, f"cloudstack.ini [{name}]")):
        key, secret = found.get("key"), found.get("secret")
        if key and secret:
            return ApiKey(key, secret), origin
    raise InputError(
        f"mold server {name!r}: no credentials",
        hint=f"set {PREFIX}_API_KEY and {PREFIX}_SECRET_KEY, or give --key-file FILE with the "
        "lines api_key = ... and secret_key = ...",
    )


def _login(name: str, username: str, environ: Mapping[str, str], choice: Choice) -> Login:
    password = _variable(environ, name, "PASSWORD")
    if not password:
        raise InputError(
            f"mold server {name!r}: a user name without a password",
            hint=f"put the password into {PREFIX}_PASSWORD",
        )
    return Login(username, password, choice.domain or _variable(environ, name, "DOMAIN") or "/")


def _keys_of_environment(name: str, environ: Mapping[str, str]) -> ApiKey | None:
    key, secret = _variable(environ, name, "API_KEY"), _variable(environ, name, "SECRET_KEY")
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
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file") from error


def _from_keyring(name: str) -> ApiKey | None:
    """Return the pair the system keyring holds for this server, if there is a keyring at all."""
    try:
        keyring = import_module("keyring")
        failure = import_module("keyring.errors").KeyringError
    except ImportError:
        return None
    service = f"{KEYRING_SERVICE}/{name}"
    try:
        key = keyring.get_password(service, "api-key")
        secret = keyring.get_password(service, "secret-key")
    except failure:
        return None  # no desktop session, a locked keyring: the next source is asked
    return ApiKey(key, secret) if key and secret else None


def _read_cloudstack_ini(
    section: str, environ: Mapping[str, str], home: Path, folder: Path
) -> dict[str, str]:
    """Return one section of the files ``cs`` reads, later files winning; empty when absent."""
    places = [home / ".cloudstack.ini", folder / "cloudstack.ini"]
    if named := environ.get("CLOUDSTACK_CONFIG"):
        places.append(Path(named).expanduser())
    values: dict[str, str] = {}
    for place in places:
        if not place.is_file():
            continue
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(_read_text(place))
        except configparser.Error as error:
            # The parser's own message quotes lines, which may be secrets.
            raise InputError(f"{place}: not an ini file ({type(error).__name__})") from None
        if parser.has_section(section):
            if parser.has_option(section, "secret"):
                _refuse_open_file(place)
            values |= {key: value for key, value in parser.items(section) if value}
    return values


def _existing(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    chosen = Path(path).expanduser()
    if not chosen.is_file():
        raise InputError(
            f"CA file {chosen}: no such file", hint="a PEM file with the private authority's chain"
        )
    return chosen
