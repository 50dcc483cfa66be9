"""Which images the lab has and what is in each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.lab import parts
from tools.lab.archives import Entry, tree
from tools.lab.golang import Go, Target
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
from tools.lab.parts import Debian
from tools.lab.place import HERE, fingerprint, once

CORE = "registry.k8s.io"
# Made up, and easy to tell from a commit of the real projects.
PROVIDER_SHA = "1ab" * 13 + "1"
AUTOSCALER_SHA = "1ab" * 13 + "2"
CSI_SHA = "1ab" * 13 + "3"
HEADLAMP_SHA = "1ab" * 13 + "4"
TEAM = "ghcr.io/ablecloud-team"
SIGNATURE = {"io.ablestack.api-signature": "HMAC-SHA256"}

_Made = tuple[str, list[Descriptor], str, Dialect]  # reference, layers, entrypoint, form


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
    StandIn(f"{CORE}/sig-storage/csi-provisioner:v6.3.0"),
    StandIn(f"{CORE}/sig-storage/csi-node-driver-registrar:v2.17.0"),
)
STAND_INS = (
    StandIn("ghcr.io/headlamp-k8s/headlamp:v0.40.1", listen=":4466", dialect=DOCKER),
    StandIn(f"{TEAM}/ablestack-kubernetes-provider:1.2.1-mold.1", labels=_component(PROVIDER_SHA)),
    StandIn(f"{TEAM}/autoscaler:1.37.0-mold.1", labels=_component(AUTOSCALER_SHA)),
    StandIn("docker.io/library/hello-web:1.0", program="/web", listen=":80", compress=False),
    *CSI,
)


def images(
    lab: Path,
    debian: Debian,
    releases: Mapping[str, Path],
    built: Mapping[str, Path],
    go: Go,
) -> Path:
    """Return a directory with ``blobs/`` and ``catalogue.json``, all images of the lab.

    ``releases`` has the programs of Kubernetes by version, ``built`` those of other modules.
    """

    def make(target: Path) -> None:
        builder = Builder(target / "blobs")
        installer = target / "install-cni"
        go.source(HERE / "stand_ins/install-cni", installer)
        made = [*_core(builder, debian, releases)]
        made += _companions(builder, debian, built, installer)
        made += [_pause(builder, go, target)]
        made += [_stand_in(builder, go, target, image) for image in STAND_INS]
        (target / "program").unlink()
        installer.unlink()
        write_catalogue(made, target / "catalogue.json")

    mark = fingerprint(
        *(HERE / name for name in ("catalogue.py", "images.py", "archives.py", "stand_ins")),
        *(
            (folder / ".mark").read_text()
            for folder in (debian.root, *releases.values(), *built.values())
        ),
    )
    return once(lab / "images", mark, make)


def _core(builder: Builder, debian: Debian, releases: Mapping[str, Path]) -> Iterator[Tagged]:
    """Yield the control plane's images, which share their base layers."""
    base = builder.layer(base_files())
    tools = [builder.layer(_libc(debian)), builder.layer(_proxy_tools(debian))]
    for version, programs in releases.items():
        for name in ("apiserver", "controller-manager", "scheduler", "proxy"):
            program = f"kube-{name}"
            path = f"usr/local/bin/{program}"
            own = builder.layer([Entry(path, programs / program, mode=0o755)])
            manifest, blobs = builder.image(
                [base, *(tools if name == "proxy" else ()), own],
                entrypoint=[f"/{path}"],
                labels=_lab(f"{program} {version} built from its module"),
                dialect=DOCKER if name == "scheduler" else OCI,
            )
            yield Tagged(f"{CORE}/{program}:v{version}", manifest, manifest, (manifest,), blobs)


def _companions(
    builder: Builder, debian: Debian, built: Mapping[str, Path], installer: Path
) -> Iterator[Tagged]:
    """Yield what runs beside the control plane, each image made of the real program."""
    base = builder.layer(base_files())
    libc = builder.layer(_libc(debian))
    tools = builder.layer(_proxy_tools(debian))
    routing = builder.layer(_routing_tools(debian))
    metrics = Entry("metrics-server", built["metrics-server"] / "metrics-server", mode=0o755)
    router = builder.layer(
        [
            Entry("usr/local/bin/install-cni", installer, mode=0o755),
            Entry("usr/local/bin/kube-router", built["kube-router"] / "kube-router", mode=0o755),
        ]
    )
    made = (
        *_etcds(builder, base, built),
        *_resolvers(builder, base, built),
        (
            f"docker.io/cloudnativelabs/kube-router:v{parts.KUBE_ROUTER}",
            [base, libc, tools, routing, router],
            "/usr/local/bin/kube-router",
            OCI,
        ),
        (
            f"{CORE}/metrics-server/metrics-server:v{parts.METRICS_SERVER}",
            [base, builder.layer([metrics])],
            "/metrics-server",
            OCI,
        ),
        (
            # Of Debian's own files; Docker Hub has no image of this name.
            f"docker.io/library/keepalived:{parts.KEEPALIVED}",
            [base, libc, builder.layer(_keepalived(debian))],
            "/usr/sbin/keepalived",
            OCI,
        ),
    )
    for reference, layers, entrypoint, dialect in made:
        source = "of Debian" if "/keepalived:" in reference else "built from its module"
        labels = _lab(f"{reference.rpartition('/')[2]} {source}")
        manifest, blobs = builder.image(
            layers, entrypoint=[entrypoint], labels=labels, dialect=dialect
        )
        yield Tagged(reference, manifest, manifest, (manifest,), blobs)


def _etcds(builder: Builder, base: Descriptor, built: Mapping[str, Path]) -> Iterator[_Made]:
    for module, version in _versions(built, "etcd", parts.ETCD):
        own = builder.layer(
            Entry(f"usr/local/bin/{name}", built[module] / source, mode=0o755)
            for name, source in parts.ETCD_PROGRAMS.items()
        )
        yield f"{CORE}/etcd:{version}-0", [base, own], "/usr/local/bin/etcd", OCI


def _resolvers(builder: Builder, base: Descriptor, built: Mapping[str, Path]) -> Iterator[_Made]:
    for module, version in _versions(built, "coredns", parts.COREDNS):
        own = builder.layer([Entry("coredns", built[module] / "coredns", mode=0o755)])
        yield f"{CORE}/coredns/coredns:v{version}", [base, own], "/coredns", DOCKER


def _versions(built: Mapping[str, Path], name: str, own: str) -> list[tuple[str, str]]:
    """Return module and version of a program: today's, and of an earlier Kubernetes."""
    earlier = (module.rpartition("-") for module in built)  # parts.EARLIER
    return [(name, own), *((f"{found}-{v}", v) for found, _, v in earlier if found == name)]


def _lab(content: str) -> dict[str, str]:
    return {"io.isobuilder.lab.content": content}


def base_files() -> Iterator[Entry]:
    """Yield what every image of ours has, whatever its processor."""
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


def _routing_tools(debian: Debian) -> Iterator[Entry]:
    """Yield ip with its libraries."""
    for top in ("bin", "lib", "sbin", "usr/lib"):
        if (debian.router / top).is_dir():
            yield from tree(debian.router / top, under=f"{top}/")


def _keepalived(debian: Debian) -> Iterator[Entry]:
    """Yield keepalived with its libraries, and where it writes its process id."""
    yield Entry("run/")
    yield Entry("usr/sbin/keepalived", debian.keepalived / "usr/sbin/keepalived", mode=0o755)
    for top in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
        for entry in tree(debian.keepalived / top, under=f"{top}/"):
            if ".so" in entry.name and entry.name.count("/") == top.count("/") + 1:
                yield entry


def _pause(builder: Builder, go: Go, scratch: Path) -> Tagged:
    """Return the pause image behind an index, with an arm64 image and an attestation in it."""
    reference = f"{CORE}/pause:3.10.2"
    manifests: dict[str, Descriptor] = {}
    blobs: list[Descriptor] = []
    for architecture in ("arm64", "amd64"):
        program = scratch / "program"
        go.source(HERE / "stand_ins/pause", program, Target(architecture))
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
        stamps = {"main.name": name, "main.listen": image.listen}
        go.source(HERE / "stand_ins/idle", program, Target(architecture, stamps=stamps))
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
