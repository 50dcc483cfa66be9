"""Kubernetes versions, and one predicate for each behaviour that changed between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

import semver
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

_FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@total_ordering
class KubeVersion:
    """A released Kubernetes version, ``x.y.z`` without the leading v.

    Raises:
        ValueError: the text is not of that form; Mold refuses pre-releases, and so do we.
    """

    __slots__ = ("_version",)

    def __init__(self, text: str) -> None:
        if not _FORM.fullmatch(text):
            raise ValueError(
                f"expected a Kubernetes version x.y.z such as 1.34.12, got {text[:40]!r}"
            )
        self._version = semver.Version.parse(text)

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
        return f"{self._version.major}.{self._version.minor}"

    def __str__(self) -> str:
        return str(self._version)

    def __repr__(self) -> str:
        return f"KubeVersion({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KubeVersion) and self._version == other._version

    def __lt__(self, other: KubeVersion) -> bool:
        return bool(self._version < other._version)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic read it from a string and write it as one."""
        return core_schema.no_info_plain_validator_function(
            _from_input,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
            json_schema_input_schema=core_schema.str_schema(pattern=r"^\d+\.\d+\.\d+$"),
        )


def _from_input(value: object) -> KubeVersion:
    if isinstance(value, KubeVersion):
        return value
    if not isinstance(value, str):
        raise ValueError(f'expected a string in quotes, such as "1.34.12", got {value!r}')  # noqa: TRY004
    return KubeVersion(value)


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


@dataclass(frozen=True, slots=True)
class CoreTags:
    """The versions kubeadm has built in beside its own: tags of three images."""

    etcd: str
    coredns: str
    pause: str


# Rows: minor, first patch, last patch, tags. Source: kubeadm's constants.go of those patches.
# Patches that nobody listed are left out: a wrong tag is worse than asking kubeadm itself.
_CORE_TAGS: tuple[tuple[int, int, int, CoreTags], ...] = (
    (20, 0, 2, CoreTags("3.4.13-0", "1.7.0", "3.2")),
    (28, 11, 13, CoreTags("3.5.12-0", "v1.10.1", "3.9")),
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
    (32, 2, 9, CoreTags("3.5.16-0", "v1.11.3", "3.10")),
    (32, 11, 13, CoreTags("3.5.24-0", "v1.11.3", "3.10")),
    (33, 4, 5, CoreTags("3.5.21-0", "v1.12.0", "3.10")),
    (33, 7, 13, CoreTags("3.5.24-0", "v1.12.0", "3.10")),
    (34, 1, 1, CoreTags("3.6.4-0", "v1.12.1", "3.10.1")),
    (34, 2, 12, CoreTags("3.6.5-0", "v1.12.1", "3.10.1")),
    (35, 4, 9, CoreTags("3.6.6-0", "v1.13.1", "3.10.1")),
    (36, 3, 5, CoreTags("3.6.8-0", "v1.14.2", "3.10.2")),
    (37, 1, 1, CoreTags("3.7.0-0", "v1.14.6", "3.10.2")),
)


def core_tags(version: KubeVersion) -> CoreTags | None:
    """Return what this exact patch of kubeadm pairs with, or None when that is not known."""
    for minor, first, last, tags in _CORE_TAGS:
        if version.minor == minor and first <= version.patch <= last:
            return tags
    return None


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
