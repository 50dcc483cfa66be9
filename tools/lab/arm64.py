"""The lab once more for arm64: the same parts, made on this machine for the other processor.

All lies in ``arm64`` below the lab, laid out as the lab itself is, so ``lab_upstream(folder(lab))``
serves it. What the recipe ``kubernetes-1.37.1-arm64`` does not ask for is not there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.lab import catalogue, cross, golang, kubernetes, parts
from tools.lab.archives import Entry, pack, tree
from tools.lab.catalogue import CORE, STAND_INS
from tools.lab.debian import Apt
from tools.lab.golang import Go, Target
from tools.lab.images import DOCKER, OCI, STAND_IN, Builder, Descriptor, Tagged, write_catalogue
from tools.lab.kubernetes import CURRENT
from tools.lab.parts import Debian
from tools.lab.place import HERE, LabError, fingerprint, once, run
from tools.lab.shelf import MANIFESTS

NAME = "arm64"
RECIPE = f"kubernetes-{CURRENT.version}-{NAME}"

_PAUSE = "3.10.2"
_LEFT_OUT = ("csi.yaml", "snapshot-crds.yaml")  # of the recipe with a CSI driver


@dataclass(frozen=True, slots=True)
class Programs:
    """Folders of programs for arm64."""

    kubernetes: Path
    others: Mapping[str, Path]  # by module

    @property
    def marks(self) -> tuple[str, ...]:
        """What they are made of."""
        return tuple(
            (folder / ".mark").read_text() for folder in (self.kubernetes, *self.others.values())
        )


def folder(lab: Path) -> Path:
    """Return the lab of arm64 in a lab."""
    return lab / NAME


def programs(lab: Path, go: Go, host: Apt, target: Apt) -> Programs:
    """Return the programs, each compiled once; runc by a C compiler for arm64.

    Raises:
        LabError: a module or package cannot be had, or a program does not say its version.
    """
    others = {}
    for name, wanted in parts.TARGETS.items():
        if name != "helm":
            own = cross.with_compiler(folder(lab), go, host, target) if wanted.cgo else go
            others[name] = golang.built(lab, own, name, replace(wanted, architecture=NAME))
    made = Programs(kubernetes.kubernetes(lab, go, CURRENT, architecture=NAME), others)

    def prove(_target: Path) -> None:
        for name in kubernetes.PROGRAMS:
            if name not in {"kubeadm", "kubectl"}:
                _says(f"Kubernetes v{CURRENT.version}", made.kubernetes / name, "--version")
        _says(f"v{CURRENT.version}", made.kubernetes / "kubeadm", "version", "-o", "short")
        _says(f"v{parts.CONTAINERD}", others["containerd"] / "containerd", "--version")
        _says(f"runc version {parts.RUNC}", others["runc"] / "runc", "--version")

    once(folder(lab) / "proof", fingerprint(*made.marks), prove)
    return made


def _says(wanted: str, program: Path, *words: str) -> None:
    said = run([cross.EMULATOR, program, *words])
    if wanted not in said:
        raise LabError(f"{program.name} for {NAME}: expected {wanted}, got {said.strip()}")


def unpacked(lab: Path, target: Apt) -> Debian:
    """Return Debian's libraries and tools of arm64, and this machine's servers beside them."""
    groups = {"base": parts._BASE, "proxy": parts._PROXY, "router": parts._ROUTER}

    def make(root: Path) -> None:
        for name, packages in groups.items():
            target.unpack(packages, root / name)
        (root / "peers").symlink_to("../../debian/peers")

    mark = fingerprint(repr(groups), target.suite, "1")
    return Debian(once(folder(lab) / "debian", mark, make))


def images(lab: Path, debian: Debian, made: Programs, go: Go) -> Path:
    """Return a directory with ``blobs/`` and ``catalogue.json``, all images of the recipe."""

    def make(target: Path) -> None:
        builder = Builder(target / "blobs")
        installer = target / "install-cni"
        go.source(HERE / "stand_ins/install-cni", installer, Target(NAME))
        all_images = [*_real(builder, debian, made, installer)]
        installer.unlink()
        pause = catalogue.StandIn(f"{CORE}/pause:{_PAUSE}", "/pause")
        program = target / "program"
        for image in (pause, *STAND_INS):
            if image in catalogue.CSI:
                continue
            stamps = {"main.name": image.reference.rsplit(":", 1)[0], "main.listen": image.listen}
            source = HERE / "stand_ins" / ("pause" if image is pause else "idle")
            go.source(source, program, Target(NAME, stamps={} if image is pause else stamps))
            all_images.append(_stand_in(builder, image, program))
        program.unlink()
        write_catalogue(all_images, target / "catalogue.json")

    sources = ("arm64.py", "catalogue.py", "images.py", "archives.py", "stand_ins")
    debs = (debian.root / ".mark").read_text()
    mark = fingerprint(*(HERE / name for name in sources), debs, *made.marks)
    return once(folder(lab) / "images", mark, make)


def _real(builder: Builder, debian: Debian, made: Programs, installer: Path) -> Iterator[Tagged]:
    """Yield the images of real programs, as ``catalogue`` has them for the other processor."""
    base = builder.layer(catalogue.base_files())
    libc = builder.layer(_unpacked(debian.base, "lib"))
    tools = builder.layer([*_unpacked(debian.proxy), *_iptables()])
    routing = builder.layer(_unpacked(debian.router))

    def own(program: Path, path: str, *more: Entry) -> Descriptor:
        return builder.layer([Entry(path, program, mode=0o755), *more])

    others = made.others
    images: list[tuple[str, list[Descriptor], str]] = []
    for name in ("apiserver", "controller-manager", "scheduler", "proxy"):
        program = f"kube-{name}"
        path = f"usr/local/bin/{program}"
        layers = [base, *((libc, tools) if name == "proxy" else ())]
        layers.append(own(made.kubernetes / program, path))
        images.append((f"{CORE}/{program}:v{CURRENT.version}", layers, path))
    for reference, module, path in (
        (f"{CORE}/coredns/coredns:v{parts.COREDNS}", "coredns", "coredns"),
        (
            f"{CORE}/metrics-server/metrics-server:v{parts.METRICS_SERVER}",
            "metrics-server",
            "metrics-server",
        ),
    ):
        images.append((reference, [base, own(others[module] / module, path)], path))
    etcd = builder.layer(
        Entry(f"usr/local/bin/{name}", others["etcd"] / source, mode=0o755)
        for name, source in parts.ETCD_PROGRAMS.items()
    )
    images.append((f"{CORE}/etcd:{parts.ETCD}-0", [base, etcd], "usr/local/bin/etcd"))
    path = "usr/local/bin/kube-router"
    more = Entry("usr/local/bin/install-cni", installer, mode=0o755)
    router = own(others["kube-router"] / "kube-router", path, more)
    reference = f"docker.io/cloudnativelabs/kube-router:v{parts.KUBE_ROUTER}"
    images.append((reference, [base, libc, tools, routing, router], path))
    for reference, layers, path in images:
        content = f"{reference.rpartition('/')[2]} built from its module for {NAME}"
        manifest, blobs = builder.image(
            layers,
            entrypoint=[f"/{path}"],
            labels={"io.isobuilder.lab.content": content},
            dialect=DOCKER if "/coredns:" in reference or "scheduler" in reference else OCI,
            architecture=NAME,
        )
        yield Tagged(reference, manifest, manifest, (manifest,), blobs)


def _unpacked(root: Path, *tops: str) -> Iterator[Entry]:
    """Yield programs and libraries of unpacked packages."""
    for top in tops or ("bin", "lib", "sbin", "usr/lib", "usr/sbin"):
        if (root / top).is_dir():
            yield from tree(root / top, under=f"{top}/")


def _iptables() -> Iterator[Entry]:
    """Yield what update-alternatives makes in Debian when iptables is installed."""
    for program in ("iptables", "ip6tables"):
        for action in ("", "-restore", "-save"):
            yield Entry(f"usr/sbin/{program}{action}", link="xtables-nft-multi")


def _stand_in(builder: Builder, image: catalogue.StandIn, program: Path) -> Tagged:
    """Return an image of one program, behind an index as most of upstream's are."""
    layer = builder.layer(
        [Entry(image.program.lstrip("/"), program, mode=0o755)], compress=image.compress
    )
    content = f"a stand-in for {image.reference.rsplit(':', 1)[0]}"
    labels = {STAND_IN: "true", "io.isobuilder.lab.content": content, **image.labels}
    manifest, blobs = builder.image(
        [layer],
        entrypoint=[image.program],
        labels=labels,
        dialect=image.dialect,
        architecture=NAME,
    )
    top = builder.index({NAME: manifest}, dialect=image.dialect)
    return Tagged(image.reference, top, manifest, (manifest, top), blobs)


def shelf(lab: Path, made: Programs) -> Path:
    """Return a directory to serve: ``<host>/<path>`` for every file of the recipe."""

    def make(target: Path) -> None:
        core = target / f"dl.k8s.io/release/v{CURRENT.version}/bin/linux/{NAME}"
        core.mkdir(parents=True)
        for name in kubernetes.PROGRAMS:
            os.link(made.kubernetes / name, core / name)
            (core / f"{name}.sha256").write_text(_digest(core / name))
        for project, version, archive, sums, entries in _releases(made.others):
            place = target / f"github.com/{project}/releases/download/v{version}"
            place.mkdir(parents=True)
            if isinstance(entries, Path):
                os.link(entries, place / archive)
            else:
                pack(entries, place / archive)
            (place / sums).write_text(f"{_digest(place / archive)}  {archive}\n")
        for name, address in MANIFESTS.items():
            if name not in _LEFT_OUT:
                path = target / address
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text((HERE / "manifests" / name).read_text())

    sources = ("arm64.py", "archives.py", "parts.py", "shelf.py", "manifests")
    mark = fingerprint(*(HERE / name for name in sources), *made.marks)
    return once(folder(lab) / "files", mark, make)


def _releases(
    built: Mapping[str, Path],
) -> Iterator[tuple[str, str, str, str, list[Entry] | Path]]:
    """Yield project, version, file, file of sums, and content of each release."""
    name = f"containerd-{parts.CONTAINERD}-linux-{NAME}.tar.gz"
    content = [*_programs(built["containerd"], under="bin/")]
    yield (
        *("containerd/containerd", parts.CONTAINERD, name, f"{name}.sha256sum"),
        [Entry("bin/"), *content],
    )
    name = f"runc.{NAME}"
    yield "opencontainers/runc", parts.RUNC, name, "runc.sha256sum", built["runc"] / "runc"
    name = f"cni-plugins-linux-{NAME}-v{parts.CNI_PLUGINS}.tgz"
    content = [*_programs(built["cni-plugins"], under="./")]
    yield (
        *("containernetworking/plugins", parts.CNI_PLUGINS, name, f"{name}.sha256"),
        [Entry("./"), *content],
    )
    name = f"crictl-v{parts.CRICTL}-linux-{NAME}.tar.gz"
    content = [*_programs(built["crictl"])]
    yield "kubernetes-sigs/cri-tools", parts.CRICTL, name, f"{name}.sha256", content
    top = f"etcd-v{parts.ETCD}-linux-{NAME}/"
    content = [
        Entry(f"{top}{name}", built["etcd"] / program, mode=0o755)
        for name, program in parts.ETCD_PROGRAMS.items()
    ]
    yield (
        *("etcd-io/etcd", parts.ETCD, f"{top.rstrip('/')}.tar.gz", "SHA256SUMS"),
        [Entry(top), *content],
    )


def _programs(built: Path, *, under: str = "") -> Iterator[Entry]:
    return (entry for entry in tree(built, under=under) if not entry.name.endswith(".mark"))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
