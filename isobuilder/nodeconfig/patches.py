"""Patches as files that kubeadm finds: named by what they change, in the cluster file's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isobuilder.errors import InputError
from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_kubernetes import patch_problem
from isobuilder.nodeconfig.kubeadm import PATCHES


def patch_files(
    cluster: Cluster, node: ClusterNode, sources: Mapping[str, bytes]
) -> Iterator[tuple[str, str]]:
    """Give path and text of every patch for ``node``; those of the node come last and win.

    Source of the names: kubeadm, ``--patches``: target, suffix, +type.

    Raises:
        InputError: a file that is named holds no patch.
    """
    for number, patch in enumerate((*cluster.patches, *node.patches)):
        text = patch.content
        if text is None:
            name = str(patch.source)
            text = sources[name].decode("utf-8", "replace")
            if problem := patch_problem(patch, text):
                raise InputError(f"{name}: {problem}")
        yield f"{PATCHES}/{patch.target}{number:03}+{patch.type}.yaml", text
