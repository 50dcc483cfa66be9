"""Cluster files through the door: the form, and what must hold between several values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from isobuilder.documents.mistakes import InputErrors, Mistake
from isobuilder.documents.nodes import Map, locate, path_text
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_kubernetes import kubernetes_mistakes
from isobuilder.model.cluster_networks import network_mistakes
from isobuilder.model.validation import check

_KUBELETS_OWN = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)

_OLDEST_MINOR = 15
"""Where the oldest form of kubeadm's configuration that is written here begins, v1beta2."""

SECRETS = "secrets"
"""The folder of a cluster's secrets, beside one for each node."""

OWN_FOLDER = "/etc/kiso/node/"
"""Where our own files are on a node."""


def load_cluster(path: Path) -> Cluster:
    """Return the cluster that a file describes.

    Raises:
        InputErrors: all its mistakes, each with its place.
        InputError: the file cannot be read.
    """
    return cluster_of(read_yaml(path))


def cluster_of(tree: Map) -> Cluster:
    """Return the cluster that typed values describe.

    Raises:
        InputErrors: all their mistakes.
    """
    cluster, mistakes = check(tree, Cluster)
    if cluster is not None:
        mistakes = list(_Judge(cluster, tree).mistakes())
    if cluster is None or mistakes:
        raise InputErrors(mistakes)
    return cluster


def _kubelet_may_set(label: str) -> bool:
    """Say if a kubelet takes ``label``. Source: its well_known_labels.go, IsKubeletLabel."""
    prefix, slash, _name = label.rpartition("/")
    if not slash or not _is_in(prefix, "kubernetes.io", "k8s.io") or label in _KUBELETS_OWN:
        return True
    return _is_in(prefix, "kubelet.kubernetes.io", "node.kubernetes.io")


def _is_in(domain: str, *zones: str) -> bool:
    return any(domain == zone or domain.endswith(f".{zone}") for zone in zones)


class _Judge:
    def __init__(self, cluster: Cluster, tree: Map) -> None:
        self._cluster, self._tree = cluster, tree

    def mistakes(self) -> Iterator[Mistake]:
        if not self._cluster.nodes:
            yield self._at("no node; expected at least one", "nodes")
            return
        yield from self._doubles()
        yield from self._folders()
        yield from self._roles()
        yield from network_mistakes(self._cluster, self._at)
        yield from kubernetes_mistakes(self._cluster, self._at)
        if self._cluster.kubernetes.major != "1":
            fact = f"there is no Kubernetes {self._cluster.kubernetes}; all are 1.x"
            yield self._at(fact, "kubernetes")
        elif self._cluster.kubernetes.minor < _OLDEST_MINOR:
            fact = f"Kubernetes 1.{_OLDEST_MINOR} is the oldest whose kubeadm can be configured"
            yield self._at(fact, "kubernetes")
        for index, node in enumerate(self._cluster.nodes):
            yield from self._labels(index, node)
            yield from self._taints(index, node)
        yield from self._endpoint()
        yield from self._election()
        yield from self._preflight()
        yield from self._paths()

    def _at(self, fact: str, *steps: str | int, hint: str | None = None) -> Mistake:
        mark, _ = locate(self._tree, steps)
        return Mistake(mark, path_text(self._tree, steps), fact, hint)

    def _doubles(self) -> Iterator[Mistake]:
        kinds: tuple[tuple[str, Callable[[ClusterNode], tuple[str, ...]]], ...] = (
            ("name", lambda node: (node.name,)),
            ("address", lambda node: node.ips),
            ("mac", lambda node: () if node.mac is None else (node.mac,)),
        )
        for key, values_of in kinds:
            seen: dict[str, ClusterNode] = {}
            for index, node in enumerate(self._cluster.nodes):
                for value in values_of(node):
                    if seen.setdefault(value, node) is not node:
                        fact = f"two nodes with the {key} {value}"
                        yield self._at(fact, "nodes", index, key)
        names = [user.name for user in self._cluster.users]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield self._at(f"two users with the name {name}", "users", index, "name")

    def _folders(self) -> Iterator[Mistake]:
        for index, node in enumerate(self._cluster.nodes):
            if node.name == SECRETS:
                fact = f"{SECRETS} is the name of the folder beside those of the nodes"
                yield self._at(fact, "nodes", index, "name", hint="choose another name")

    def _roles(self) -> Iterator[Mistake]:
        firsts = [
            index
            for index, node in enumerate(self._cluster.nodes)
            if node.role == "first-control-plane"
        ]
        for index in firsts[1:]:
            fact = "a second first-control-plane; a cluster is made once"
            yield self._at(fact, "nodes", index, "role", hint="write control-plane")
        if firsts and self._cluster.ca_hash is not None:
            fact = "the hash of a certificate authority that is there, and a node that makes one"
            yield self._at(fact, "ca_hash", hint="leave it out; the authority is made beforehand")
        if self._cluster.api is None and (not firsts or len(self._cluster.nodes) > 1):
            fact = "nodes cannot join: no endpoint, and no first-control-plane with an address"
            yield self._at(fact, "nodes", hint="add endpoint: HOST:6443 (--endpoint)")

    def _labels(self, index: int, node: ClusterNode) -> Iterator[Mistake]:
        for key, value in node.labels.items():
            if not _kubelet_may_set(key):
                yield self._at(
                    f"no kubelet starts that is to give itself the label {key}",
                    *("nodes", index, "labels", key),
                    hint=f"on a control plane, later: kubectl label node {node.name} {key}={value}",
                )

    def _taints(self, index: int, node: ClusterNode) -> Iterator[Mistake]:
        """Say what ends a kubelet. Source: kubernetes ``pkg/util/taints``, ParseTaints."""
        seen = set()
        for number, text in enumerate(node.taints or ()):
            rest, _, effect = text.rpartition(":")
            key = rest.partition("=")[0]
            if (key, effect) in seen:
                fact = f"a second taint {key} with {effect}, with which no kubelet starts"
                yield self._at(fact, "nodes", index, "taints", number, hint="keep one of them")
            seen.add((key, effect))

    def _endpoint(self) -> Iterator[Mistake]:
        if self._cluster.endpoint is None or self._cluster.first is None:
            return
        host = self._cluster.endpoint.rpartition(":")[0].strip("[]")
        for node in self._cluster.nodes:
            if host in node.ips and node.role != "first-control-plane":
                fact = f"{host} is the address of {node.name}, which has no API when it is asked"
                hint = "name the first control plane, a load balancer or a virtual_ip"
                yield self._at(fact, "endpoint", hint=hint)

    def _election(self) -> Iterator[Mistake]:
        election = self._cluster.leader_election
        if election is None:
            return
        lease, renew, retry = (
            int(text.removesuffix("s")) for text in (election.lease, election.renew, election.retry)
        )
        # Source: client-go, leaderelection.NewLeaderElector, with its JitterFactor of 1.2.
        if not (lease > renew > 1.2 * retry > 0):
            fact = f"lease {lease} s, renew {renew} s, retry {retry} s do not fit"
            hint = "lease must be longer than renew, and renew longer than 1.2 times retry"
            yield self._at(fact, "leader_election", hint=hint)

    def _preflight(self) -> Iterator[Mistake]:
        """Say what kubeadm refuses. Source: its validation.ValidateIgnorePreflightErrors."""
        names = self._cluster.ignore_preflight_errors
        for index, name in enumerate(names):
            if name.lower() == "all" and len(names) > 1:
                fact = f"{name} stands beside names of single checks, which kubeadm refuses"
                yield self._at(
                    fact, "ignore_preflight_errors", index, hint="keep all, or the single names"
                )

    def _paths(self) -> Iterator[Mistake]:
        shared = [(file.path, ("files", index)) for index, file in enumerate(self._cluster.files)]
        yield from self._doubled_paths(shared, ())
        for number, node in enumerate(self._cluster.nodes):
            own = [
                (file.path, ("nodes", number, "files", index))
                for index, file in enumerate(node.files)
            ]
            yield from self._doubled_paths(own, [path for path, _ in shared])

    def _doubled_paths(
        self, files: Sequence[tuple[str, tuple[str | int, ...]]], before: Iterable[str]
    ) -> Iterator[Mistake]:
        seen = set(before)
        for path, steps in files:
            if f"{path}/".startswith(OWN_FOLDER) or OWN_FOLDER.startswith(f"{path}/"):
                yield self._at(f"{path}: {OWN_FOLDER} is for our own files", *steps)
            if path in seen:
                yield self._at(f"two files with the path {path}", *steps)
            for other in sorted(seen):
                if other.startswith(f"{path}/") or path.startswith(f"{other}/"):
                    folder, inner = sorted((path, other), key=len)
                    yield self._at(f"{folder} is a file, and {inner} lies in it", *steps)
            seen.add(path)
