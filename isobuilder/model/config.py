"""Settings: how this machine reaches upstream and where it keeps things. Never part of a lock."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from isobuilder.model.base import Model


def check_origin(text: str) -> str:
    """Return ``text`` if mirrors can stand for it: ``https://host[/path]`` or a registry's name."""
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"expected https://host or https://host/path, got {text[:80]!r}")
        return text.rstrip("/")
    if not text or "/" in text or "@" in text:
        raise ValueError(f"expected the host of a registry, such as registry.k8s.io, got {text!r}")
    return text


def check_mirror(text: str) -> str:
    """Return ``text`` if bytes can come from there: http, https or file."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in a mirror's address; use ~/.netrc or a registry login")
    if parts.scheme not in {"http", "https", "file"} or (
        parts.scheme != "file" and not parts.hostname
    ):
        raise ValueError(f"expected http://, https:// or file://, got {text[:80]!r}")
    return text.rstrip("/")


Origin = Annotated[str, AfterValidator(check_origin)]
Mirror = Annotated[str, AfterValidator(check_mirror)]

MIB = 1024 * 1024


class MoldProfile(Model):
    """One management server by name. Keys come from elsewhere: this file may be shown to anyone."""

    endpoint: str
    signature: Literal["hmac-sha256", "hmac-sha1"] = "hmac-sha256"  # Mold; Apache CloudStack
    key_file: str | None = None
    ca_file: str | None = None  # certificates of a private authority
    timeout: PositiveFloat = 30.0  # seconds for one answer


class Config(Model):
    """Every setting with its default; flags and ``ISOBUILDER_*`` variables override the file."""

    mirrors: dict[Origin, tuple[Mirror, ...]] = {}
    mold: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")], MoldProfile] = {}
    store: str | None = None  # a folder; None is the user's cache directory
    jobs: Annotated[int, Field(ge=1, le=64)] = 8  # transfers at once
    per_host: Annotated[int, Field(ge=1, le=64)] = 8  # of them to one host
    limit_rate: PositiveInt | None = None  # bytes per second over all transfers
    offline: bool = False
    retries: NonNegativeInt = 6  # tries after the first, for each address
    retry_budget: PositiveFloat = 300.0  # seconds of waiting, for each file
    connect_timeout: PositiveFloat = 10.0  # seconds
    stall_timeout: PositiveFloat = 60.0  # seconds without a byte
    max_file_size: PositiveInt = 4096 * MIB  # bytes, where nothing else says how long a file is


def mirror_urls(config: Config, url: str) -> tuple[str, ...]:
    """Return where to ask for ``url``, in order: the mirrors of its longest origin, else itself.

    Mirrors replace the origin: a site without Internet must not wait for time-outs. Name the origin
    itself as the last mirror to fall back to it.
    """
    best = ""
    for origin in config.mirrors:
        if (
            "://" in origin
            and (url == origin or url.startswith(origin + "/"))
            and len(origin) > len(best)
        ):
            best = origin
    if not best:
        return (url,)
    return tuple(mirror + url[len(best) :] for mirror in config.mirrors[best])


def registry_bases(config: Config, registry: str) -> tuple[str, ...]:
    """Return the addresses that serve ``registry``, in order, without the ``/v2/`` part.

    A mirror such as ``http://127.0.0.1:5000/registry.k8s.io`` serves the repositories of the
    registry below a repository prefix: ``/v2/registry.k8s.io/pause/manifests/3.10``.
    """
    mirrors = config.mirrors.get(registry)
    if mirrors:
        return mirrors
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    return (f"https://{host}",)
