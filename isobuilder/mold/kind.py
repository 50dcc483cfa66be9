"""Which kind of server answers, Mold or CloudStack, and what follows from that for an ISO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isobuilder.errors import MoldError
from isobuilder.model.profile import PROFILES, Cloud
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey
from isobuilder.mold.api.records import ONLY_ARCHITECTURE
from isobuilder.mold.api.signing import SignatureAlgorithm
from isobuilder.text import printable

# Fields that Mold adds to what CloudStack says of itself; they are there whatever their value.
# Source: ablecloud-team/ablestack-cloud, CapabilitiesResponse.java at 25f556e2.
_ONLY_MOLD = {
    "automationserviceenabled",
    "desktopserviceenabled",
    "disasterrecoveryenabled",
    "securityfeaturesenabled",
}
_NAMES: dict[Cloud, str] = {"mold": "Mold", "cloudstack": "CloudStack"}
_NODES: dict[Cloud, str] = {
    "mold": "its nodes check SHA256SUMS and import images by digest, as docker/images.list says",
    "cloudstack": "its nodes import every file in docker/, by tag; an upgrade ends at images.list "
    "and without dashboard.yaml",
}
_ARCHITECTURES = "ISOs for aarch64"
# What a version is the first to have, as contract A.11 tells; Mold counts as CloudStack does.
_SINCE: tuple[tuple[tuple[int, int], str], ...] = (
    ((4, 16), "autoscaling and a provider from the ISO"),
    ((4, 20), _ARCHITECTURES),
    ((4, 21), "nodes for etcd"),
    ((4, 22), "the CSI driver from the ISO, uploads"),
)


@dataclass(frozen=True, slots=True)
class ServerKind:
    """Mold or CloudStack, and its version as it tells it; empty if it does not."""

    cloud: Cloud
    version: str

    def __str__(self) -> str:
        """Return its name."""
        return f"{_NAMES[self.cloud]} {self.version or 'of an unknown version'}"

    @property
    def differs(self) -> str:
        """Return what its nodes do in their own way."""
        return _NODES[self.cloud]

    @property
    def profiles(self) -> list[str]:
        """Return the profiles of ISOs that its nodes take."""
        return [name for name, profile in PROFILES.items() if profile.cloud == self.cloud]

    @property
    def lacks(self) -> list[str]:
        """Return what a server of this age does not have yet."""
        found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", self.version)
        if found is None:
            return []
        own = (int(found[1]), int(found[2]))
        return [what for since, what in _SINCE if own < since]

    def misfit(self, profile: str) -> str | None:
        """Return why an ISO of a profile is not for it, None if it is or nobody knows."""
        wanted = next((p.cloud for name, p in PROFILES.items() if name == profile), None)
        if wanted in {None, self.cloud}:
            return None
        return (
            f"an ISO of the profile {profile} is not for {self}: {self.differs}; "
            f"build one of {' or '.join(self.profiles)}"
        )


def kind_of(mold: Mold, said: Mapping[str, Any]) -> ServerKind:
    """Return what a server is by the capabilities it names.

    Keys that sign with SHA-256 are accepted by Mold alone.
    """
    version = said.get("cloudstackversion")
    text = printable(version, 100) if isinstance(version, str) else ""
    signs = isinstance(mold.server.credentials, ApiKey)
    sha256 = signs and mold.server.algorithm is SignatureAlgorithm.HMAC_SHA256
    is_mold = bool(_ONLY_MOLD.intersection(said)) or "mold" in text.lower() or sha256
    return ServerKind("mold" if is_mold else "cloudstack", text)


def refuse_architecture(mold: Mold, kind: ServerKind, arch: str) -> None:
    """Refuse an ISO that a server would take for one of its only architecture.

    One that knows none ignores the parameter and registers the ISO all the same. Whether it does
    is told by the parameters of its command, or else by its version.

    Raises:
        MoldError: it knows no architectures.
    """
    if arch == ONLY_ARCHITECTURE:
        return
    parameters = mold.parameters("addKubernetesSupportedVersion")
    knows = "arch" in parameters if parameters else _ARCHITECTURES not in kind.lacks
    if not knows:
        raise MoldError(
            f"{mold.name}: {kind} knows no architectures: it would take an ISO for {arch} for one "
            f"of {ONLY_ARCHITECTURE}",
            hint=f"build one of {ONLY_ARCHITECTURE} for it; {arch} can be registered from 4.20 on",
        )
