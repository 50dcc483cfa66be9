"""The other programs of a node and its images: built from their modules, packed as released."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.lab import golang
from tools.lab.archives import Entry, pack, tree
from tools.lab.debian import Apt
from tools.lab.golang import Go, Target
from tools.lab.place import HERE, LabError, fingerprint, once

CONTAINERD = "2.3.7"
RUNC = "1.4.4"
CNI_PLUGINS = "1.9.1"
ETCD = "3.7.0"
CRICTL = "1.37.0"
COREDNS = "1.14.6"
KUBE_ROUTER = "2.1.0"
METRICS_SERVER = "0.8.0"
KEEPALIVED = "2.2.7"  # bookworm's

_PROJECT = "github.com/containerd/containerd/v2/version"
TARGETS = {  # folder of modules/ -> how its programs are built
    "containerd": Target(
        stamps={
            f"{_PROJECT}.Version": f"v{CONTAINERD}",
            f"{_PROJECT}.Package": "github.com/containerd/containerd/v2",
        }
    ),
    # Static, with seccomp: kubeadm's pods ask for RuntimeDefault.
    "runc": Target(
        cgo=True,
        tags="seccomp,netgo,osusergo",
        stamps={"main.version": RUNC},
        linker="-linkmode external -extldflags=-static",
    ),
    "cni-plugins": Target(
        stamps={
            "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": (
                f"v{CNI_PLUGINS}"
            )
        }
    ),
    "crictl": Target(stamps={"sigs.k8s.io/cri-tools/pkg/version.Version": f"v{CRICTL}"}),
    "etcd": Target(),
    "coredns": Target(),
    "kube-router": Target(),
    "metrics-server": Target(),
    "helm": Target(),  # on no ISO: what recipes with charts are rendered with
}
CHECKERS = ("actionlint", "versitygw")  # on no ISO and in no archive: for tests alone
EARLIER = {  # Kubernetes before the current -> what else its kubeadm asks for
    "1.36.5": ("etcd-3.6.8", "coredns-1.14.2"),
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
_ROUTER = ("iproute2", "libbpf1", "libbsd0", "libcap2", "libdb5.3", "libelf1", "libmd0", "zlib1g")
_KEEPALIVED = (
    "keepalived",
    "libblkid1",
    "libcap2",
    "libcom-err2",
    "libcrypt1",
    "libffi8",
    "libgcrypt20",
    "libglib2.0-0",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "liblz4-1",
    "liblzma5",
    "libmnl0",
    "libmount1",
    "libnftnl11",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libnsl2",
    "libpci3",
    "libpcre2-8-0",
    "libperl5.36",
    "libselinux1",
    "libsensors5",
    "libsnmp40",
    "libssl3",
    "libsystemd0",
    "libtirpc3",
    "libudev1",
    "libwrap0",
    "libzstd1",
    "zlib1g",
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
    def router(self) -> Path:
        """iproute2 with its libraries."""
        return self.root / "router"

    @property
    def keepalived(self) -> Path:
        """Keepalived with its libraries."""
        return self.root / "keepalived"

    @property
    def peers(self) -> Path:
        """Nginx and docker-registry with all their libraries."""
        return self.root / "peers"


def unpacked(lab: Path, apt: Apt) -> Debian:
    """Return the unpacked packages, each group in a tree of its own."""
    groups = {"base": _BASE, "proxy": _PROXY, "router": _ROUTER}
    groups |= {"keepalived": _KEEPALIVED, "peers": _PEERS}

    def make(root: Path) -> None:
        versions: dict[str, str] = {}
        for name, packages in groups.items():
            versions |= apt.unpack(packages, root / name)
        (root / "versions.json").write_text(json.dumps(versions, indent=2, sort_keys=True))

    return Debian(once(lab / "debian", fingerprint(repr(groups), apt.suite, "1"), make))


def programs(lab: Path, go: Go, versions: Iterable[str] = ()) -> dict[str, Path]:
    """Return the folder of programs for each module, with what those Kubernetes ``versions`` add.

    Raises:
        LabError: a module cannot be had, or a C compiler or library that runc needs is missing.
    """
    built = {}
    more = {name: Target() for version in versions for name in EARLIER.get(version, ())}
    for name, target in {**TARGETS, **more}.items():
        try:
            built[name] = golang.built(lab, go, name, target)
        except LabError as error:
            if target.cgo:
                raise LabError(f"{error}\nhint: apt-get install gcc libseccomp-dev") from error
            raise
    return built


def repacked(lab: Path, built: dict[str, Path]) -> Path:
    """Return a directory of release files named as their projects name them."""

    def make(target: Path) -> None:
        # Upstream's own archive begins every name with "./".
        plugins = [Entry("./"), *tree(built["cni-plugins"], under="./")]
        pack(_programs_only(plugins), target / f"cni-plugins-linux-amd64-v{CNI_PLUGINS}.tgz")
        top = f"etcd-v{ETCD}-linux-amd64/"
        etcd = [
            Entry(f"{top}{name}", built["etcd"] / program, mode=0o755)
            for name, program in ETCD_PROGRAMS.items()
        ]
        pack([Entry(top), *etcd], target / f"etcd-v{ETCD}-linux-amd64.tar.gz")
        runtime = [
            Entry(f"bin/{name}", built["containerd"] / name, mode=0o755) for name in _CONTAINERD
        ]
        pack([Entry("bin/"), *runtime], target / f"containerd-{CONTAINERD}-linux-amd64.tar.gz")
        (target / "runc.amd64").write_bytes((built["runc"] / "runc").read_bytes())
        pack(
            [Entry("crictl", built["crictl"] / "crictl", mode=0o755)],
            target / f"crictl-v{CRICTL}-linux-amd64.tar.gz",
        )

    mark = fingerprint(
        *((folder / ".mark").read_text() for folder in built.values()),
        HERE / "parts.py",
        HERE / "archives.py",
    )
    return once(lab / "releases", mark, make)


def _programs_only(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.name.endswith(".mark")]


ETCD_PROGRAMS = {"etcd": "server", "etcdctl": "etcdctl"}  # the last part of the module's path
_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
