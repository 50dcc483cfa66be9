"""What the embedded upstream holds: one Kubernetes release and everything around it, in small.

Names, addresses, formats and checksum dialects are upstream's; programs, images and manifests are
stand-ins that say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from isobuilder.demo import images
from isobuilder.demo.images import Image, Layer, Style
from isobuilder.demo.programs import elf_stand_in, program
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference
from isobuilder.rules.pairings import core_images

KUBERNETES = "1.34.12"
ARCHITECTURES = ("amd64", "arm64")
CALICO, CNI, CONTAINERD, CRICTL, ETCD, RUNC = "3.32.2", "1.7.1", "2.3.4", "1.34.0", "3.6.5", "1.4.3"

# Commits that do not exist; the recipes name the same.
PROVIDER_SHA = "de30" * 9 + "de31"
AUTOSCALER_SHA = "de30" * 9 + "de32"
CSI_SHA = "de30" * 9 + "de33"
HEADLAMP_SHA = "de30" * 9 + "de34"

TEAM = "ghcr.io/ablecloud-team"
PROVIDER_IMAGE = f"{TEAM}/ablestack-kubernetes-provider:1.2.1-mold.1"
AUTOSCALER_IMAGE = f"{TEAM}/autoscaler:1.34.5-mold.1"
CSI_IMAGE = f"{TEAM}/ablestack-kubernetes-csi:0.1.0"

_GITHUB, _RAW = "github.com", "raw.githubusercontent.com"


def fill(upstream: DemoUpstream, kubernetes: str = KUBERNETES) -> None:
    """Put one Kubernetes release and all its companions for both architectures into ``upstream``.

    May be called for several releases; what they share stays the same.

    Raises:
        InputError: kubeadm's images of this release are not known.
    """
    core = core_images(KubeVersion(kubernetes))
    if core is None:
        raise InputError(f"no stand-in for Kubernetes {kubernetes}: its images are not known")
    for architecture in ARCHITECTURES:
        _put_kubernetes(upstream, kubernetes, architecture, core)
    _put_companions(upstream)
    csi = _put_images(upstream, core)
    _put_manifests(upstream, csi)


def recipe() -> bytes:
    """Return the text of the recipe that asks for what ``fill`` puts in."""
    return _text("recipe.yaml")


def write_recipes(folder: Path) -> tuple[Path, Path]:
    """Write the recipe, and one with a CSI driver that extends it, and return their paths."""
    plain = folder / f"kubernetes-{KUBERNETES}.yaml"
    plain.write_bytes(recipe())
    with_csi = folder / f"kubernetes-{KUBERNETES}-csi.yaml"
    with_csi.write_bytes(_text("recipe-csi.yaml"))
    return plain, with_csi


def _text(*path: str) -> bytes:
    return files("isobuilder.demo").joinpath(*path).read_bytes()


# --- files ---


def _put_kubernetes(
    upstream: DemoUpstream, version: str, architecture: str, core: tuple[str, ...]
) -> None:
    folder = f"/dl.k8s.io/release/v{version}/bin/linux/{architecture}"
    # kubeadm answers the one question we ask it; the others tell their version.
    listed = "".join(f"{image}\n" for image in core)
    for name, prints in (("kubeadm", listed), ("kubelet", None), ("kubectl", None)):
        data = elf_stand_in(version, architecture, name=name, prints=prints)
        upstream.put_file(f"{folder}/{name}", data)
        upstream.put_file(f"{folder}/{name}.sha256", Digest.of(data).hex.encode())
    minor = KubeVersion(version).minor_text
    for marker in ("stable", f"stable-{minor}"):
        upstream.put_file(f"/dl.k8s.io/release/{marker}.txt", f"v{version}".encode())


def _put_companions(upstream: DemoUpstream) -> None:
    """Put archives and programs of other projects, each with its kind of checksum file."""
    for asset in _ASSETS:
        folder = f"/{_GITHUB}/{asset.project}/releases/download/v{asset.version}"
        lines = ""
        for architecture in ARCHITECTURES:
            name, content = asset.name.format(arch=architecture), asset.content(architecture)
            upstream.put_file(f"{folder}/{name}", content)
            line = f"{Digest.of(content).hex}  {name}\n"
            lines += line
            if asset.checksums.startswith("."):
                said = line if asset.names_itself else Digest.of(content).hex
                upstream.put_file(f"{folder}/{name}{asset.checksums}", said.encode())
        if not asset.checksums.startswith("."):
            text = _clear_signed(lines) if asset.signed else lines
            upstream.put_file(f"{folder}/{asset.checksums}", text.encode())


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file of a release for each architecture, and how its checksum is published."""

    project: str  # e.g. "opencontainers/runc"
    version: str  # without the leading v
    name: str
    package: str  # the folder of its Go programs
    programs: tuple[str, ...]  # paths in the archive; none: the asset is itself the program
    checksums: str  # a suffix for a file beside each, or the name of one for all
    names_itself: bool = True  # the checksum file has the name beside the digest
    signed: bool = False

    def content(self, architecture: str) -> bytes:
        """Return the asset's bytes."""
        if not self.programs:
            return _program(self.package, self.name.partition(".")[0], architecture)
        members = {}
        for path in (path.format(arch=architecture) for path in self.programs):
            name = path.rpartition("/")[2]
            members[path] = _program(self.package, name, architecture)
        return images.gzipped(images.tar(members, mode=0o755))


_ASSETS = (
    _Asset(
        *("containernetworking/plugins", CNI, f"cni-plugins-linux-{{arch}}-v{CNI}.tgz"),
        "github.com/containernetworking/plugins/plugins",
        ("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning"),
        ".sha256",
    ),
    _Asset(
        *("kubernetes-sigs/cri-tools", CRICTL, f"crictl-v{CRICTL}-linux-{{arch}}.tar.gz"),
        "sigs.k8s.io/cri-tools/cmd",
        ("crictl",),
        ".sha256",
        names_itself=False,
    ),
    _Asset(
        *("etcd-io/etcd", ETCD, f"etcd-v{ETCD}-linux-{{arch}}.tar.gz"),
        "go.etcd.io/etcd",
        tuple(f"etcd-v{ETCD}-linux-{{arch}}/{name}" for name in ("etcd", "etcdctl", "etcdutl")),
        "SHA256SUMS",
    ),
    _Asset(
        *("containerd/containerd", CONTAINERD, f"containerd-{CONTAINERD}-linux-{{arch}}.tar.gz"),
        "github.com/containerd/containerd/cmd",
        ("bin/containerd", "bin/containerd-shim-runc-v2", "bin/ctr"),
        ".sha256sum",
    ),
    _Asset(
        *("opencontainers/runc", RUNC, "runc.{arch}"),
        "github.com/opencontainers",
        (),
        "runc.sha256sum",
        signed=True,
    ),
)


def _program(folder: str, name: str, architecture: str) -> bytes:
    return program(architecture, prints=f"{name}: a stand-in\n", package=f"{folder}/{name}")


def _clear_signed(text: str) -> str:
    # The form of an OpenPGP message, RFC 9580 section 7; the signature is none.
    return (
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
        f"{text}-----BEGIN PGP SIGNATURE-----\n\n"
        "c3RhbmQtaW46IG5vYm9keSBzaWduZWQgdGhpcw==\n=none\n-----END PGP SIGNATURE-----\n"
    )


def _put_manifests(upstream: DemoUpstream, csi: Image) -> None:
    places = {
        "network": f"projectcalico/calico/v{CALICO}/manifests/calico.yaml",
        "headlamp": f"kubernetes-sigs/headlamp/{HEADLAMP_SHA}/kubernetes-headlamp.yaml",
        "provider": f"ablecloud-team/ablestack-kubernetes-provider/{PROVIDER_SHA}/deployment.yaml",
        "autoscaler": f"ablecloud-team/autoscaler/{AUTOSCALER_SHA}/cluster-autoscaler/"
        "cloudprovider/cloudstack/examples/cluster-autoscaler-standard.yaml",
        "snapshot-crds": f"{_CSI_PLACE}/snapshot-crds.yaml",
    }
    for name, place in places.items():
        upstream.put_file(f"/{_RAW}/{place}", _text("manifests", f"{name}.yaml"))
    driver = ImageReference.parse(CSI_IMAGE)
    for architecture, manifest in zip(ARCHITECTURES, csi.manifests, strict=True):
        pinned = str(driver.with_digest(manifest.digest)).encode()
        text = _text("manifests", "csi.yaml").replace(b"DRIVER_IMAGE", pinned)
        upstream.put_file(f"/{_RAW}/{_CSI_PLACE}/{architecture}/manifest.yaml", text)


_CSI_PLACE = f"ablecloud-team/ablestack-kubernetes-csi/{CSI_SHA}/deploy"


# --- images ---


def _put_images(upstream: DemoUpstream, core: tuple[str, ...]) -> Image:
    """Put every image and return that of the CSI driver, whose manifest names its digests."""
    base = images.layer(
        {"etc/os-release": b"NAME=stand-in\n", "etc/nsswitch.conf": b"hosts: files"}
    )
    calico = images.layer({"opt/calico/README": b"a stand-in; it makes no network\n" * 64})
    for reference in core:
        # kube-* come from one build with one base, pause has nothing but itself.
        shared = [] if "/pause:" in reference else [base]
        _put(
            upstream, reference, shared=shared, style="oci" if "coredns" in reference else "docker"
        )
    for name in ("cni", "kube-controllers", "node"):
        reference = f"quay.io/calico/{name}:v{CALICO}"
        _put(upstream, reference, shared=[base, calico], style="oci", attestations=True)
    _put(upstream, "ghcr.io/headlamp-k8s/headlamp:v0.40.1", shared=[base], attestations=True)
    for reference, commit in (
        (PROVIDER_IMAGE, PROVIDER_SHA),
        (AUTOSCALER_IMAGE, AUTOSCALER_SHA),
        (CSI_IMAGE, CSI_SHA),
    ):
        labels = {
            "org.opencontainers.image.revision": commit,
            "io.ablestack.api-signature": "HMAC-SHA256",
        }
        last = _put(upstream, reference, shared=[base], labels=labels, style="oci")
    return last


def _put(
    upstream: DemoUpstream,
    text: str,
    *,
    shared: list[Layer],
    labels: Mapping[str, str] | None = None,
    style: Style = "docker",
    attestations: bool = False,
) -> Image:
    reference = ImageReference.parse(text)
    name = reference.repository.rpartition("/")[2]
    singles = {}
    for architecture in ARCHITECTURES:
        own = _program(f"{reference.registry}/{reference.repository}", name, architecture)
        layers = [*shared, images.layer({f"usr/local/bin/{name}": own})]
        singles[architecture] = images.image(
            layers, architecture=architecture, labels=labels, style=style
        )
    image = images.index(singles, style=style, attestations=attestations)
    upstream.put_image(reference.name, str(reference.tag), image)
    return image
