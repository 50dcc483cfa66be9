"""Settings: how this machine reaches upstream and where it keeps things. Never part of a lock."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.documents.nodes import Map, Node, Pair, Scalar, node_of
from isobuilder.documents.plain_yaml import read_yaml, resolve_plain
from isobuilder.errors import InputError
from isobuilder.files import own_path
from isobuilder.http.addresses import climbs, local_folder
from isobuilder.http.settings import HttpSettings, ServerAccess
from isobuilder.model.base import Model, Seconds, check_port
from isobuilder.model.validation import check


def check_origin(text: str) -> str:
    """Return ``text`` if mirrors can stand for it: ``https://host[/path]`` or a registry's name."""
    parts = urlsplit(text)
    if "@" in (parts.netloc or text):
        raise ValueError(
            "credentials in the address; use servers in the configuration, ~/.netrc or a registry "
            "login"
        )
    if "://" in text:
        if parts.scheme != "https" or not parts.hostname or parts.query:
            raise ValueError(f"expected https://host or https://host/path, got {text[:80]!r}")
        check_port(parts)
        return text.rstrip("/")
    if not text or "/" in text:
        raise ValueError(f"expected the host of a registry, such as registry.k8s.io, got {text!r}")
    check_port(urlsplit(f"//{text}"))
    return text


def check_mirror(text: str) -> str:
    """Return ``text`` if bytes can come from there: http, https or file."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "credentials in a mirror's address; use servers in the configuration, ~/.netrc or a "
            "registry login"
        )
    if parts.scheme not in {"http", "https", "file"} or (
        parts.scheme != "file" and not parts.hostname
    ):
        raise ValueError(f"expected http://, https:// or file://, got {text[:80]!r}")
    check_port(parts)
    return text.rstrip("/")


def check_endpoint(text: str) -> str:
    """Return ``text`` if it can be a management server's address."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in the address; keys come from a key file or the environment")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected https://host/client/api, got {text[:80]!r}")
    check_port(parts)
    return text


_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
)  # one part of its name, OCI 1.1


def check_remote_store(text: str) -> str:
    """Return ``text`` if it names a repository of a registry: ``oci://host[:port]/path``.

    ``oci+http://`` is one without TLS.
    """
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in the address; they come from a registry login")
    names = parts.path.strip("/").split("/")
    named = all(_REPOSITORY.fullmatch(name) for name in names)
    if parts.scheme not in {"oci", "oci+http"} or not parts.hostname or not named or parts.query:
        raise ValueError(f"expected oci://registry/path in lower case, got {text[:80]!r}")
    check_port(parts)
    return text.rstrip("/")


_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_size(text: str) -> int:
    """Return the bytes that ``20M``, ``1.5 GiB`` or ``4096`` mean; K is 1024, as for curl.

    Raises:
        InputError: it is not a size.
    """
    try:
        return _size(text)
    except ValueError as error:
        raise InputError(str(error)) from None


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size such as 20M or 4096, got {text[:40]!r}")
    return int(float(match[1]) * _FACTORS[match[2].upper()])


def _size_or_bytes(value: object) -> object:
    return _size(value) if isinstance(value, str) else value


MOST_BYTES = 1 << 60
"""An exbibyte: systems and fractions take no count that is much larger."""

Origin = Annotated[str, AfterValidator(check_origin)]
Mirror = Annotated[str, AfterValidator(check_mirror)]
OciAddress = Annotated[str, AfterValidator(check_remote_store)]
Size = Annotated[int, BeforeValidator(_size_or_bytes), Field(gt=0, le=MOST_BYTES)]

MIB = 1024 * 1024


class MoldProfile(Model):
    """One management server by name. Keys come from elsewhere: this file may be shown to anyone."""

    endpoint: Annotated[str, AfterValidator(check_endpoint)]
    signature: Literal["hmac-sha256", "hmac-sha1"] = "hmac-sha256"  # Mold; Apache CloudStack
    key_file: str | None = None
    ca_file: str | None = None  # certificates of a private authority
    timeout: Seconds = 30.0  # seconds for one answer
    plain_http: bool = False  # keys may go unencrypted to an address that is not on this machine


Speed = Annotated[int, BeforeValidator(_size_or_bytes), Field(ge=0, le=MOST_BYTES)]


class TransferSettings(Model):
    """What a body has to keep up, however often a byte of it comes."""

    least_speed: Speed = 1024  # bytes a second; 0: any
    least_speed_seconds: Seconds = 60.0  # of waiting, over which it is measured


class ServerSettings(Model):
    """How a server wants to be reached. No secret is in this file: it may be shown to anyone."""

    ca_file: str | None = None  # certificates of the authority that the server's own is by
    client_certificate: str | None = None
    client_key: str | None = None  # where it is not in the file of the certificate
    user: str = ""
    password_file: str | None = None  # its first line is the password, or the token

    @model_validator(mode="after")
    def _whole(self) -> ServerSettings:
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to a client_certificate, which is missing")
        if self.user and self.password_file is None:
            raise ValueError("user belongs to a password_file, which is missing")
        return self


def check_server(text: str) -> str:
    """Return ``text`` if it is the address of a server, or of a part of it."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in the address; use user and password_file below it")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ValueError(f"expected https://host or https://host/path, got {text[:80]!r}")
    check_port(parts)
    return text.rstrip("/")


class Config(Model):
    """Every setting with its default; flags and ``ISOBUILDER_*`` variables override the file."""

    mirrors: dict[Origin, tuple[Mirror, ...]] = {}
    servers: dict[Annotated[str, AfterValidator(check_server)], ServerSettings] = {}
    mold: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")], MoldProfile] = {}
    store: str | None = None  # a folder; None is the user's cache directory
    rules: str | None = None  # a file of rules that add to the shipped ones and win over them
    policies: str | None = None  # a file of signature policies that win over the shipped ones
    builders: str | None = None  # a file: keys of those whose building again of programs counts
    trust: bool = False  # whether signatures are proved wherever --trust could ask for it
    trusted_root: str | None = None  # a file; None: that of the public Sigstore
    allowed_leaks: str | None = None  # a file of what looks like a secret and is none
    remote_store: OciAddress | None = None  # what machines share: docs/reaching-upstream.md
    remote_store_required: bool = False  # whether nothing is fetched without it
    jobs: Annotated[int, Field(ge=1, le=64)] = 16  # transfers at once, to all hosts
    per_host: Annotated[int, Field(ge=1, le=64)] = 8  # of them to one host
    limit_rate: Size | None = None  # bytes per second over all transfers
    offline: bool = False
    retries: Annotated[int, Field(ge=0, le=1000)] = 6  # tries after the first, for each address
    retry_budget: Seconds = 300.0  # seconds of waiting, for each file
    connect_timeout: Seconds = 10.0  # seconds
    stall_timeout: Seconds = 60.0  # seconds without a byte
    transfer: TransferSettings = TransferSettings()
    max_file_size: Size = 4096 * MIB  # bytes, where nothing else says how long a file is

    @property
    def http(self) -> HttpSettings:
        """How connections behave: the settings of the same names."""
        ours = {field.name for field in fields(HttpSettings)} & Config.model_fields.keys()
        mirrors = [mirror for places in self.mirrors.values() for mirror in places]
        shared = () if self.remote_store is None else (self.remote_store,)
        return HttpSettings(
            **{name: getattr(self, name) for name in ours - {"servers"}},
            servers=tuple(_access(text, server) for text, server in self.servers.items()),
            **self.transfer.model_dump(),
            folders=tuple(path for mirror in mirrors if (path := local_folder(mirror))),
            own_hosts=frozenset(
                host
                for own in (*mirrors, *shared, *self.servers)
                if (host := urlsplit(own).hostname)
            ),
        )


def _access(address: str, server: ServerSettings) -> ServerAccess:
    def file(text: str | None) -> Path | None:
        return None if text is None else own_path(text)

    return ServerAccess(
        address,
        ca_file=file(server.ca_file),
        client_certificate=file(server.client_certificate),
        client_key=file(server.client_key),
        user=server.user,
        password_file=file(server.password_file),
    )


def mirror_urls(config: Config, url: str) -> tuple[str, ...]:
    """Return where to ask for ``url``, in order: the mirrors of its longest origin, else itself.

    An origin is ``https://host/path`` or, as for a registry, the bare host.

    Mirrors replace the origin: a site without Internet must not wait for time-outs. Name the origin
    itself as the last mirror to fall back to it.

    Raises:
        InputError: the address would lead out of the mirror's folder.
    """
    best = ""
    named = {
        origin if "://" in origin else f"https://{origin}": mirrors
        for origin, mirrors in sorted(config.mirrors.items(), key=lambda item: "://" in item[0])
    }
    for origin in named:
        if (url == origin or url.startswith(origin + "/")) and len(origin) > len(best):
            best = origin
    if not best:
        return (url,)
    if climbs(url):
        raise InputError(f"{url}: leads out of {best}, for which mirrors stand")
    return tuple(mirror + url[len(best) :] for mirror in named[best])


def registry_bases(config: Config, registry: str) -> tuple[str, ...]:
    """Return the addresses that serve ``registry``, in order, without the ``/v2/`` part.

    A mirror such as ``http://127.0.0.1:5000/registry.k8s.io`` serves the repositories of the
    registry below a repository prefix: ``/v2/registry.k8s.io/pause/manifests/3.10``.
    """
    names = _HUB if registry in _HUB else (registry,)
    for name in names:
        if mirrors := config.mirrors.get(name):
            return mirrors
    host = "registry-1.docker.io" if registry in _HUB else registry
    return (f"https://{host}",)


_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""What people call Docker Hub; the last one is what answers."""

PREFIX = "ISOBUILDER_"
DEFAULT = "default"
_SECRETS = re.compile(r"api_?key|secret_?key|secret|password|token", re.IGNORECASE)
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def load_config(
    path: Path | None, env: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[Config, dict[str, str]]:
    """Return the settings, and for each of them where its value came from.

    A flag wins over ``ISOBUILDER_*``, that over the file, that over the default; a setting is taken
    whole, so mirrors given by flag replace all of the file. The file is ``path``, else that of
    ``ISOBUILDER_CONFIG``, else ``isobuilder/config.yaml`` in the user's configuration folder if it
    is there. In a variable, mirrors are pairs ``origin=mirror`` with spaces between.

    Raises:
        InputErrors: all that is wrong, each with file and line, flag or variable.
        InputError: the file cannot be read.
    """
    entries: dict[str, Pair] = {}
    origins = dict.fromkeys(Config.model_fields, DEFAULT)
    for name, entry in (*_from_file(path, env), *_from_env(env), *_from_flags(flags)):
        entries[name] = entry
        origins[name] = str(entry.mark)
    config, mistakes = check(Map(entries, Mark("settings")), Config)
    if config is None:
        raise InputErrors(_without_secrets(mistake) for mistake in mistakes)
    return config, origins


def read_config(path: Path | None = None, **settings: Any) -> Config:
    """Return the settings of ``load_config`` for this process, ``settings`` in place of flags.

    Raises:
        InputErrors, InputError: as ``load_config``.
    """
    return load_config(path, os.environ, settings)[0]


def _from_file(path: Path | None, env: Mapping[str, str]) -> Iterator[tuple[str, Pair]]:
    named = env.get(PREFIX + "CONFIG")
    chosen = path or (Path(named) if named else _default_file(env))
    if chosen is not None:
        for name, entry in read_yaml(chosen, may_be_empty=True).entries.items():
            beside = _BESIDE.get(name)
            yield name, beside(chosen, entry) if beside else entry


def _files_beside(file: Path, entry: Pair) -> Pair:
    """Return the entry of ``servers``, its files meant from the folder that ``file`` is in."""
    if not isinstance(servers := entry.value, Map):
        return entry
    meant = {
        address: Pair(server.mark, replace(server.value, entries=_each_beside(file, server.value)))
        if isinstance(server.value, Map)
        else server
        for address, server in servers.entries.items()
    }
    return Pair(entry.mark, replace(servers, entries=meant))


def _each_beside(file: Path, server: Map) -> dict[str, Pair]:
    return {
        name: _beside(file, pair) if name != "user" else pair
        for name, pair in server.entries.items()
    }


def _beside(file: Path, entry: Pair) -> Pair:
    """Return the entry of a path, which is meant from the folder that ``file`` is in."""
    node = entry.value
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        return entry
    place = node.value if node.value.startswith("~") else str(file.parent / node.value)
    return Pair(entry.mark, replace(node, value=place))


_BESIDE = {
    "store": _beside,
    "rules": _beside,
    "allowed_leaks": _beside,
    "policies": _beside,
    "trusted_root": _beside,
    "builders": _beside,
    "servers": _files_beside,
}


def _default_file(env: Mapping[str, str]) -> Path | None:
    folder = env.get("XDG_CONFIG_HOME")
    home = Path(folder) if folder else own_path(env.get("HOME") or "~") / ".config"
    file = home / "isobuilder" / "config.yaml"
    return file if file.is_file() else None


def _from_env(env: Mapping[str, str]) -> Iterator[tuple[str, Pair]]:
    for name in Config.model_fields:
        variable = PREFIX + name.upper()
        text = env.get(variable, "")
        if text and name not in {"mold", "servers", "transfer"}:  # or variables of their own
            mark = Mark(variable)
            yield name, Pair(mark, _node_of_variable(name, text, mark))
    transfer = {
        name: env.get(f"{PREFIX}TRANSFER_{name.upper()}") for name in TransferSettings.model_fields
    }
    given = {
        name: Pair(mark, _node_of_variable(name, text, mark))
        for name, text in transfer.items()
        if text and (mark := Mark(f"{PREFIX}TRANSFER_{name.upper()}"))
    }
    if given:
        mark = next(iter(given.values())).mark
        yield "transfer", Pair(mark, Map(given, mark))


def _node_of_variable(name: str, text: str, mark: Mark) -> Node:
    if name == "mirrors":
        mirrors: dict[str, list[str]] = {}
        for pair in text.split():
            origin, _, mirror = pair.partition("=")
            mirrors.setdefault(origin, []).append(mirror)
        return node_of(mirrors, mark)
    if name in {"offline", "remote_store_required"}:
        return Scalar(_BOOLEANS.get(text.lower(), text), text, mark, quoted=False)
    if name == "store":
        return Scalar(text, text, mark, quoted=True)
    try:
        value = resolve_plain(text)
    except ValueError:
        value = text
    return Scalar(value, text, mark, quoted=False)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[tuple[str, Pair]]:
    for name, value in flags.items():
        if value is not None:
            mark = Mark("--" + name.replace("_", "-"))
            yield name, Pair(mark, node_of(value, mark))


def _without_secrets(mistake: Mistake) -> Mistake:
    found = re.fullmatch(r"unknown key '(.*)'", mistake.fact)
    section = mistake.path.partition(".")[0].partition("[")[0]
    if found and section in {"mold", "servers"} and _SECRETS.fullmatch(found[1]):
        fact = f"the key {found[1]!r}: secrets are never in this file"
        hint = "put them into a key_file, the keyring, or ISOBUILDER_MOLD_* variables"
        if section == "servers":
            hint = "put it into a file of its own, and name that as password_file"
        return replace(mistake, fact=fact, hint=hint)
    return mistake
