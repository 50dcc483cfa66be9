"""How connections behave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isobuilder import __version__

PIECE = 256 * 1024
"""Most bytes received at a time: larger falls out of the processor's cache."""


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """How one server, or a part of it, wants to be reached."""

    address: str  # http(s)://host[:port][/path]: what begins with it
    ca_file: Path | None = None  # of the authority that its certificate is by; None: the usual ones
    client_certificate: Path | None = None
    client_key: Path | None = None  # None: in the file of the certificate
    user: str = ""
    password_file: Path | None = None  # its first line is the password


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How connections behave; all times in seconds."""

    retries: int = 6  # tries after the first
    retry_budget: float = 300.0  # waiting between the tries for one thing
    first_delay: float = 0.5  # before the second try; doubles
    connect_timeout: float = 10.0
    stall_timeout: float = 60.0  # without a byte
    least_speed: int = 1024  # bytes of a body a second; 0: any
    least_speed_seconds: float = 60.0  # of waiting, over which that is measured
    limit_rate: int | None = None  # bytes per second over all connections
    per_host: int = 8  # connections
    offline: bool = False
    folders: tuple[Path, ...] = ()  # of mirrors on this machine: all that file: addresses may reach
    servers: tuple[ServerAccess, ...] = ()  # the longest address that fits a request counts
    own_hosts: frozenset[str] = frozenset()  # of mirrors: those a netrc's default login is for
    user_agent: str = f"isobuilder/{__version__}"
