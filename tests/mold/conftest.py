"""A simulated Mold, a web server with an ISO, and clients for both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.mold import Cloud, CloudUser, Timing
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import VirtualClock

ADMIN = CloudUser("admin", "Ak-admin-0123456789", "Sk-admin-secret-9876543210", "password")
VIEWER = CloudUser(
    "viewer", "Ak-viewer-0123456789", "Sk-viewer-secret-987654", "password", role="user"
)


def iso_bytes(mark: str = "r1") -> bytes:
    """Return what a storage VM takes for an ISO: the magic word at its place."""
    return (b"\0" * 32769 + b"CD001" + mark.encode()).ljust(40960, b"\0")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@pytest.fixture
def cloud(clock: VirtualClock) -> Cloud:
    cloud = Cloud(clock=clock, pace=Timing(allocated=2, downloading=6, installing=2, join=True))
    cloud.users += [
        CloudUser(user.name, user.key, user.secret, user.password, user.role)
        for user in (ADMIN, VIEWER)
    ]
    return cloud


@pytest.fixture
def simulator(cloud: Cloud) -> Iterator[FakeMold]:
    with FakeMold(cloud) as simulator:
        yield simulator


def server_of(simulator: FakeMold, user: CloudUser = ADMIN, name: str = "lab") -> MoldServer:
    return MoldServer(
        name, simulator.endpoint, ApiKey(user.key, user.secret), timeout=60.0, origin="the test"
    )


ClientOf = Callable[..., Mold]


@pytest.fixture
def client_of(clock: VirtualClock) -> Iterator[ClientOf]:
    with ExitStack() as stack:

        def make(simulator: FakeMold, user: CloudUser = ADMIN, **options: Any) -> Mold:
            server = options.pop("server", None) or server_of(simulator, user)
            client = Mold(server, **({"clock": clock} | options))
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def client(simulator: FakeMold, client_of: ClientOf) -> Mold:
    return client_of(simulator)


@dataclass
class Published:
    """An ISO that was built, and where it can be fetched."""

    registration: RegistrationFile
    url: str
    path: Path


PublishedOf = Callable[..., Published]


def registration_of(
    version: str = "1.34.12", data: bytes = b"", arch: str = "x86_64", revision: int = 1
) -> RegistrationFile:
    go_arch = {"x86_64": "amd64", "aarch64": "arm64"}[arch]
    return RegistrationFile.model_validate(
        {
            "schema": 1,
            "name": f"v{version}-mold-cks-{go_arch}-r{revision}",
            "kubernetesversion": version,
            "arch": arch,
            "checksum": "{SHA-256}" + hashlib.sha256(data).hexdigest(),
            "filename": f"kubernetes-v{version}-mold-cks-{go_arch}-r{revision}.iso",
            "size": len(data),
            "mincpunumber": 2,
            "minmemory": 2048,
            "download_url": None,
            "product_version": f"{version}+mold-cks.r{revision}",
            "profile": "mold-cks",
            "revision": revision,
        }
    )


@pytest.fixture
def publish(web: Web, tmp_path: Path) -> PublishedOf:
    def make(version: str = "1.34.12", arch: str = "x86_64", revision: int = 1) -> Published:
        data = iso_bytes(f"{version} {arch} r{revision}")
        registration = registration_of(version, data, arch, revision)
        path = tmp_path / "isos" / registration.filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.with_suffix(".registration.json").write_bytes(registration.to_bytes())
        return Published(registration, web.put(f"/k8s/{registration.filename}", data), path)

    return make


@pytest.fixture
def published(publish: PublishedOf) -> Published:
    return publish()
