"""Which etcd, CoreDNS and pause image each kubeadm has built in.

kubeadm itself has the last word; this table answers where none can be asked. It holds released
patches that somebody read, and no guesses: minors did move etcd in a patch (1.31.14, 1.32.10,
1.33.6), and a wrong tag is worse than asking kubeadm.

Sources: ``cmd/kubeadm/app/constants/constants.go`` of Kubernetes; minikube's table
``pkg/minikube/constants/constants_kubeadm_images.go``, which a robot reads from kubeadm, with its
history; kURL's manifests (40 of 40 equal). As of 2026-11-28. Not known: 1.34.13, 1.35.10, 1.36.6,
and 1.21 to 1.26.
"""

from __future__ import annotations

from dataclasses import dataclass

from isobuilder.formats.kube import KubeVersion, coredns_repository, image_registry

AS_OF = "2026-11-28"


@dataclass(frozen=True, slots=True)
class CoreTags:
    """The versions kubeadm has built in beside its own: tags of three images."""

    etcd: str
    coredns: str
    pause: str


# Minor, first patch, last patch, tags.
_CORE_TAGS: tuple[tuple[int, int, int, CoreTags], ...] = (
    (20, 0, 2, CoreTags("3.4.13-0", "1.7.0", "3.2")),
    (27, 0, 6, CoreTags("3.5.7-0", "v1.10.1", "3.9")),
    (27, 7, 9, CoreTags("3.5.9-0", "v1.10.1", "3.9")),
    (27, 10, 11, CoreTags("3.5.10-0", "v1.10.1", "3.9")),
    (27, 12, 16, CoreTags("3.5.12-0", "v1.10.1", "3.9")),
    (28, 0, 5, CoreTags("3.5.9-0", "v1.10.1", "3.9")),
    (28, 6, 7, CoreTags("3.5.10-0", "v1.10.1", "3.9")),
    (28, 8, 13, CoreTags("3.5.12-0", "v1.10.1", "3.9")),
    (28, 14, 15, CoreTags("3.5.15-0", "v1.10.1", "3.9")),
    (29, 0, 2, CoreTags("3.5.10-0", "v1.11.1", "3.9")),
    (29, 3, 8, CoreTags("3.5.12-0", "v1.11.1", "3.9")),
    (29, 9, 10, CoreTags("3.5.15-0", "v1.11.1", "3.9")),
    (29, 11, 15, CoreTags("3.5.16-0", "v1.11.1", "3.9")),
    (30, 0, 4, CoreTags("3.5.12-0", "v1.11.1", "3.9")),
    (30, 5, 14, CoreTags("3.5.15-0", "v1.11.3", "3.9")),
    (31, 0, 0, CoreTags("3.5.15-0", "v1.11.1", "3.10")),
    (31, 1, 13, CoreTags("3.5.15-0", "v1.11.3", "3.10")),
    (31, 14, 14, CoreTags("3.5.24-0", "v1.11.3", "3.10")),
    (32, 0, 9, CoreTags("3.5.16-0", "v1.11.3", "3.10")),
    (32, 10, 13, CoreTags("3.5.24-0", "v1.11.3", "3.10")),
    (33, 0, 5, CoreTags("3.5.21-0", "v1.12.0", "3.10")),
    (33, 6, 13, CoreTags("3.5.24-0", "v1.12.0", "3.10")),
    (34, 0, 1, CoreTags("3.6.4-0", "v1.12.1", "3.10.1")),
    (34, 2, 12, CoreTags("3.6.5-0", "v1.12.1", "3.10.1")),
    (35, 0, 9, CoreTags("3.6.6-0", "v1.13.1", "3.10.1")),
    (36, 0, 5, CoreTags("3.6.8-0", "v1.14.2", "3.10.2")),
    (37, 0, 2, CoreTags("3.7.0-0", "v1.14.6", "3.10.2")),
)


def core_tags(version: KubeVersion) -> CoreTags | None:
    """Return what this exact patch of kubeadm pairs with, or None when that is not known."""
    for minor, first, last, tags in _CORE_TAGS:
        if version.minor == minor and first <= version.patch <= last:
            return tags
    return None


def newest_known(version: KubeVersion) -> KubeVersion | None:
    """Return the newest patch of the same minor whose pairing is known, or None."""
    known = [last for minor, _, last, _ in _CORE_TAGS if minor == version.minor]
    return KubeVersion(f"{version.minor_text}.{max(known)}") if known else None


def core_images(version: KubeVersion) -> tuple[str, ...] | None:
    """Return the images ``kubeadm config images list`` prints for a cluster with local etcd.

    None when the pairings of this patch are not known; then only kubeadm itself can tell.
    Source of the order and names: kubernetes ``cmd/kubeadm/app/images/images.go``.
    """
    tags = core_tags(version)
    if tags is None:
        return None
    registry = image_registry(version)
    own = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    return (
        *(f"{registry}/{name}:v{version}" for name in own),
        f"{registry}/{coredns_repository(version)}:{tags.coredns}",
        f"{registry}/pause:{tags.pause}",
        f"{registry}/etcd:{tags.etcd}",
    )
