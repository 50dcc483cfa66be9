"""Which etcd, CoreDNS and pause image each kubeadm has built in.

kubeadm itself has the last word; the rules answer where none can be asked. They hold released
patches that somebody read, and no guesses: minors did move etcd in a patch (1.31.14, 1.32.10,
1.33.6), and a wrong tag is worse than asking kubeadm.
"""

from __future__ import annotations

from isobuilder.formats.kube import KubeVersion, coredns_repository, image_registry
from isobuilder.rules.book import Pairing, shipped_rules


def core_tags(version: KubeVersion) -> Pairing | None:
    """Return what this exact patch of kubeadm pairs with, or None when that is not known."""
    return shipped_rules().pairing(version)


def newest_known(version: KubeVersion) -> KubeVersion | None:
    """Return the newest patch of the same minor whose pairing is known, or None."""
    return max(
        (row.last for row in shipped_rules().pairings if row.last.minor == version.minor),
        default=None,
    )


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
