"""Profiles: what each kind of node demands of an ISO and how it reads it, as one table.

Source: docs/node-contract.md, A.2, A.4, A.7, A.10 and C.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from isobuilder.model.architecture import ETCD_ARCHIVE

ProfileName = Literal["mold-cks", "mold-cks-csi", "cloudstack-cks"]
MoldProfileName = Literal["mold-cks", "mold-cks-csi"]  # which the ABLESTACK builder knows too

DEFAULT_PROFILE: ProfileName = "mold-cks"

Kind = Literal["file", "manifest", "render"]
SECTIONS: Mapping[Kind, str] = {"file": "files", "manifest": "manifests", "render": "render"}
"""Where recipes list each kind."""

Cloud = Literal["mold", "cloudstack"]

API_SIGNATURE = "HMAC-SHA256"
SIGNATURE_LABEL = "io.ablestack.api-signature"
REVISION_LABEL = "org.opencontainers.image.revision"

FORBIDDEN = "index.html"
"""How no name may begin: nodes that fetch the tree over HTTP leave such files out."""

CNI_PLUGINS, CRICTL = "cni/cni-plugins-*64.tgz", "cri-tools/crictl-linux-*64.tar.gz"

ONE_OF = (CNI_PLUGINS, CRICTL)
"""Patterns that nodes expand in a shell and pass to tar: each may match one file only."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Exactly one entry of a kind, at one of some paths (patterns of ``fnmatch``)."""

    paths: tuple[str, ...]
    kind: Kind
    why: str


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of node demands, and how it reads an ISO."""

    cloud: Cloud  # whose nodes they are
    needs: tuple[Requirement, ...]  # an ISO without them fails on a node
    wishes: tuple[Requirement, ...]  # without them an ISO lacks a feature
    pinned: frozenset[str] = frozenset()  # manifests whose images must be digests
    kept: frozenset[str] = frozenset()  # manifests whose bytes must stay
    imports_by_digest: bool = True  # else nodes know images by tag only
    writes_images_list: bool = True  # else nodes try to import every file beside the archives
    components: tuple[tuple[str, str], ...] = ()  # name and the manifest made from it

    def demands(self, path: str) -> bool:
        """Whether an ISO must have a file at ``path``."""
        return any(fnmatchcase(path, form) for need in self.needs for form in need.paths)


def unmet(need: Requirement, found: Sequence[tuple[str, Kind]]) -> tuple[str, int | None] | None:
    """Return why paths of some kinds do not meet ``need``, and which of them is at fault; or None.

    The fault of what is missing is none of them; what has no such path at all lacks ``why``.
    """
    wanted = " or ".join(need.paths)
    matching = [
        number
        for number, (path, _) in enumerate(found)
        if any(fnmatchcase(path, form) for form in need.paths)
    ]
    if not matching:
        return f"{wanted}: {need.why}", None
    if len(matching) > 1 and "*" in wanted:
        names = ", ".join(found[number][0] for number in matching)
        return f"expected exactly one {wanted}, found {names}", matching[1]
    kind = found[matching[0]][1]
    if kind != need.kind:
        fact = f"expected {wanted} among {SECTIONS[need.kind]}, found it among {SECTIONS[kind]}"
        return fact, matching[0]
    return None


def _file(path: str, why: str) -> Requirement:
    return Requirement((path,), "file", why)


_NODE = (
    _file("k8s/kubeadm", "nodes copy it"),
    _file("k8s/kubelet", "nodes copy it"),
    _file("k8s/kubectl", "nodes copy it"),
    _file(CNI_PLUGINS, "nodes unpack exactly one"),
    _file(CRICTL, "nodes unpack exactly one"),
    Requirement(("kubelet.service",), "render", "nodes install it"),
    Requirement(("10-kubeadm.conf",), "render", "nodes install it"),
    Requirement(("network.yaml",), "manifest", "the control node applies it"),
)
_ETCD = _file(ETCD_ARCHIVE, "clusters with etcd nodes unpack it")
_AUTOSCALER = Requirement(("autoscaler.yaml",), "manifest", "autoscaling uses it")
_PROVIDER = Requirement(("provider.yaml",), "manifest", "the cloud provider is made from it")
_DASHBOARD = Requirement(
    ("headlamp.yaml", "dashboard.yaml"), "manifest", "an upgrade stops without it"
)

_MOLD = Profile(
    cloud="mold",
    needs=(*_NODE, _DASHBOARD, _PROVIDER, _AUTOSCALER, _ETCD),
    wishes=(
        Requirement(
            ("provider-ownership-v1.json",), "render", "it tells Mold who owns the provider"
        ),
    ),
    pinned=frozenset({"headlamp.yaml", "provider.yaml"}),
    components=(("provider", "provider.yaml"), ("autoscaler", "autoscaler.yaml")),
)

PROFILES: Mapping[ProfileName, Profile] = {
    "mold-cks": _MOLD,
    "mold-cks-csi": Profile(
        cloud="mold",
        needs=(
            *_MOLD.needs,
            Requirement(("manifest.yaml",), "manifest", "it is the CSI driver"),
            Requirement(("snapshot-crds.yaml",), "manifest", "the CSI driver needs it"),
            Requirement(("csi-profile.json",), "render", "Mold checks the CSI driver against it"),
        ),
        wishes=_MOLD.wishes,
        pinned=_MOLD.pinned,
        kept=frozenset({"manifest.yaml", "snapshot-crds.yaml"}),
        components=(*_MOLD.components, ("csi", "manifest.yaml")),
    ),
    "cloudstack-cks": Profile(
        cloud="cloudstack",
        needs=(
            *_NODE,
            Requirement(("dashboard.yaml",), "manifest", "an upgrade ends without it"),
        ),
        wishes=(_PROVIDER, _AUTOSCALER, _ETCD),
        imports_by_digest=False,
        writes_images_list=False,  # three failed tries an archive, and its nodes want none of it
    ),
}
