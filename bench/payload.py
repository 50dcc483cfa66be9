"""A Kubernetes release by size and shape, made of noise: nothing in it does anything.

Files, images and addresses are where a real release has them, sizes are those of a real one, and
what fills them is pseudo-random, hence the same every time and not compressible. Every image has
the label of a stand-in.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import yaml

from isobuilder.demo import content, images
from isobuilder.demo.programs import elf_stand_in, program
from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import ImageReference
from isobuilder.rules.pairings import core_images
from isobuilder.store import Store
from tools.lab.archives import Hashing
from tools.lab.images import DOCKER, OCI, STAND_IN, Builder, Descriptor, Tagged

MB = 1_000_000
_PIECE = 1 << 20

_DL = f"dl.k8s.io/release/v{content.KUBERNETES}/bin/linux/amd64"
_GITHUB = "github.com"
_RAW = "raw.githubusercontent.com"
_CNI = f"{_GITHUB}/containernetworking/plugins/releases/download/v{content.CNI}"
_CRICTL = f"{_GITHUB}/kubernetes-sigs/cri-tools/releases/download/v{content.CRICTL}"
_ETCD = f"{_GITHUB}/etcd-io/etcd/releases/download/v{content.ETCD}"
_CONTAINERD = f"{_GITHUB}/containerd/containerd/releases/download/v{content.CONTAINERD}"
_RUNC = f"{_GITHUB}/opencontainers/runc/releases/download/v{content.RUNC}"

# Megabytes each image has to itself, and the shared layers below it.
_SHARED = {"distroless": 3, "go-runner": 2, "calico": 25, "alpine": 4}
_KUBE = ("distroless", "go-runner")
_IMAGES: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "kube-apiserver": (24, _KUBE),
    "kube-controller-manager": (20, _KUBE),
    "kube-scheduler": (16, _KUBE),
    "kube-proxy": (38, ("distroless",)),
    "coredns": (18, ("distroless",)),
    "etcd": (52, ("distroless",)),
    "pause": (0.3, ()),
    "calico/cni": (60, ("calico",)),
    "calico/node": (92, ("calico",)),
    "calico/kube-controllers": (22, ("calico",)),
    "headlamp": (56, ("alpine",)),
    "ablestack-kubernetes-provider": (14, ("alpine",)),
    "autoscaler": (30, ("distroless",)),
}
_FURTHER = 46  # megabytes of each further image, 4 of them shared with two others


@dataclass(frozen=True, slots=True)
class Payload:
    """Where everything is."""

    root: Path
    tagged: tuple[Tagged, ...]  # the images of a release, then the further ones
    release: int  # how many are images of the release itself

    @property
    def files(self) -> Path:
        """What a file server serves: hosts as folders."""
        return self.root / "files"

    @property
    def changed(self) -> Path:
        """The same host with another kubeadm."""
        return self.root / "changed"

    @property
    def blobs(self) -> Path:
        """Every blob and manifest by its digits."""
        return self.root / "blobs"

    @property
    def registry(self) -> Path:
        """A tree that stands for registries in ``file:`` mirrors."""
        return self.root / "registry"

    def images(self, further: int) -> tuple[Tagged, ...]:
        """Return the images of a recipe with so many further ones."""
        return self.tagged[: self.release + further]

    def fill_store(self, store: Store) -> None:
        """Put everything into a store by hard links, as if it had been fetched."""
        for source in (self.blobs, self.files, self.changed):
            for path in source.rglob("*"):
                if path.is_file():
                    digits = path.name if source == self.blobs else _digest(path)
                    target = store.path_of(Digest.from_hex(digits))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not target.exists():
                        _linked(path, target)


def _linked(path: Path, target: Path) -> None:
    """Have a file at two places: by a link, or on another disk by a copy."""
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def further_images(size: float) -> int:
    """Return how many further images make a release of ``size`` gigabytes."""
    return max(0, round((size * 1000 - 850) / _FURTHER))


def recipe(folder: Path, further: int) -> Path:
    """Write the recipe of a release with so many further images and return its path."""
    data = yaml.safe_load(content.recipe())
    data["architectures"] = ["amd64"]
    data["images"]["extra"] = [_further_name(number) for number in range(further)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"kubernetes-{content.KUBERNETES}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def make(root: Path, *, further: int, scale: float = 1.0) -> Payload:
    """Write the payload to ``root``; ``scale`` shrinks everything for a quick try."""
    maker = _Maker(root, scale)
    maker.files()
    tagged = maker.release_images()
    release = len(tagged)
    tagged += maker.further(further)
    for image in tagged:
        maker.publish(image)
    return Payload(root, tuple(tagged), release)


def noise(seed: str, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes that look random and are the same for the same ``seed``."""
    source = random.Random(seed)
    while size > 0:
        yield source.randbytes(min(size, _PIECE))
        size -= _PIECE


class _Maker:
    def __init__(self, root: Path, scale: float) -> None:
        self._root = root
        self._scale = scale
        self._builder = Builder(root / "blobs")
        self._layers: dict[str, Descriptor] = {}

    def _bytes(self, megabytes: float) -> int:
        return int(megabytes * MB * self._scale)

    def files(self) -> None:
        """Write what the file hosts serve."""
        version = content.KUBERNETES
        core = core_images(KubeVersion(version)) or ()
        listed = "".join(f"{image}\n" for image in core)
        for name, size, prints in (
            ("kubeadm", 70, listed),
            ("kubelet", 56, None),
            ("kubectl", 57, None),
        ):
            head = elf_stand_in(version, "amd64", name=name, prints=prints)
            self._put(f"{_DL}/{name}", head, size, f"{_DL}/{name}.sha256")
            if name == "kubeadm":
                self._put(f"{_DL}/{name}", head, size, f"{_DL}/{name}.sha256", tree="changed")
        runc = _program("github.com/opencontainers/runc")
        self._put(f"{_RUNC}/runc.amd64", runc, 12, f"{_RUNC}/runc.sha256sum")
        plugins = ["bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning"]
        name = f"cni-plugins-linux-amd64-v{content.CNI}.tgz"
        self._pack(f"{_CNI}/{name}", plugins, "github.com/containernetworking/plugins", 45)
        name = f"crictl-v{content.CRICTL}-linux-amd64.tar.gz"
        self._pack(f"{_CRICTL}/{name}", ["crictl"], "sigs.k8s.io/cri-tools", 18)
        top = f"etcd-v{content.ETCD}-linux-amd64"
        programs = [f"{top}/{name}" for name in ("etcd", "etcdctl", "etcdutl")]
        self._pack(f"{_ETCD}/{top}.tar.gz", programs, "go.etcd.io/etcd", 22, "SHA256SUMS")
        programs = [f"bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")]
        name = f"containerd-{content.CONTAINERD}-linux-amd64.tar.gz"
        self._pack(
            *(f"{_CONTAINERD}/{name}", programs, "github.com/containerd/containerd", 31),
            f"{name}.sha256sum",
        )
        self._manifests()

    def _manifests(self) -> None:
        source = Path(content.__file__).with_name("manifests")
        for entry in yaml.safe_load(content.recipe())["manifests"]:
            url = entry["url"]
            for name, value in yaml.safe_load(content.recipe())["vars"].items():
                url = url.replace("{{ " + name + " }}", value)
            parts = urlsplit(url)
            target = self._root / "files" / parts.netloc / parts.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / f"{entry['name']}.yaml", target)

    def _pack(
        self, path: str, programs: Sequence[str], package: str, size: float, sums: str | None = None
    ) -> None:
        members = {name: _program(f"{package}/{name.rpartition('/')[2]}") for name in programs}
        archive = images.gzipped(images.tar(members, mode=0o755))
        # A second gzip member would change what tar sees, so the noise is one more program.
        first = programs[0]
        members[first] += b"".join(noise(path, self._bytes(size) - len(archive)))
        folder = path.rpartition("/")[0]
        data = gzip.compress(images.tar(members, mode=0o755), compresslevel=0, mtime=0)
        sums_path = f"{folder}/{sums}" if sums else f"{path}.sha256"
        self._put(path, data, 0, sums_path)

    def _put(self, path: str, head: bytes, size: float, sums: str, *, tree: str = "files") -> None:
        target = self._root / tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.write(head)
            for chunk in noise(tree + path, self._bytes(size) - len(head)):
                file.write(chunk)
        line = f"{_digest(target)}  {target.name}\n"
        (self._root / tree / sums).write_text(line, encoding="ascii")

    def release_images(self) -> list[Tagged]:
        """Write the images of the release."""
        core = [*(core_images(KubeVersion(content.KUBERNETES)) or ())]
        core += [f"quay.io/calico/{name}:v{content.CALICO}" for name in _CALICO]
        core += ["ghcr.io/headlamp-k8s/headlamp:v0.40.1"]
        core += [content.PROVIDER_IMAGE, content.AUTOSCALER_IMAGE]
        commits = {
            content.PROVIDER_IMAGE: content.PROVIDER_SHA,
            content.AUTOSCALER_IMAGE: content.AUTOSCALER_SHA,
        }
        tagged = []
        for reference in core:
            own, shared = _sizes(reference)
            labels = {}
            if reference in commits:
                labels["org.opencontainers.image.revision"] = commits[reference]
                labels["io.ablestack.api-signature"] = "HMAC-SHA256"
            layers = [self._shared(name, _SHARED[name]) for name in shared]
            tagged.append(self._image(reference, layers, own, labels))
        return tagged

    def further(self, count: int) -> list[Tagged]:
        """Write further images, three on one base."""
        tagged = []
        for number in range(count):
            base = self._shared(f"base-{number // 3}", 4)
            tagged.append(self._image(_further_name(number), [base], _FURTHER - 4, {}))
        return tagged

    def publish(self, image: Tagged) -> None:
        """Lay an image out as a registry's addresses, by hard links."""
        reference = ImageReference.parse(image.reference)
        top = self._root / "registry" / reference.registry / "v2" / reference.repository
        for item in image.manifests:
            self._link(item.digest, top / "manifests" / item.digest)
        self._link(image.top.digest, top / "manifests" / str(reference.tag))
        for item in image.blobs:
            self._link(item.digest, top / "blobs" / item.digest)

    def _link(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.hardlink_to(self._builder.blobs / digest.removeprefix("sha256:"))

    def _shared(self, name: str, size: float) -> Descriptor:
        if name not in self._layers:
            self._layers[name] = self._layer(name, size)
        return self._layers[name]

    def _image(
        self, reference: str, shared: list[Descriptor], own: float, labels: dict[str, str]
    ) -> Tagged:
        layers = [*shared, self._layer(reference, own)]
        docker = reference.startswith("registry.k8s.io/")
        dialect = DOCKER if docker else OCI
        manifest, blobs = self._builder.image(
            layers, labels={STAND_IN: "true", **labels}, dialect=dialect
        )
        index = self._builder.index({"amd64": manifest}, dialect=dialect)
        return Tagged(reference, index, manifest, (manifest, index), blobs)

    def _layer(self, seed: str, size: float) -> Descriptor:
        """Write a layer with one file of noise; gzip's own form, but nothing to unpack."""
        draft = self._builder.blobs / "draft"
        count = self._bytes(size)
        member = tarfile.TarInfo("noise")
        member.size = count
        with draft.open("wb") as raw:
            outer = Hashing(raw)
            with gzip.GzipFile(
                filename="", mode="wb", compresslevel=0, fileobj=cast("BinaryIO", outer), mtime=0
            ) as squeezed:
                inner = Hashing(cast("BinaryIO", squeezed))
                inner.write(member.tobuf(tarfile.USTAR_FORMAT))
                for chunk in noise(seed, count):
                    inner.write(chunk)
                inner.write(bytes(-count % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))
        digits = outer.hash.hexdigest()
        draft.rename(self._builder.blobs / digits)
        return Descriptor(
            OCI.layer, f"sha256:{digits}", outer.size, f"sha256:{inner.hash.hexdigest()}"
        )


_CALICO = ("cni", "kube-controllers", "node")


def _sizes(reference: str) -> tuple[float, tuple[str, ...]]:
    repository = ImageReference.parse(reference).repository
    return next(sizes for name, sizes in _IMAGES.items() if repository.endswith(name))


def _further_name(number: int) -> str:
    return f"registry.k8s.io/bench/noise-{number:03}:v1.0.0"


def _program(package: str) -> bytes:
    return program("amd64", prints=f"{package}: a stand-in\n", package=package)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
