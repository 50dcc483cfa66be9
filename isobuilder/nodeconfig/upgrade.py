"""How a running cluster gets to a newer ISO: what is in the way, and what to do on which node.

The work itself is done by a script that bootable ISOs carry; the plan says where it is called, in
which order. Mold upgrades its clusters itself.
Source: Kubernetes, "Upgrading kubeadm clusters" and "Version Skew Policy".
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from isobuilder.documents.mistakes import Mark, Mistake
from isobuilder.formats.kube import KubeVersion
from isobuilder.rules.pairings import core_images

_MOUNTED = "/run/kiso/next"
"""Where nodes mount the ISO they are upgraded from."""


def upgrade_script() -> bytes:
    """Return the script that an ISO carries."""
    return (files("isobuilder.nodeconfig") / "templates" / "node-upgrade.sh").read_bytes()


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One node of a cluster, as far as it is known."""

    name: str
    role: Literal["control-plane", "worker"]
    version: KubeVersion
    architecture: str | None = None
    ready: bool | None = None


@dataclass(frozen=True, slots=True)
class NewIso:
    """The ISO a cluster is to be brought to."""

    name: str  # of its file
    version: KubeVersion
    architecture: str
    images: Collection[str]
    script: str  # its path on the ISO
    marker: str  # the path of the file by which machines know this very ISO


@dataclass(frozen=True, slots=True)
class UpgradeStep:
    """One command on one node."""

    node: str
    what: str
    command: str


def obstacles(nodes: Sequence[RunningNode], iso: NewIso, place: str) -> Iterator[Mistake]:
    """Give what keeps ``nodes``, which ``place`` tells of, from being upgraded from ``iso``."""
    mark = Mark(place)
    yield from _between(nodes, iso, mark)
    if not any(node.role == "control-plane" for node in nodes):
        yield Mistake(
            *(mark, "", "no control plane among the nodes; an upgrade begins with one"),
            hint="give what kubectl get nodes -o json prints with --nodes",
        )
    for node in nodes:
        if node.ready is False:
            fact = f"node {node.name} is not Ready; an upgrade begins with all nodes well"
            yield Mistake(mark, "", fact, f"see kubectl describe node {node.name}")
        if node.architecture not in {None, iso.architecture}:
            fact = f"node {node.name} is {node.architecture} and {iso.name} is {iso.architecture}"
            yield Mistake(mark, "", fact, f"build the ISO for {node.architecture} too")
    wanted = core_images(iso.version) or ()
    if missing := [name for name in wanted if name not in iso.images]:
        fact = f"it lacks {', '.join(missing)}, which kubeadm v{iso.version} wants"
        hint = "build it from a recipe with images.from: [kubeadm]"
        yield Mistake(Mark(iso.name), "", fact, hint)


def _between(nodes: Sequence[RunningNode], iso: NewIso, mark: Mark) -> Iterator[Mistake]:
    """Give what is wrong with the way from the nodes' versions to that of the ISO."""
    versions = sorted({node.version for node in nodes})
    for version in versions:
        if version > iso.version:
            yield Mistake(
                *(mark, "", f"nodes have v{version} and {iso.name} v{iso.version}: no way back"),
                hint=f"Kubernetes does not go back; use an ISO of v{version} or newer",
            )
        elif iso.version.minor - version.minor > 1:
            fact = f"nodes have v{version} and {iso.name} v{iso.version}: kubeadm goes from one "
            hint = f"bring the cluster to an ISO of 1.{version.minor + 1} first"
            yield Mistake(mark, "", f"{fact}minor to the next", hint)
    others = [version for version in versions if version != iso.version]
    if len(others) > 1:
        told = ", ".join(
            f"{', '.join(node.name for node in nodes if node.version == version)}: v{version}"
            for version in others
        )
        fact = f"nodes of several versions beside v{iso.version}: {told}"
        hint = "finish the earlier upgrade with its own ISO, then come back with this one"
        yield Mistake(mark, "", fact, hint)


def steps_of(nodes: Sequence[RunningNode], iso: NewIso) -> tuple[UpgradeStep, ...]:
    """Return what to do, in order; nothing for a cluster that has the version of ``iso``.

    Every step may be done again, so that after an interruption one begins at the first.
    """
    if all(node.version == iso.version for node in nodes):
        return ()
    script = f"bash {_MOUNTED}/{iso.script}"
    planes = [node for node in nodes if node.role == "control-plane"]
    workers = [node for node in nodes if node.role == "worker"]
    found = []
    for node in nodes:
        found.append(UpgradeStep(node.name, f"attach {iso.name} and mount it", _mount(iso)))
        found.append(UpgradeStep(node.name, "import its images", f"{script} images"))
    found.append(UpgradeStep(planes[0].name, "check cluster and ISO", f"{script} check"))
    found += [
        UpgradeStep(node.name, f"upgrade the control plane {node.name}", script) for node in planes
    ]
    for node in workers:
        name = node.name
        found.append(UpgradeStep(planes[0].name, f"let {name} be empty", f"{script} drain {name}"))
        found.append(UpgradeStep(name, f"upgrade the worker {name}", script))
        found.append(
            UpgradeStep(planes[0].name, f"let {name} in again", f"{script} uncordon {name}")
        )
    return tuple(found)


def _mount(iso: NewIso) -> str:
    """Return the command that finds the ISO among disks and discs by its own file."""
    marker = shlex.quote(f"{_MOUNTED}/{iso.marker}")  # named by who built the ISO
    return (
        f"mkdir -p {_MOUNTED} && for disk in /dev/sr* /dev/sd? /dev/vd?; do "
        f"mountpoint -q {_MOUNTED} && break; "
        f"mount -t iso9660 -o ro $disk {_MOUNTED} 2> /dev/null || continue; "
        f"[ -e {marker} ] || umount {_MOUNTED}; done; ls {_MOUNTED}/{iso.script}"
    )


_NOTES = (
    "Every command may be given again: after an interruption begin with the first that did not "
    "say done.",
    "Pods that nobody makes again (no Deployment, no DaemonSet ...) keep a node from being "
    "drained: move or delete them beforehand.",
    "kubeadm renews the certificates of control planes, and keeps what it replaces, etcd's data "
    "among it, in /etc/kubernetes/tmp. A snapshot of etcd elsewhere is better still.",
    "Before a node is started again, put the new ISO in the place of the old one. Nodes that keep "
    "their state in memory lose it then, as ever.",
)
"""What holds for every upgrade."""


def plan_data(nodes: Sequence[RunningNode], iso: NewIso) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    return {
        "from": str(min(node.version for node in nodes)),
        "to": str(iso.version),
        "iso": iso.name,
        "architecture": iso.architecture,
        "nodes": [
            {"name": node.name, "role": node.role, "version": str(node.version)} for node in nodes
        ],
        "steps": [
            {"number": number, "node": step.node, "what": step.what, "command": step.command}
            for number, step in enumerate(steps_of(nodes, iso), 1)
        ],
        "notes": [*_NOTES],
    }
