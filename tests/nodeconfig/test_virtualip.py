"""The virtual IP held by real keepalived on three machines, which are network namespaces here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.nodeconfig.virtualip import STATE, keepalived_config
from tests.nodeconfig.clusters import read

PROGRAM = shutil.which("keepalived", path=f"{os.environ['PATH']}:/usr/sbin")
WELL, ILL = "0\n", "-60\n"

pytestmark = pytest.mark.skipif(
    PROGRAM is None or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="needs keepalived, iproute2 and root, for network namespaces",
)

THREE = """\
schema: 1
kubernetes: "1.37.1"
networks:
  nodes: {gateway: GATE1}
  pods: PODS
  services: SERVICES
virtual_ip: {address: "NET100", image: "registry.example/keepalived:2.3.4"}
nodes:
  - {name: one, role: first-control-plane, address: "NET11/LENGTH"}
  - {name: two, role: control-plane, address: "NET12/LENGTH"}
  - {name: three, role: control-plane, address: "NET13/LENGTH"}
"""
FAMILIES = {
    4: {"NET": "10.77.0.", "LENGTH": "24", "PODS": "10.244.0.0/16", "SERVICES": "10.96.0.0/12"},
    6: {"NET": "fd00:77::", "LENGTH": "64", "PODS": "fd00:1::/56", "SERVICES": "fd00:2::/112"},
}


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


class Planes:
    """Three control planes on one network."""

    def __init__(self, folder: Path, family: int) -> None:
        text = THREE.replace("GATE1", '"NET1"')
        for word, value in FAMILIES[family].items():
            text = text.replace(word, value)
        self.cluster = read(text)
        self.mark = f"kiso{family}-{os.getpid() % 100000}"
        self.names = [f"{self.mark}-{index}" for index in range(3)]
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        ip("link", "add", self.mark, "type", "bridge")
        ip("link", "set", self.mark, "up")
        for name, node in zip(self.names, self.cluster.nodes, strict=True):
            ip("netns", "add", name)
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", name, "master", self.mark, "up")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "addr", "add", node.address[0], "dev", "eth0", "nodad")
        time.sleep(2)  # until link-local addresses may be used
        for index, (name, node) in enumerate(zip(self.names, self.cluster.nodes, strict=True)):
            own = self.folder / str(index)
            own.mkdir()
            self.say(index, ILL)
            assert self.cluster.virtual_ip is not None
            text = keepalived_config(self.cluster, node, self.cluster.virtual_ip)
            text = text.replace("@INTERFACE@", "eth0").replace(STATE, str(own))
            (own / "conf").write_text(text)
            words = ["ip", "netns", "exec", name, str(PROGRAM), "--dont-fork", "--log-console"]
            words += ["--vrrp", f"--use-file={own}/conf", f"--pid={own}/a", f"--vrrp_pid={own}/b"]
            with (own / "log").open("wb") as log:
                self.running.append(subprocess.Popen(words, stdout=log, stderr=log))

    def say(self, index: int, text: str) -> None:
        (self.folder / str(index) / "api").write_text(text)

    def holds(self, index: int) -> bool:
        assert self.cluster.virtual_ip is not None
        shown = ip("-n", self.names[index], "-brief", "address", "show", "eth0")
        return f" {self.cluster.virtual_ip.address}/" in shown

    def comes_to(self, index: int, *, off: tuple[int, ...] = ()) -> bool:
        """Wait until ``index`` has the address, and nobody else who is not off."""
        wanted = [other == index for other in range(3) if other not in off]
        for _ in range(100):
            if [self.holds(other) for other in range(3) if other not in off] == wanted:
                return True
            time.sleep(0.2)
        return False

    def switch_off(self, index: int) -> None:
        ip("-n", self.names[index], "link", "set", "eth0", "down")
        self.running[index].kill()

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.mark], check=False, capture_output=True)


@pytest.fixture
def planes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Planes]:
    made = Planes(tmp_path, request.param)
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.mark.slow
@pytest.mark.parametrize("planes", FAMILIES, indirect=True)
def test_the_address_goes_to_a_control_plane_that_is_well(planes: Planes) -> None:
    assert planes.comes_to(0), "the first makes the cluster by this address: it needs it while ill"
    for index in range(3):
        planes.say(index, WELL)
    assert planes.comes_to(0)
    planes.say(0, ILL)
    assert planes.comes_to(1)
    planes.say(0, WELL)
    assert planes.comes_to(0)
    planes.switch_off(0)
    assert planes.comes_to(1, off=(0,))
