"""Payload trees in memory, ``{path: bytes}``: a good one for each profile, of small real parts.

``good(profile)`` gives a tree that every rule of the node accepts. After changing one, ``seal``
writes manifest.json and SHA256SUMS anew, so that they do not give the change away.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import yaml

from isobuilder.content.render import render
from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import canonical_json
from isobuilder.model.profile import ProfileName
from isobuilder.rules.pairings import core_images
from tests.fakes.elf import program

Tree = dict[str, bytes]

VERSION = "1.34.12"
CALICO = ("quay.io/calico/node:v3.32.2", "quay.io/calico/cni:v3.32.2")
HEADLAMP = "ghcr.io/headlamp-k8s/headlamp:v0.40.1"
PROVIDER = "ghcr.io/ablecloud-team/ablestack-kubernetes-provider:v1.2.1"
AUTOSCALER = "ghcr.io/dhslove/autoscaler:k8s1.34"
CSI = "ghcr.io/ablecloud-team/ablestack-kubernetes-csi:v3.0.0"
SIDECAR = "registry.k8s.io/sig-storage/csi-provisioner:v5.3.0"
COMMIT = "5dee69546c4e1eeee5828c126b5282c603384f4a"
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class File:
    size: int
    mode: int = 0o644


@dataclass(slots=True)
class DictMedium:
    """A medium made of a tree; ``sizes`` lets a file claim more bytes than it has."""

    tree: Mapping[str, bytes]
    label: str = "CDROM"
    sizes: Mapping[str, int] = field(default_factory=dict)
    other_labels: tuple[str, ...] = ()

    @property
    def files(self) -> Mapping[str, File]:
        return {path: File(self.sizes.get(path, len(data))) for path, data in self.tree.items()}

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.tree[path])


def tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tar_gz(files: Mapping[str, bytes], mode: int = 0o755) -> bytes:
    return gzip.compress(tar(files, mode), mtime=0)


def repository(reference: str) -> str:
    return reference.partition("@")[0].rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Image:
    """One small image."""

    reference: str
    architecture: str = "amd64"

    @property
    def layer(self) -> bytes:
        return tar({"reference": self.reference.encode()})

    @property
    def config(self) -> bytes:
        return canonical_json(
            {
                "architecture": self.architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(self.layer)]},
            }
        )

    @property
    def manifest(self) -> bytes:
        def described(kind: str, data: bytes) -> dict[str, Any]:
            media_type = f"application/vnd.oci.image.{kind}"
            return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}

        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": described("config.v1+json", self.config),
                "layers": [described("layer.v1.tar", self.layer)],
            }
        )

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    @property
    def pinned(self) -> str:
        return f"{repository(self.reference)}@{self.digest}"

    @property
    def path(self) -> str:
        return f"docker/{self.digest.hex}.tar"

    def oci(self, annotations: Mapping[str, str] | None = None) -> bytes:
        """Return the image as an OCI layout in a tar."""
        return tar(self.oci_files(annotations))

    def oci_files(self, annotations: Mapping[str, str] | None = None) -> Tree:
        entry = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.digest,
            "size": len(self.manifest),
            "annotations": {REF_NAME: self.reference} if annotations is None else annotations,
        }
        blobs = (self.manifest, self.config, self.layer)
        return {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
            **{f"blobs/sha256/{Digest.of(blob).hex}": blob for blob in blobs},
        }

    def docker(self) -> bytes:
        """Return the image as ``docker save`` writes it."""
        entry = {"Config": "config.json", "RepoTags": [self.reference], "Layers": ["layer.tar"]}
        return tar(
            {
                "manifest.json": json.dumps([entry]).encode(),
                "config.json": self.config,
                "layer.tar": self.layer,
            }
        )


def named(reference: str, architecture: str = "amd64") -> Image:
    return Image(reference, architecture)


def core(version: str = VERSION) -> tuple[str, ...]:
    images = core_images(KubeVersion(version))
    assert images is not None
    return images


def yaml_of(*documents: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump_all(documents, sort_keys=False).encode()


def workload(
    kind: str, name: str, images: Mapping[str, str], *, args: tuple[str, ...] = (), **pod: Any
) -> dict[str, Any]:
    containers = [
        {"name": n, "image": image, "imagePullPolicy": "IfNotPresent", "args": list(args)}
        for n, image in images.items()
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": containers, **pod},
            },
        },
    }


def network_yaml(*, pinned: bool = True, architecture: str = "amd64") -> bytes:
    node, cni = (_use(reference, architecture, pinned=pinned) for reference in CALICO)
    daemon = workload("DaemonSet", "calico-node", {"calico-node": node})
    daemon["spec"]["template"]["spec"]["initContainers"] = [{"name": "install-cni", "image": cni}]
    crd = {"image": {"type": "string"}}  # a schema, no image
    return yaml_of(
        {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": crd},
        daemon,
    )


def headlamp_yaml(architecture: str = "amd64") -> bytes:
    image = named(HEADLAMP, architecture).pinned
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "headlamp"}}
    return yaml_of(service, workload("Deployment", "headlamp", {"headlamp": image}))


def provider_yaml(image: str) -> bytes:
    name = "cloud-controller-manager"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    return yaml_of(account, workload("Deployment", name, {name: image}, serviceAccountName=name))


def autoscaler_yaml(image: str) -> bytes:
    name, group = "cluster-autoscaler", "rbac.authorization.k8s.io"
    read = ["get", "list", "watch"]
    storage = ["storageclasses", "csinodes", "csidrivers", "csistoragecapacities"]
    dynamic = ["resourceclaims", "resourceslices", "deviceclasses"]
    return yaml_of(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": "kube-system"},
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [
                {
                    "apiGroups": ["storage.k8s.io"],
                    "resources": [*storage, "volumeattachments"],
                    "verbs": read,
                },
                {"apiGroups": ["resource.k8s.io"], "resources": dynamic, "verbs": read},
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}],
        },
        workload(
            "Deployment",
            name,
            {name: image},
            args=("--nodes=<min>:<max>:<cluster-id>",),
            serviceAccountName=name,
        ),
    )


def csi_yaml(architecture: str = "amd64") -> bytes:
    driver = named(CSI, architecture).pinned
    sidecar = named(SIDECAR, architecture).pinned
    controller, node = "cloudstack-csi-controller", "cloudstack-csi-node"
    return yaml_of(
        workload("Deployment", controller, {controller: driver, "provisioner": sidecar}),
        workload("DaemonSet", node, {node: driver}),
    )


def _use(reference: str, architecture: str, *, pinned: bool) -> str:
    return named(reference, architecture).pinned if pinned else reference


def _programs(version: str, architecture: str) -> Tree:
    def made(package: str) -> bytes:
        lines = (f"path\tk8s.io/kubernetes/cmd/{package}", "build\t-trimpath=true")
        return program(architecture, version=version, lines=lines)

    plain = program(architecture, version=None)
    plugins = ("bandwidth", "bridge", "host-local", "loopback", "portmap")
    top = f"etcd-v3.6.5-linux-{architecture}"
    etcd = {f"{top}/{name}": plain for name in ("etcd", "etcdctl", "etcdutl")}
    return {
        **{f"k8s/{name}": made(name) for name in ("kubeadm", "kubelet", "kubectl")},
        f"cni/cni-plugins-{architecture}.tgz": tar_gz(
            {**{f"./{name}": plain for name in plugins}, "./LICENSE": b"Apache\n"}
        ),
        f"cri-tools/crictl-linux-{architecture}.tar.gz": tar_gz({"crictl": plain}),
        "etcd/etcd-linux-amd64.tar.gz": tar_gz({f"{top}/README.md": b"etcd\n", **etcd}),
        "kubelet.service": render("kubelet.service.j2", {"bin_dir": "/opt/bin"}),
        "10-kubeadm.conf": render("10-kubeadm.conf.j2", {"bin_dir": "/opt/bin"}),
    }


def with_image(tree: Tree, image: Image) -> Tree:
    """Return the tree with one more archive, and its line unless the tree has no list."""
    lines = tree.get("docker/images.list")
    if lines is None and any(path.startswith("docker/") for path in tree):
        return {**tree, image.path: image.oci()}
    line = f"{image.digest.hex}.tar {repository(image.reference)}\n".encode()
    return {**tree, image.path: image.oci(), "docker/images.list": (lines or b"") + line}


def good(
    profile: ProfileName = "mold-cks", *, version: str = VERSION, architecture: str = "amd64"
) -> Tree:
    """Return a tree that nodes of the profile's cloud accept without a warning."""
    mold = profile != "cloudstack-cks"
    tree = _programs(version, architecture)
    references = [*core(version), *CALICO, HEADLAMP, PROVIDER, AUTOSCALER]
    if profile == "mold-cks-csi":
        references += [CSI, SIDECAR]
    for reference in references:
        tree = with_image(tree, named(reference, architecture))
    tree["network.yaml"] = network_yaml(pinned=mold, architecture=architecture)
    tree["provider.yaml"] = provider_yaml(_use(PROVIDER, architecture, pinned=mold))
    tree["autoscaler.yaml"] = autoscaler_yaml(_use(AUTOSCALER, architecture, pinned=mold))
    if mold:
        tree["headlamp.yaml"] = headlamp_yaml(architecture)
        tree["provider-ownership-v1.json"] = canonical_json(
            {
                "schemaVersion": 1,
                "providerSource": COMMIT,
                "providerImage": named(PROVIDER, architecture).pinned,
                "sdkSource": COMMIT,
            }
        )
    else:
        del tree["docker/images.list"]  # which its nodes would take for an image
        tree["dashboard.yaml"] = yaml_of(workload("Deployment", "dashboard", {"ui": HEADLAMP}))
    if profile == "mold-cks-csi":
        crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        tree["snapshot-crds.yaml"] = yaml_of(crd)
        tree["manifest.yaml"] = csi_yaml(architecture)
        tree["csi-profile.json"] = csi_profile(tree, named(CSI, architecture).pinned)
    return seal(tree, profile, version=version, architecture=architecture)


def csi_profile(tree: Mapping[str, bytes], driver: str) -> bytes:
    files = ("snapshot-crds.yaml", "manifest.yaml")
    return canonical_json(
        {
            "schemaVersion": 1,
            "apiSignature": "HmacSHA256",
            "driverImage": driver,
            "files": {path: Digest.of(tree[path]).hex for path in files if path in tree},
        }
    )


def seal(
    tree: Mapping[str, bytes],
    profile: ProfileName = "mold-cks",
    *,
    version: str = VERSION,
    architecture: str = "amd64",
) -> Tree:
    """Return the tree with manifest.json and SHA256SUMS that fit all its other files."""
    payload = {k: v for k, v in tree.items() if k not in {"manifest.json", "SHA256SUMS"}}
    images = [_manifest_image(named(r, architecture), payload) for r in core(version)]
    payload["manifest.json"] = canonical_json(
        {
            "schema": 1,
            "kubernetes_version": version,
            "product_version": f"{version}+{profile}.r1",
            "architecture": architecture,
            "profile": profile,
            "revision": 1,
            "epoch": 0,
            "tool": "0",
            "lock_sha256": "0" * 64,
            "recipe_sha256": "0" * 64,
            "components": {},
            "features": [],
            "images": [image for image in images if image],
            "files": {path: Digest.of(data).hex for path, data in payload.items()},
        }
    )
    lines = [f"{Digest.of(payload[path]).hex}  {path}\n" for path in sorted(payload)]
    return {**payload, "SHA256SUMS": "".join(lines).encode()}


def _manifest_image(image: Image, payload: Mapping[str, bytes]) -> dict[str, Any] | None:
    if image.path not in payload:
        return None
    return {
        "original": [],
        "resolved_from": image.reference,
        "reference": image.pinned,
        "import_alias": image.reference,
        "path": image.path,
        "sha256": Digest.of(payload[image.path]).hex,
        "size": len(payload[image.path]),
        "core": True,
    }


def legacy() -> Tree:
    """Return an ISO as old builders wrote it: docker save, no images.list, no manifest.json."""
    tree = _programs(VERSION, "amd64")
    del tree["etcd/etcd-linux-amd64.tar.gz"]
    for reference in (*core(), *CALICO, HEADLAMP, PROVIDER):
        tree[f"docker/{reference.rpartition('/')[2]}.tar"] = named(reference).docker()
    tree["network.yaml"] = network_yaml(pinned=False)
    tree["dashboard.yaml"] = yaml_of(workload("Deployment", "dashboard", {"ui": HEADLAMP}))
    tree["provider.yaml"] = provider_yaml(PROVIDER)
    return tree
