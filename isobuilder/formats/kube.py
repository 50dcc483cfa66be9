"""Kubernetes versions, and one predicate for each behaviour that changed between them."""

from __future__ import annotations

import re
from typing import ClassVar

from isobuilder.formats.version import ReleaseVersion


class KubeVersion(ReleaseVersion):
    """A released Kubernetes version, ``x.y.z`` without the leading v.

    Raises:
        ValueError: the text is not of that form; Mold refuses pre-releases, and so do we.
    """

    __slots__ = ()
    form: ClassVar[re.Pattern[str]] = re.compile(
        r"((?:0|[1-9][0-9]{0,8})\.(?:0|[1-9][0-9]{0,8})\.(?:0|[1-9][0-9]{0,8}))"
    )
    wanted: ClassVar[str] = "a Kubernetes version x.y.z such as 1.34.12"

    @property
    def minor(self) -> int:
        """The y of x.y.z."""
        return int(self._version.minor)

    @property
    def patch(self) -> int:
        """The z of x.y.z."""
        return int(self._version.patch)

    @property
    def minor_text(self) -> str:
        """The x.y of x.y.z, as upstream names its branches."""
        return self.line_text


def image_registry(version: KubeVersion) -> str:
    """Return the registry kubeadm takes its images from by default.

    Source: kubernetes ``cmd/kubeadm/app/apis/kubeadm/v1beta*/defaults.go``; moved with 1.25.
    """
    return "registry.k8s.io" if version.minor >= 25 else "k8s.gcr.io"


def coredns_repository(version: KubeVersion) -> str:
    """Return CoreDNS's path below the registry; it became nested with 1.21."""
    return "coredns/coredns" if version.minor >= 21 else "coredns"


def kubeadm_api(version: KubeVersion) -> str:
    """Return the newest kubeadm configuration API that this version's kubeadm reads.

    Source: kubernetes ``cmd/kubeadm/app/apis/kubeadm``: v1beta2 from 1.15, v1beta3 from 1.22,
    v1beta4 from 1.31.
    """
    if version.minor >= 31:
        return "kubeadm.k8s.io/v1beta4"
    return "kubeadm.k8s.io/v1beta3" if version.minor >= 22 else "kubeadm.k8s.io/v1beta2"
