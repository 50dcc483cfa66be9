"""Which images the lab has and what is in each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.lab.archives import Entry, tree
from tools.lab.images import (
    DOCKER,
    OCI,
    STAND_IN,
    Builder,
    Descriptor,
    Dialect,
    Tagged,
    write_catalogue,
)
from tools.lab.kubernetes import VERSION, Go
from tools.lab.parts import Debian
from tools.lab.place import HERE, fingerprint, once

CORE = "k8s.gcr.io"
# Made up, and easy to tell from a commit of the real projects.
PROVIDER_SHA = "1ab" * 13 + "1"
AUTOSCALER_SHA = "1ab" * 13 + "2"
CSI_SHA = "1ab" * 13 + "3"
HEADLAMP_SHA = "1ab" * 13 + "4"
TEAM = "ghcr.io/ablecloud-team"
SIGNATURE = {"io.ablestack.api-signature": "HMAC-SHA256"}


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image whose one program only says what it stands in for."""

    reference: str
    program: str = "/stand-in"
    listen: str = ""
    dialect: Dialect = OCI
    labels: Mapping[str, str] = field(default_factory=dict)
    compress: bool = True
    platforms: Sequence[str] = ("amd64",)


def _component(sha: str) -> dict[str, str]:
    return {"org.opencontainers.image.revision": sha, **SIGNATURE}


CSI = (
    StandIn(f"{TEAM}/ablestack-kubernetes-csi:0.1.0", labels=_component(CSI_SHA)),
    StandIn("k8s.gcr.io/sig-storage/csi-provisioner:v2.1.0"),
    StandIn("k8s.gcr.io/sig-storage/csi-node-driver-registrar:v2.1.0"),
)
STAND_INS = (
    StandIn(
        f"{CORE}/coredns:1.7.0",
        program="/coredns",
        listen=":8080,:8181",
        dialect=DOCKER,
        platforms=("arm64", "amd64"),
    ),
    StandIn("quay.io/calico/cni:v3.17.1"),
    StandIn("quay.io/calico/node:v3.17.1"),
    StandIn("quay.io/calico/kube-controllers:v3.17.1"),
    StandIn("ghcr.io/headlamp-k8s/headlamp:v0.40.1", listen=":4466", dialect=DOCKER),
    StandIn(f"{TEAM}/ablestack-kubernetes-provider:1.2.1-mold.1", labels=_component(PROVIDER_SHA)),
    StandIn(f"{TEAM}/autoscaler:1.20.3-mold.1", labels=_component(AUTOSCALER_SHA)),
    StandIn("docker.io/library/hello-web:1.0", program="/web", listen=":80", compress=False),
    *CSI,
)


def images(lab: Path, debian: Debian, kubernetes: Path, go: Go) -> Path:
    """Return a directory with ``blobs/`` and ``catalogue.json``, all images of the lab."""

    def make(target: Path) -> None:
        builder = Builder(target / "blobs")
        made = [*_core(builder, debian, kubernetes), _pause(builder, go, target)]
        made += [_stand_in(builder, go, target, image) for image in STAND_INS]
        (target / "program").unlink()
        write_catalogue(made, target / "catalogue.json")

    mark = fingerprint(
        *(HERE / name for name in ("catalogue.py", "images.py", "archives.py", "stand_ins")),
        *((folder / ".mark").read_text() for folder in (debian.root, kubernetes)),
    )
    return once(lab / "images", mark, make)


def _core(builder: Builder, debian: Debian, kubernetes: Path) -> Iterator[Tagged]:
    """Yield the control plane's images, which share their base layers."""
    base = builder.layer(_base())
    libc = builder.layer(_libc(debian))
    proxy_tools = builder.layer(_proxy_tools(debian))
    etcd_tools = builder.layer(
        Entry(f"usr/local/bin/{name}", debian.parts / "usr/bin" / name, mode=0o755)
        for name in ("etcd", "etcdctl")
    )
    for name in ("apiserver", "controller-manager", "scheduler", "proxy"):
        program = f"kube-{name}"
        path = f"usr/local/bin/{program}"
        own = builder.layer([Entry(path, kubernetes / program, mode=0o755)])
        below = [base, libc, proxy_tools] if name == "proxy" else [base]
        content = f"{program} {VERSION} built from Debian's source package"
        manifest, blobs = builder.image(
            [*below, own],
            entrypoint=[f"/{path}"],
            labels=_lab(content),
            dialect=DOCKER if name == "scheduler" else OCI,
        )
        yield Tagged(f"{CORE}/{program}:v{VERSION}", manifest, manifest, (manifest,), blobs)
    # kubeadm 1.20.2 asks for 3.4.13-0; Debian has a later patch of the same minor.
    content = f"etcd of Debian's packages {debian.version('etcd-server')}"
    manifest, blobs = builder.image(
        [base, libc, etcd_tools], labels=_lab(content), entrypoint=["/usr/local/bin/etcd"]
    )
    yield Tagged(f"{CORE}/etcd:3.4.13-0", manifest, manifest, (manifest,), blobs)


def _lab(content: str) -> dict[str, str]:
    return {"io.isobuilder.lab.content": content}


def _base() -> Iterator[Entry]:
    yield Entry("etc/group", b"root:x:0:\nnobody:x:65534:\n")
    yield Entry("etc/nsswitch.conf", b"hosts: files dns\n")
    yield Entry(
        "etc/passwd", b"root:x:0:0::/:/sbin/nologin\nnobody:x:65534:65534::/:/sbin/nologin\n"
    )
    yield Entry("tmp/", mode=0o777)


def _libc(debian: Debian) -> Iterator[Entry]:
    libraries = "lib/x86_64-linux-gnu"
    wanted = ("ld-linux", "libc.so", "libdl.", "libm.", "libnss_", "libpthread.", "libresolv.")
    yield Entry("lib64/ld-linux-x86-64.so.2", link=f"/{libraries}/ld-linux-x86-64.so.2")
    for entry in tree(debian.base / libraries, under=f"{libraries}/"):
        if Path(entry.name).name.startswith(wanted):
            yield entry


def _proxy_tools(debian: Debian) -> Iterator[Entry]:
    """Yield iptables with its extensions, of which six are links, ipset and conntrack."""
    for top in ("lib", "sbin", "usr/lib", "usr/sbin"):
        if (debian.proxy / top).is_dir():
            yield from tree(debian.proxy / top, under=f"{top}/")
    # In Debian update-alternatives makes these when the package is installed.
    for program in ("iptables", "ip6tables"):
        for action in ("", "-restore", "-save"):
            yield Entry(f"usr/sbin/{program}{action}", link="xtables-nft-multi")


def _pause(builder: Builder, go: Go, scratch: Path) -> Tagged:
    """Return the pause image behind an index, with an arm64 image and an attestation in it."""
    reference = f"{CORE}/pause:3.2"
    manifests: dict[str, Descriptor] = {}
    blobs: list[Descriptor] = []
    for architecture in ("arm64", "amd64"):
        program = scratch / "program"
        source = HERE / "stand_ins/pause"
        go.build(["."], program, cwd=source, architecture=architecture)
        layer = builder.layer([Entry("pause", program, mode=0o755)])
        labels = {STAND_IN: "true", **_lab("a stand-in for pause")}
        manifests[architecture], own = builder.image(
            [layer], entrypoint=["/pause"], labels=labels, architecture=architecture
        )
        blobs += own
    attestation, own = builder.attestation(manifests["amd64"])
    top = builder.index(manifests, attestation=attestation)
    return Tagged(
        reference,
        top,
        manifests["amd64"],
        (*manifests.values(), attestation, top),
        (*blobs, *own),
    )


def _stand_in(builder: Builder, go: Go, scratch: Path, image: StandIn) -> Tagged:
    name = image.reference.rsplit(":", 1)[0]
    program = scratch / "program"
    manifests: dict[str, Descriptor] = {}
    blobs: list[Descriptor] = []
    for architecture in image.platforms:
        go.build(
            ["."],
            program,
            cwd=HERE / "stand_ins/idle",
            stamps={"main.name": name, "main.listen": image.listen},
            architecture=architecture,
        )
        layer = builder.layer(
            [Entry(image.program.lstrip("/"), program, mode=0o755)], compress=image.compress
        )
        manifests[architecture], own = builder.image(
            [layer],
            entrypoint=[image.program],
            labels={STAND_IN: "true", **_lab(f"a stand-in for {name}"), **image.labels},
            dialect=image.dialect,
            architecture=architecture,
        )
        blobs += own
    platform = manifests["amd64"]
    if len(manifests) == 1:
        return Tagged(image.reference, platform, platform, (platform,), tuple(blobs))
    top = builder.index(manifests, dialect=image.dialect)
    return Tagged(image.reference, top, platform, (*manifests.values(), top), tuple(blobs))


def digest_references(images_dir: Path) -> dict[str, str]:
    """Return ``repository@digest`` of the amd64 manifest for each ``repository:tag``."""
    return {
        entry["reference"]: f"{entry['reference'].rsplit(':', 1)[0]}@{entry['platform']['digest']}"
        for entry in json.loads((images_dir / "catalogue.json").read_bytes())
    }
