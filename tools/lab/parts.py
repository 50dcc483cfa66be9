"""The other programs of a node: Debian's packages repacked the way their projects release them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tools.lab.archives import Entry, pack, tree
from tools.lab.debian import Apt
from tools.lab.kubernetes import Go, compiler
from tools.lab.place import HERE, LabError, fingerprint, once

CONTAINERD = "1.6.20"
RUNC = "1.1.5"
CNI_PLUGINS = "1.1.1"
ETCD = "3.4.23"
CRICTL = "1.20.0"
VERSIONS = {  # Debian package -> upstream's version in bookworm, which the recipes name too
    "containerd": CONTAINERD,
    "runc": RUNC,
    "containernetworking-plugins": CNI_PLUGINS,
    "etcd-server": ETCD,
    "etcd-client": ETCD,
}
_BASE = ("libc6",)
_PROXY = (
    "conntrack",
    "ipset",
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "libipset13",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
)
_PEERS = (
    "docker-registry",
    "libc6",
    "libcrypt1",
    "libpcre2-8-0",
    "libssl3",
    "nginx",
    "zlib1g",
)


@dataclass(frozen=True, slots=True)
class Debian:
    """Packages of bookworm, unpacked and not installed."""

    root: Path

    @property
    def base(self) -> Path:
        """libc, for images of programs that are not static."""
        return self.root / "base"

    @property
    def proxy(self) -> Path:
        """iptables, ipset and conntrack with their libraries."""
        return self.root / "proxy"

    @property
    def parts(self) -> Path:
        """containerd, runc, the CNI plugins and etcd."""
        return self.root / "parts"

    @property
    def peers(self) -> Path:
        """Nginx and docker-registry with all their libraries."""
        return self.root / "peers"

    def version(self, package: str) -> str:
        """Return Debian's version of an unpacked package."""
        versions: dict[str, str] = json.loads((self.root / "versions.json").read_text())
        return versions[package]


def unpacked(lab: Path, apt: Apt) -> Debian:
    """Return the unpacked packages, each group in a tree of its own.

    Raises:
        LabError: Debian has another upstream version by now than the recipes name.
    """
    groups = {"base": _BASE, "proxy": _PROXY, "parts": tuple(VERSIONS), "peers": _PEERS}

    def make(root: Path) -> None:
        versions: dict[str, str] = {}
        for name, packages in groups.items():
            versions |= apt.unpack(packages, root / name)
        for package, expected in VERSIONS.items():
            found = upstream_version(versions[package])
            if found != expected:
                raise LabError(
                    f"{package}: Debian has {found} by now, expected {expected}\n"
                    "hint: change it in tools/lab/parts.py and in tools/lab/recipes"
                )
        (root / "versions.json").write_text(json.dumps(versions, indent=2, sort_keys=True))

    return Debian(once(lab / "debian", fingerprint(repr(groups), apt.suite, "1"), make))


def upstream_version(debian: str) -> str:
    """Return ``1.6.20`` for ``1.6.20~ds1-1+deb12u3``."""
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", debian)
    if match is None:
        raise LabError(f"{debian}: no version of three numbers in it")
    return match[1]


def stand_ins(lab: Path, apt: Apt) -> Go:
    """Return the compiler for stand-ins; its cache outlives the run."""
    return compiler(lab, apt)


def repacked(lab: Path, debian: Debian, go: Go) -> Path:
    """Return a directory of release files named as their projects name them."""

    def make(target: Path) -> None:
        programs = debian.parts / "usr"
        # Upstream's own archive begins every name with "./".
        plugins = [Entry("./"), *tree(programs / "lib/cni", under="./")]
        pack(plugins, target / f"cni-plugins-linux-amd64-v{CNI_PLUGINS}.tgz")
        top = f"etcd-v{ETCD}-linux-amd64/"
        etcd = [Entry(f"{top}{name}", programs / "bin" / name, mode=0o755) for name in _ETCD]
        readme = f"etcd from Debian's packages {debian.version('etcd-server')}\n".encode()
        pack(
            [Entry(top), *etcd, Entry(f"{top}README.md", readme)],
            target / f"etcd-v{ETCD}-linux-amd64.tar.gz",
        )
        runtime = [
            Entry(f"bin/{name}", programs / "bin" / name, mode=0o755) for name in _CONTAINERD
        ]
        pack([Entry("bin/"), *runtime], target / f"containerd-{CONTAINERD}-linux-amd64.tar.gz")
        (target / "runc.amd64").write_bytes((programs / "sbin/runc").read_bytes())
        crictl = target / "crictl"
        go.build(["."], crictl, cwd=HERE / "stand_ins/crictl", stamps={"main.version": CRICTL})
        pack(
            [Entry("crictl", crictl, mode=0o755)],
            target / f"crictl-v{CRICTL}-linux-amd64.tar.gz",
        )
        crictl.unlink()

    mark = fingerprint(
        (debian.root / ".mark").read_text(),
        HERE / "parts.py",
        HERE / "archives.py",
        HERE / "stand_ins/crictl",
    )
    return once(lab / "releases", mark, make)


_ETCD = ("etcd", "etcdctl")
_CONTAINERD = (
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "ctr",
)
