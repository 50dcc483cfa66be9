"""The plan by which a running cluster gets to a newer ISO."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from isobuilder.documents.json import ANSWER, parse
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import read_bytes
from isobuilder.formats.kube import KubeVersion
from isobuilder.iso.boot_names import FOLDER, UPGRADE
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import Medium
from isobuilder.model.cluster_checks import load_cluster
from isobuilder.nodeconfig.upgrade import NewIso, RunningNode, obstacles, plan_data

# Of an object whose name is a DNS subdomain. Source: RFC 1123, and Kubernetes, "Object Names".
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LONGEST = 253
_PLANES = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


def plan_upgrade(iso: Path, *, cluster: Path | None = None, nodes: Path | None = None) -> Any:
    """Return what to do, node by node, as plain JSON values.

    The nodes are those of the file ``cluster``, all at its version, or what
    ``kubectl get nodes -o json`` printed to ``nodes``.

    Raises:
        InputErrors: all that keeps the cluster from being upgraded from ``iso``.
        InputError: a file is not what it should be, or the ISO upgrades nothing.
    """
    place = nodes or cluster
    if place is None or (nodes and cluster):
        raise InputError("expected either a cluster file or a list of nodes")
    running = running_nodes(place) if nodes else _of_file(place)
    new = _read_iso(iso)
    if mistakes := tuple(obstacles(running, new, str(place))):
        raise InputErrors(mistakes)
    return plan_data(running, new)


def _read_iso(path: Path) -> NewIso:
    with IsoReader(path) as reader:
        medium = Medium(reader)
        manifest = medium.manifest
        if isinstance(manifest, IntegrityError):
            raise InputError(f"{path}: manifest.json: {manifest}")
        markers = [name for name in reader.files if name.startswith(f"{FOLDER}/")]
        markers = [name for name in markers if name.endswith(".id")]
        if UPGRADE not in reader.files or len(markers) != 1:
            raise InputError(
                f"{path}: no {UPGRADE} on it; only bootable ISOs upgrade their nodes",
                hint="build it with an OS payload; Mold upgrades its clusters itself",
            )
        return NewIso(
            name=path.name,
            version=manifest.kubernetes_version,
            architecture=manifest.architecture,
            images={
                name for image in manifest.images for name in (image.import_alias, *image.names)
            },
            script=UPGRADE,
            marker=markers[0],
        )


def _of_file(path: Path) -> tuple[RunningNode, ...]:
    cluster = load_cluster(path)
    return tuple(
        RunningNode(
            node.name, "worker" if node.role == "worker" else "control-plane", cluster.kubernetes
        )
        for node in cluster.nodes
    )


def running_nodes(path: Path) -> tuple[RunningNode, ...]:
    """Return the nodes of a NodeList. Source: Kubernetes, API reference, Node v1."""
    listed = parse(read_bytes(path, ANSWER.size), str(path), ANSWER)
    try:
        found = tuple(_node(item, str(path)) for item in listed["items"])
    except (KeyError, TypeError, AttributeError, IndexError):
        found = ()
    if not found:
        raise InputError(
            f"{path}: not a list of nodes", hint="write it with kubectl get nodes -o json"
        )
    return found


def _node(item: Any, place: str) -> RunningNode:
    metadata, info = item["metadata"], item["status"]["nodeInfo"]
    name = str(metadata["name"])
    # It becomes a word of commands that people give as root.
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise InputError(
            f"{place}: {name[:80]!r} is no name of a node",
            hint="lower-case letters, digits, dots and dashes; write the list with kubectl get "
            "nodes -o json",
        )
    told = info["kubeletVersion"]
    try:
        version = KubeVersion(told.removeprefix("v"))
    except ValueError:
        raise InputError(
            f"{place}: node {name} has a kubelet of version {told[:80]!r}, expected one such as "
            "v1.36.5",
            hint="nodes of another distribution of Kubernetes are upgraded by its own means",
        ) from None
    labels = metadata.get("labels") or {}
    conditions = item["status"].get("conditions") or []
    ready = [one["status"] for one in conditions if one["type"] == "Ready"]
    return RunningNode(
        name=name,
        role="control-plane" if any(label in labels for label in _PLANES) else "worker",
        version=version,
        architecture=info.get("architecture"),
        ready=ready[:1] == ["True"],
    )
