"""Which kind of server answers is told by what it says, and an ISO of the other kind is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, Login, MoldServer
from isobuilder.mold.api.signing import SignatureAlgorithm
from isobuilder.mold.kind import ServerKind, kind_of

SHA1, SHA256 = SignatureAlgorithm.HMAC_SHA1, SignatureAlgorithm.HMAC_SHA256
KEY, LOGIN = ApiKey("k", "s"), Login("admin", "password", "/")
CLOUDSTACK = {"cloudstackversion": "4.23.0.0-SNAPSHOT", "kubernetesserviceenabled": True}
MOLD = {"cloudstackversion": "4.21.0.0-Mold.Diplo.202606121525", "securityfeaturesenabled": False}


@pytest.mark.parametrize(
    ("said", "credentials", "algorithm", "kind"),
    [
        (CLOUDSTACK, KEY, SHA1, "CloudStack 4.23.0.0-SNAPSHOT"),
        (CLOUDSTACK, LOGIN, SHA256, "CloudStack 4.23.0.0-SNAPSHOT"),
        (MOLD, KEY, SHA1, "Mold 4.21.0.0-Mold.Diplo.202606121525"),
        (MOLD, LOGIN, SHA1, "Mold 4.21.0.0-Mold.Diplo.202606121525"),
        ({"desktopserviceenabled": False}, LOGIN, SHA1, "Mold of an unknown version"),
        ({"cloudstackversion": "4.23.0.0"}, KEY, SHA256, "Mold 4.23.0.0"),
        ({}, KEY, SHA1, "CloudStack of an unknown version"),
        ({"cloudstackversion": 4}, KEY, SHA1, "CloudStack of an unknown version"),
        ({"cloudstackversion": "4\x1b[31m"}, KEY, SHA1, "CloudStack 4\\x1b[31m"),
    ],
)
def test_a_server_is_known_by_what_it_says_of_itself(
    said: dict[str, Any], credentials: ApiKey | Login, algorithm: SignatureAlgorithm, kind: str
) -> None:
    server = MoldServer("x", "http://127.0.0.1:1/client/api", credentials, algorithm)
    assert str(kind_of(Mold(server), said)) == kind


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("4.23.0.0", 0),
        ("4.21.0.0", 1),
        ("4.20.2", 2),
        ("4.19.1.3", 3),
        ("4.9", 4),
        ("", 0),
        ("unknown", 0),
        ("4.20.junk", 2),
        ("99999999999999999999.1", 0),
    ],
)
def test_what_a_server_is_too_old_for_is_known(version: str, lacks: int) -> None:
    assert len(ServerKind("cloudstack", version).lacks) == lacks


def test_a_profile_fits_the_nodes_of_its_cloud_only() -> None:
    mold, cloudstack = ServerKind("mold", "4.23"), ServerKind("cloudstack", "4.23")
    assert mold.misfit("mold-cks") is mold.misfit("mold-cks-csi") is None
    assert cloudstack.misfit("cloudstack-cks") is None
    assert cloudstack.misfit("of-another-builder") is None
    assert "images.list" in (cloudstack.misfit("mold-cks") or "")
    assert "build one of mold-cks or mold-cks-csi" in (mold.misfit("cloudstack-cks") or "")
