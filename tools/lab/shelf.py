"""The upstream file tree: every host a directory, every file where its project keeps it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.lab import catalogue, kubernetes, parts
from tools.lab.place import HERE, fingerprint, once, run

RAW = "raw.githubusercontent.com"
MANIFESTS = {  # file of ours -> where upstream keeps it
    "network.yaml": (
        f"{RAW}/cloudnativelabs/kube-router/v{parts.KUBE_ROUTER}/daemonset/kubeadm-kuberouter.yaml"
    ),
    "metrics-server.yaml": (
        "github.com/kubernetes-sigs/metrics-server/releases/download/"
        f"v{parts.METRICS_SERVER}/components.yaml"
    ),
    "headlamp.yaml": (
        f"{RAW}/kubernetes-sigs/headlamp/{catalogue.HEADLAMP_SHA}/kubernetes-headlamp.yaml"
    ),
    "provider.yaml": (
        f"{RAW}/ablecloud-team/ablestack-kubernetes-provider/{catalogue.PROVIDER_SHA}"
        "/deployment.yaml"
    ),
    "autoscaler.yaml": (
        f"{RAW}/ablecloud-team/autoscaler/{catalogue.AUTOSCALER_SHA}"
        "/cluster-autoscaler/cloudprovider/cloudstack/examples/cluster-autoscaler-standard.yaml"
    ),
    "csi.yaml": (
        f"{RAW}/ablecloud-team/ablestack-kubernetes-csi/{catalogue.CSI_SHA}/deploy/manifest.yaml"
    ),
    "snapshot-crds.yaml": (
        f"{RAW}/ablecloud-team/ablestack-kubernetes-csi/{catalogue.CSI_SHA}"
        "/deploy/snapshot-crds.yaml"
    ),
}
CSI_PROFILE = (
    f"{RAW}/ablecloud-team/ablestack-kubernetes-csi/{catalogue.CSI_SHA}/deploy/csi-profile.json"
)


def shelf(lab: Path, programs: Mapping[str, Path], releases: Path, images: Path) -> Path:
    """Return a directory to serve: ``<host>/<path>`` for every file of upstream's."""
    # What `make rebuild` left here is upstream's own kubelet, which the lab's is not.
    own = [path for path in (lab / "rebuilt/kubelet-amd64",) if (path / ".mark").is_file()]

    def make(target: Path) -> None:
        for version, folder in programs.items():
            better = own if version == kubernetes.CURRENT.version else []
            _kubernetes(target, version, [*better, folder])
        _releases(target, releases)
        _manifests(target, images)

    mark = fingerprint(
        *(HERE / name for name in ("shelf.py", "manifests", "catalogue.py", "parts.py")),
        *(
            (folder / ".mark").read_text()
            for folder in (*programs.values(), *own, releases, images)
        ),
    )
    return once(lab / "files", mark, make)


def _kubernetes(target: Path, version: str, folders: Sequence[Path]) -> None:
    """Serve the programs of a release, each from the first folder that has it."""
    folder = target / f"dl.k8s.io/release/v{version}/bin/linux/amd64"
    folder.mkdir(parents=True)
    for name in kubernetes.PROGRAMS:
        source = next(path / name for path in folders if (path / name).is_file())
        digest = _place(source, folder / name)
        # Bare hex without a newline, as dl.k8s.io has it.
        (folder / f"{name}.sha256").write_text(digest)


def _releases(target: Path, releases: Path) -> None:
    github = target / "github.com"
    containerd = f"containerd-{parts.CONTAINERD}-linux-amd64.tar.gz"
    folder = _release(github, "containerd/containerd", parts.CONTAINERD)
    digest = _place(releases / containerd, folder / containerd)
    (folder / f"{containerd}.sha256sum").write_text(f"{digest}  {containerd}\n")

    folder = _release(github, "opencontainers/runc", parts.RUNC)
    digest = _place(releases / "runc.amd64", folder / "runc.amd64")
    others = (
        f"{_other_digest('runc.arm64')} *runc.arm64\n{_other_digest('runc.tar.xz')} *runc.tar.xz\n"
    )
    (folder / "runc.sha256sum").write_text(clear_signed(f"{digest} *runc.amd64\n{others}"))

    plugins = f"cni-plugins-linux-amd64-v{parts.CNI_PLUGINS}.tgz"
    folder = _release(github, "containernetworking/plugins", parts.CNI_PLUGINS)
    digest = _place(releases / plugins, folder / plugins)
    (folder / f"{plugins}.sha256").write_text(f"{digest}  {plugins}\n")

    crictl = f"crictl-v{parts.CRICTL}-linux-amd64.tar.gz"
    folder = _release(github, "kubernetes-sigs/cri-tools", parts.CRICTL)
    digest = _place(releases / crictl, folder / crictl)
    (folder / f"{crictl}.sha256").write_text(f"{digest}\n")

    etcd = f"etcd-v{parts.ETCD}-linux-amd64.tar.gz"
    folder = _release(github, "etcd-io/etcd", parts.ETCD)
    digest = _place(releases / etcd, folder / etcd)
    other = f"etcd-v{parts.ETCD}-linux-arm64.tar.gz"
    (folder / "SHA256SUMS").write_text(f"{_other_digest(other)}  {other}\n{digest}  {etcd}\n")


def _manifests(target: Path, images: Path) -> None:
    by_digest = catalogue.digest_references(images)
    for name, address in MANIFESTS.items():
        text = (HERE / "manifests" / name).read_text()
        if name == "csi.yaml":
            for image in catalogue.CSI:
                text = text.replace(image.reference, by_digest[image.reference])
        path = target / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    profile = {
        "schemaVersion": 1,
        "apiSignature": "HmacSHA256",
        "driverImage": by_digest[catalogue.CSI[0].reference],
        "files": {
            on_iso: hashlib.sha256((target / MANIFESTS[name]).read_bytes()).hexdigest()
            for on_iso, name in (
                ("manifest.yaml", "csi.yaml"),
                ("snapshot-crds.yaml", "snapshot-crds.yaml"),
            )
        },
    }
    (target / CSI_PROFILE).write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n")


def _release(github: Path, project: str, version: str) -> Path:
    folder = github / project / f"releases/download/v{version}"
    folder.mkdir(parents=True)
    return folder


def _place(source: Path, target: Path) -> str:
    os.link(source, target)
    with target.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _other_digest(name: str) -> str:
    """Return a digest for a file that upstream lists and the lab does not have."""
    return hashlib.sha256(name.encode()).hexdigest()


def clear_signed(text: str) -> str:
    """Return ``text`` in a PGP clear-signed document, by a key that is thrown away at once.

    Without gpg on this machine the document has the right shape and a signature that is none.
    """
    if shutil.which("gpg") is None:
        return (
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}"
            "-----BEGIN PGP SIGNATURE-----\n\nbm90IGEgc2lnbmF0dXJl\n=AAAA\n"
            "-----END PGP SIGNATURE-----\n"
        )
    # A short path: gpg-agent's socket in it must stay below 108 bytes.
    with tempfile.TemporaryDirectory(prefix="lab-gpg-", dir="/tmp") as home:
        plain = Path(home) / "sums"
        plain.write_text(text)
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
        run([*gpg, "--quick-gen-key", "lab@example.invalid", "ed25519", "sign", "never"])
        try:
            return run([*gpg, "--output", "-", "--clear-sign", plain])
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"])
