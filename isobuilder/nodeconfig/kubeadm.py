"""kubeadm's configuration, in the form that the kubeadm of a version reads.

Sources: kubernetes ``cmd/kubeadm/app/apis/kubeadm/v1beta2``, ``v1beta3`` and ``v1beta4``, types.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isobuilder.documents.text import yaml_documents
from isobuilder.formats.kube import KubeVersion, kubeadm_api
from isobuilder.model.cluster import Cluster, ClusterNode, Volume
from isobuilder.model.cluster_values import API_PORT
from isobuilder.nodeconfig.access import Access

_SOCKET = "/run/containerd/containerd.sock"

PATCHES = "/etc/kiso/node/patches"
"""The folder of a node's patches, for kubeadm now and at every upgrade."""


def cri_socket(version: KubeVersion) -> str:
    """Return containerd's address as this kubeadm wants it: an URL since 1.24, else a path."""
    return f"unix://{_SOCKET}" if version.minor >= 24 else _SOCKET


def kubeadm_config(cluster: Cluster, node: ClusterNode, access: Access) -> str:
    """Return the configuration file of ``kubeadm init`` or ``kubeadm join`` on ``node``."""
    if node.role == "first-control-plane":
        return yaml_documents(
            [_init(cluster, node, access), _cluster(cluster, access), _kubelet(cluster)]
        )
    return yaml_documents([_join(cluster, node, access)])


class _Form:
    """What differs between the versions of the configuration."""

    def __init__(self, version: KubeVersion) -> None:
        self.api = kubeadm_api(version)
        self.lists = self.api.endswith("v1beta4")  # flags are lists; all time limits in one place
        self.socket = cri_socket(version)

    def head(self, kind: str) -> dict[str, Any]:
        return {"apiVersion": self.api, "kind": kind}

    def flags(self, flags: Mapping[str, str]) -> Any:
        """Return flags of a program: a list of names and values since v1beta4, else a map."""
        if self.lists:
            return [{"name": name, "value": value} for name, value in sorted(flags.items())]
        return dict(sorted(flags.items()))

    def add(self, config: dict[str, Any], **parts: Any) -> None:
        """Add the parts that are not empty."""
        config |= {name: value for name, value in parts.items() if value}

    @staticmethod
    def variables(values: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in sorted(values.items())]

    @staticmethod
    def volumes(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
        return [
            {
                "name": volume.name,
                "hostPath": volume.host,
                "mountPath": volume.inside,
                "readOnly": volume.read_only,
                "pathType": volume.type,
            }
            for volume in volumes
        ]


def _init(cluster: Cluster, node: ClusterNode, access: Access) -> dict[str, Any]:
    form = _Form(cluster.kubernetes)
    config = form.head("InitConfiguration")
    config["bootstrapTokens"] = [
        {
            "token": access.token,
            "ttl": cluster.token_ttl,
            "usages": ["signing", "authentication"],
            "groups": ["system:bootstrappers:kubeadm:default-node-token"],
        }
    ]
    if access.certificate_key is not None:
        config["certificateKey"] = access.certificate_key
    if endpoint := _local_endpoint(node):
        config["localAPIEndpoint"] = endpoint
    config["nodeRegistration"] = _registration(cluster, node, form)
    form.add(config, patches=_patches(cluster, node))
    if form.lists:
        config["timeouts"] = _timeouts(cluster)
    return config


def _patches(cluster: Cluster, node: ClusterNode) -> dict[str, str] | None:
    return {"directory": PATCHES} if cluster.patches or node.patches else None


def _timeouts(cluster: Cluster) -> dict[str, str]:
    """Return every limit behind which the control plane has to answer.

    Since 1.34.9, 1.35.6 and 1.36.1 ``kubeadm init`` asks the API server before it waits for it: by
    itself it gives that request one minute, which a slow machine needs for its start alone.
    """
    limits = (
        "controlPlaneComponentHealthCheck",
        "etcdAPICall",
        "kubeletHealthCheck",
        "kubernetesAPICall",
    )
    return dict.fromkeys(limits, cluster.timeouts.control_plane)


def _cluster(cluster: Cluster, access: Access) -> dict[str, Any]:
    form = _Form(cluster.kubernetes)
    config = form.head("ClusterConfiguration")
    config["clusterName"] = cluster.name
    config["kubernetesVersion"] = f"v{cluster.kubernetes}"
    if cluster.api is not None:
        config["controlPlaneEndpoint"] = cluster.api
    config["networking"] = {
        "podSubnet": ",".join(cluster.networks.pods),
        "serviceSubnet": ",".join(cluster.networks.services),
        "dnsDomain": cluster.networks.domain,
    }
    arguments = cluster.arguments
    election: dict[str, str] = {}
    if cluster.is_alone and access.certificate_key is None:
        # Nobody to take over: a lease would only keep the next life of a controller waiting.
        election = {"leader-elect": "false"}
    elif cluster.leader_election is not None:
        election = {
            "leader-elect-lease-duration": cluster.leader_election.lease,
            "leader-elect-renew-deadline": cluster.leader_election.renew,
            "leader-elect-retry-period": cluster.leader_election.retry,
        }
    variables, volumes = cluster.environment, cluster.volumes
    api_server: dict[str, Any] = {}
    form.add(
        api_server,
        certSANs=_names(cluster),
        extraArgs=form.flags(arguments.api_server),
        extraVolumes=form.volumes(volumes.api_server),
        extraEnvs=form.variables(variables.api_server),
    )
    if not form.lists:
        api_server["timeoutForControlPlane"] = cluster.timeouts.control_plane
    form.add(config, apiServer=api_server)
    for key, name in (("controllerManager", "controller_manager"), ("scheduler", "scheduler")):
        program: dict[str, Any] = {}
        form.add(
            program,
            extraArgs=form.flags(election | getattr(arguments, name)),
            extraVolumes=form.volumes(getattr(volumes, name)),
            extraEnvs=form.variables(getattr(variables, name)),
        )
        form.add(config, **{key: program})
    etcd: dict[str, Any] = {}
    form.add(etcd, extraArgs=form.flags(arguments.etcd), extraEnvs=form.variables(variables.etcd))
    if etcd:
        # kubeadm asks for the folder when anything of etcd is said. Source: its defaults.go.
        config["etcd"] = {"local": {"dataDir": "/var/lib/etcd"} | etcd}
    if cluster.certificate_days is not None:
        config["certificateValidityPeriod"] = f"{cluster.certificate_days * 24}h0m0s"
    form.add(config, encryptionAlgorithm=cluster.encryption_algorithm)
    return config


def _names(cluster: Cluster) -> list[str]:
    """Return the names and addresses in the API server's certificate that kubeadm cannot know.

    Of a node's two addresses kubeadm knows the one that it advertises.
    """
    names = [*cluster.certificate_names]
    names += [ip for node in cluster.nodes if node.role != "worker" for ip in node.ips[1:]]
    return list(dict.fromkeys(names))


def _kubelet(cluster: Cluster) -> dict[str, Any]:
    """Return what every kubelet of the cluster shares; kubeadm hands it to those that join."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # The ISO's containerd is set up likewise; kubeadm before 1.22 would choose cgroupfs.
        "cgroupDriver": "systemd",
        "clusterDomain": cluster.networks.domain,
        **cluster.kubelet,
    }


def _join(cluster: Cluster, node: ClusterNode, access: Access) -> dict[str, Any]:
    form = _Form(cluster.kubernetes)
    bootstrap: dict[str, Any] = {"token": access.token, "apiServerEndpoint": cluster.api}
    if access.ca_hash is not None:
        bootstrap["caCertHashes"] = [access.ca_hash]
    else:
        bootstrap["unsafeSkipCAVerification"] = True
    config = form.head("JoinConfiguration")
    config["discovery"] = {"bootstrapToken": bootstrap}
    if form.lists:
        config["timeouts"] = _timeouts(cluster) | {
            "discovery": cluster.timeouts.join,
            "tlsBootstrap": cluster.timeouts.join,
        }
    else:
        config["discovery"]["timeout"] = cluster.timeouts.join
    if node.role == "control-plane":
        config["controlPlane"] = {"certificateKey": access.certificate_key}
        if endpoint := _local_endpoint(node):
            config["controlPlane"]["localAPIEndpoint"] = endpoint
    config["nodeRegistration"] = _registration(cluster, node, form)
    form.add(config, patches=_patches(cluster, node))
    return config


def _local_endpoint(node: ClusterNode) -> dict[str, Any] | None:
    return None if node.ip is None else {"advertiseAddress": node.ip, "bindPort": API_PORT}


def _registration(cluster: Cluster, node: ClusterNode, form: _Form) -> dict[str, Any]:
    registration: dict[str, Any] = {"name": node.name, "criSocket": form.socket}
    if node.taints is not None:
        registration["taints"] = [_taint(text) for text in node.taints]
    flags = {}
    if node.ips:
        flags["node-ip"] = ",".join(node.ips)
    elif cluster.families == (6,):
        flags["node-ip"] = "::"  # whichever address of that kind the node gets
    if node.labels:
        flags["node-labels"] = ",".join(f"{k}={v}" for k, v in sorted(node.labels.items()))
    flags |= cluster.arguments.kubelet
    if flags:
        registration["kubeletExtraArgs"] = form.flags(flags)
    if cluster.ignore_preflight_errors:
        registration["ignorePreflightErrors"] = [*cluster.ignore_preflight_errors]
    return registration


def _taint(text: str) -> dict[str, str]:
    rest, _, effect = text.rpartition(":")
    key, equals, value = rest.partition("=")
    return {"key": key, **({"value": value} if equals else {}), "effect": effect}
