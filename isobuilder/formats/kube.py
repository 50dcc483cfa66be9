"""Kubernetes versions, and one predicate for each behaviour that changed between them."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any

import semver
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

_FORM = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")


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
