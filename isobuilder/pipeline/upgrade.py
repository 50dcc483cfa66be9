"""The plan by which a running cluster gets to a newer ISO."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import UnionType
from typing import Any

from isobuilder.documents.json import NODES, parse
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import is_file, read_bytes
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
    """Return the nodes of a NodeList. Source: Kubernetes, API reference, Node v1.

    Raises:
        InputError: it is none, or larger than that of any cluster, or has a node twice.
    """
    try:
        data = read_bytes(path, NODES.size)
    except InputError as error:
        large = is_file(path) and path.stat().st_size > NODES.size
        raise InputError(*error.lines, hint=_SMALLER if large else error.hint) from error
    try:
        listed = parse(data, str(path), NODES)
    except InputError as error:
        raise InputError(*error.lines, hint=_SMALLER) from error
    try:
        found = tuple(_node(item, str(path)) for item in _is(list, listed["items"]))
    except (KeyError, TypeError):
        found = ()
    if not found:
        raise InputError(
            f"{path}: not a list of nodes", hint="write it with kubectl get nodes -o json"
        )
    counted = Counter(node.name for node in found)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise InputError(
            f"{path}: two nodes with the name {twice[0]}",
            hint="write the list anew with kubectl get nodes -o json",
        )
    return found


_SMALLER = "write it with kubectl get nodes -o json | jq 'del(.items[].status.images)'"


def _is(kind: type | UnionType, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(kind)
    return value


def _node(item: Any, place: str) -> RunningNode:
    """Return a node.

    Raises:
        KeyError, TypeError: it is none.
        InputError: it is one that cannot be upgraded.
    """
    metadata, info = _is(dict, item["metadata"]), _is(dict, item["status"]["nodeInfo"])
    name = _is(str, metadata["name"])
    # It becomes a word of commands that people give as root.
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise InputError(
            f"{place}: {name[:80]!r} is no name of a node",
            hint="lower-case letters, digits, dots and dashes; write the list with kubectl get "
            "nodes -o json",
        )
    told = _is(str, info["kubeletVersion"])
    try:
        version = KubeVersion(told.removeprefix("v"))
    except ValueError:
        raise InputError(
            f"{place}: node {name} has a kubelet of version {told[:80]!r}, expected one such as "
            "v1.36.5",
            hint="nodes of another distribution of Kubernetes are upgraded by its own means",
        ) from None
    labels = _is(dict | None, metadata.get("labels")) or {}
    conditions = _is(list | None, item["status"].get("conditions")) or []
    told_of = {_is(str, one["type"]): _is(str, one["status"]) for one in reversed(conditions)}
    return RunningNode(
        name=name,
        role="control-plane" if any(label in labels for label in _PLANES) else "worker",
        version=version,
        architecture=_is(str | None, info.get("architecture")),
        ready=told_of.get("Ready") == "True",
    )
