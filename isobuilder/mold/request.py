"""What a person wants registered, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from isobuilder.errors import InputError, IsobuilderError
from isobuilder.model.registration import RegistrationFile
from isobuilder.rules.fit import Unfit


class Outcome(StrEnum):
    """How a zone ended."""

    READY = "ready"
    PENDING = "pending"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ZoneResult:
    """What a zone has in the end."""

    zone: str
    outcome: Outcome
    text: str
    version_id: str | None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What is to be registered and how."""

    registration: RegistrationFile
    url: str | None = None
    upload: Path | None = None  # the ISO, sent through Mold in place of a URL
    iso: Path | None = None  # the ISO, if it is at hand: compared with what a server has
    zones: tuple[str, ...] = ()  # names or ids; none is all zones
    unfit: tuple[Unfit, ...] = ()  # why what is on the ISO does not fit together
    name: str | None = None
    enabled: bool | None = None  # None: as it is; a new version is Enabled
    direct_download: bool = False
    min_cpu: int | None = None
    min_memory: int | None = None  # MB
    wait: bool = True
    timeout: float = 3600.0  # seconds until every zone is Ready
    poll: float = 3.0  # seconds between two looks
    keep_failed: bool = False
    dry_run: bool = False

    @property
    def full_name(self) -> str:
        """The name the version gets."""
        return self.name or self.registration.name


@dataclass(slots=True)
class ServerResult:
    """What became of a request on one server."""

    server: str
    zones: list[ZoneResult] = field(default_factory=list)
    done: list[str] = field(default_factory=list)  # changes made, in order; or planned by a dry run
    warnings: list[str] = field(default_factory=list)
    error: IsobuilderError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return self.error is None and all(zone.outcome is not Outcome.FAILED for zone in self.zones)


def check_request(request: RegistrationRequest) -> None:
    """Refuse what no server would take, before any is asked.

    Raises:
        InputError: which field, and what is wrong with it; or what on the ISO cannot work together.
    """
    if errors := [one for one in request.unfit if one.level == "error"]:
        facts = [f"{request.full_name}: {one}" for one in errors]
        raise InputError(*facts, hint="; ".join(one.hint for one in errors))
    if (request.url is None) == (request.upload is None):
        raise InputError("give either the URL of the ISO or the ISO itself with --upload")
    if request.upload is not None and request.registration.arch != "x86_64":
        raise InputError(
            f"an ISO for {request.registration.arch} cannot be uploaded: "
            "Mold's upload has no field for the architecture",
            hint="put it on a web server and give --url",
        )
    if request.upload is not None and request.direct_download:
        raise InputError("an upload cannot be downloaded directly by the hosts")
    if request.url is not None:
        if not re.match(r"https?://[^/@\s]+/", request.url):
            raise InputError(
                f"URL of the ISO: expected http:// or https:// and no credentials, "
                f"got {re.sub(r'//[^/]*@', '//...@', request.url)[:100]!r}"
            )
        if not request.url.split("?")[0].lower().endswith(".iso"):
            raise InputError(
                f"URL of the ISO: its path must end in .iso, got {request.url[:200]!r}",
                hint="Mold decides by the extension",
            )
    cpu = request.registration.mincpunumber if request.min_cpu is None else request.min_cpu
    memory = request.registration.minmemory if request.min_memory is None else request.min_memory
    if cpu < 2 or memory < 2048:
        raise InputError(
            f"Mold takes at least 2 CPUs and 2048 MB, got {cpu} and {memory}",
            hint="give --min-cpu and --min-memory",
        )
