"""Upstream's programs once more, from source, for ``make rebuild``.

kubeadm, kubectl and kubelet of the current release are compiled as upstream compiles them; a test
compares them with the digests that upstream released, which are those of the lock that is shipped.
Upstream builds kubelet with C, in its image of Debian bullseye; a chroot of bullseye takes its
place here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tools.lab import debian, golang, kubernetes
from tools.lab.golang import Go
from tools.lab.kubernetes import CURRENT
from tools.lab.place import LabError, fingerprint, once, remove, run

SUITE = "bullseye"
_PACKAGES = "gcc,libc6-dev"  # 10.2.1-6 and 2.31, which upstream's image has too


@dataclass(frozen=True, slots=True)
class Program:
    """One program that upstream released, and the digest it published for it."""

    name: str
    architecture: str
    digest: str  # hex of its SHA-256

    def __str__(self) -> str:
        return f"{self.name} {CURRENT.version} {self.architecture}"


RELEASED = (
    Program("kubeadm", "amd64", "087b6340dcea496f2cde2b3888ecd414354c08a0aceabd6b7ca195cccb66ecd3"),
    Program("kubectl", "amd64", "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8"),
    Program("kubelet", "amd64", "cee008c1640c3b41820ef31d35b3cffc132b0c4b78c288be2b8022ebc7aa8293"),
    Program("kubectl", "arm64", "ff749f4b78d9c4f1ec87307df9b50119ed819e2094aa9810cb9acffc3286c8c7"),
)


def rebuilt(lab: Path, program: Program) -> Path:
    """Return the file that this machine makes of the source of ``program``.

    Raises:
        LabError: Go is another than upstream's, a module or package cannot be had, kubelet is to be
            built without root, or a build failed.
    """
    if golang.version() != CURRENT.compiler:
        raise LabError(
            f"Go {golang.version()}: the bytes of {program} need Go {CURRENT.compiler}, which "
            f"upstream used\nhint: install that one and put it first in PATH"
        )
    go = Go(lab / "go")
    if program.name == "kubelet" and os.geteuid() != 0:
        raise LabError("kubelet is built in a chroot, which needs root\nhint: run it as root")

    def make(target: Path) -> None:
        tree = go.root / f"tree-{program.name}-{program.architecture}"
        kubernetes.lay_out(go, CURRENT, tree, (program.name,), program.architecture)
        if program.name == "kubelet":
            _in_chroot(go, _chroot(lab), tree, target)
        else:
            kubernetes.build(go, CURRENT, tree, target, (program.name,), program.architecture)
        remove(tree)

    sources = (Path(__file__), Path(kubernetes.__file__), CURRENT.modules)
    mark = fingerprint(golang.version(), repr(CURRENT), *sources)
    return once(lab / f"rebuilt/{program.name}-{program.architecture}", mark, make) / program.name


def _chroot(lab: Path) -> Path:
    """Return a root file system with the C compiler of upstream's build image."""
    mirrors = debian.mirrors(debian.host_sources())

    def make(target: Path) -> None:
        run(
            [
                *("mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}"),
                *('--aptopt=Acquire::Check-Valid-Until "false"', f"--keyring={mirrors.signed_by}"),
                *(SUITE, target / "root", f"deb {mirrors.archive} {SUITE} main"),
            ],
            timeout=1800,
        )

    return once(lab / f"chroot-{SUITE}", fingerprint(SUITE, _PACKAGES), make) / "root"


def _in_chroot(go: Go, root: Path, tree: Path, into: Path) -> None:
    """Build kubelet with C: everything lies in the chroot where it lies outside."""
    home = Path(run(["go", "env", "GOROOT"]).strip())
    variables = kubernetes.environment(go, CURRENT) | {"CGO_ENABLED": "1", "HOME": "/tmp"}
    variables["PATH"] = f"{go.root / 'git'}:{home / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    argv = kubernetes.build_command(CURRENT, into, ("kubelet",), static=False)
    binds = [
        f'mkdir -p "{root}{folder}" && mount --bind "{folder}" "{root}{folder}"'
        for folder in (Path("/proc"), home, go.root, into)
    ]
    # The mounts are those of this one process and go with it.
    script = " && ".join(
        [*binds, f'exec chroot "{root}" sh -c \'cd "$1" && shift && exec "$@"\' sh "$@"']
    )
    run(
        ["unshare", "--mount", "sh", "-c", script, "sh", tree, *argv],
        env=variables,
        timeout=5400,
    )
