"""The description of a small cluster: what the cloud-init data of its nodes is made from.

Single values are in ``cluster_values.py``; rules that join several are in ``cluster_checks.py`` and
``cluster_kubernetes.py``. Files that are named (certificates, contents) are relative to the
description.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import Model
from isobuilder.model.cluster_values import (
    AbsolutePath,
    Address,
    Addresses,
    CertificateName,
    Cni,
    Domain,
    Duration,
    Endpoint,
    Flag,
    HostName,
    Interface,
    Label,
    LabelValue,
    Line,
    Mac,
    Network,
    NodeAddresses,
    NodeName,
    OneOrTwoNetworks,
    PasswordHash,
    Patience,
    RegistryAddress,
    RegistryName,
    Script,
    SshKey,
    Taint,
    Timezone,
    UserName,
    Variable,
    VolumeName,
    WebAddress,
    host_port,
)
from isobuilder.model.recipe import ImageText

Role = Literal["first-control-plane", "control-plane", "worker"]


class NodesNetwork(Model):
    """The network between the nodes."""

    # Also where there is no router: any free address of the network.
    gateway: Addresses = ()
    nameservers: tuple[Address, ...] = ()  # empty: the gateway, because CoreDNS needs one to start
    search: tuple[Domain, ...] = ()
    mtu: Annotated[int, Field(ge=576, le=9216)] | None = None


class Networks(Model):
    """The three networks of a cluster; they may not overlap.

    Pods and services have IPv4, IPv6 or both; whichever comes first is what nodes go by.
    """

    nodes: NodesNetwork = NodesNetwork()
    pods: OneOrTwoNetworks = ("10.244.0.0/16",)
    services: OneOrTwoNetworks = ("10.96.0.0/12",)
    domain: Domain = "cluster.local"


class User(Model):
    """Somebody who may log in."""

    name: UserName
    ssh_keys: tuple[SshKey, ...] = ()
    ssh_key_files: tuple[str, ...] = ()
    password_hash: PasswordHash | None = Field(default=None, repr=False)  # for the console
    sudo: bool = True  # without a password, for there may be none


class Proxy(Model):
    """How containerd reaches registries outside."""

    http: WebAddress | None = Field(default=None, repr=False)  # may hold a password
    https: WebAddress | None = Field(default=None, repr=False)
    none: tuple[Line, ...] = ()  # besides the cluster's own networks


class Registry(Model):
    """Where containerd asks for the images of one registry, and whom it trusts there."""

    mirrors: tuple[RegistryAddress, ...] = ()  # in order; empty: the registry itself
    ca: str | None = None  # a file of PEM certificates

    @model_validator(mode="after")
    def _each_once(self) -> Registry:
        for index, mirror in enumerate(self.mirrors):
            if mirror in self.mirrors[:index]:
                raise ValueError(f"the mirror {mirror} twice; containerd reads no such file")
        return self


class ExtraFile(Model):
    """One more file on the node."""

    path: AbsolutePath
    content: str | None = None
    source: str | None = None
    mode: Annotated[str, StringConstraints(pattern=r"^0[0-7]{3}$")] = "0644"

    @model_validator(mode="after")
    def _one_origin(self) -> ExtraFile:
        if (self.content is None) == (self.source is None):
            raise ValueError(f"{self.path}: expected either content or source")
        return self


class Commands(Model):
    """Shell commands around kubeadm, run by bash in this order; the first that fails stops."""

    before: tuple[Script, ...] = ()
    after: tuple[Script, ...] = ()


class LeaderElection(Model):
    """How patient controllers are; for machines that are slow or share their processors."""

    lease: Duration
    renew: Duration
    retry: Duration


class Timeouts(Model):
    """How long things may take."""

    control_plane: Patience = "1200s"  # until the API server, etcd and the kubelet answer
    join: Patience = "1200s"  # until the API answers, and then until the cluster can be joined
    ready: Patience = "1200s"  # until the node is Ready


class Arguments(Model):
    """More flags of Kubernetes' programs, without the dashes; they win over ours."""

    api_server: dict[Flag, Line] = {}
    controller_manager: dict[Flag, Line] = {}
    scheduler: dict[Flag, Line] = {}
    etcd: dict[Flag, Line] = {}
    kubelet: dict[Flag, Line] = {}


class Environment(Model):
    """Environment variables of the control plane's programs."""

    api_server: dict[Variable, Line] = {}
    controller_manager: dict[Variable, Line] = {}
    scheduler: dict[Variable, Line] = {}
    etcd: dict[Variable, Line] = {}


class Volume(Model):
    """A file or folder of the node that a program of the control plane sees."""

    name: VolumeName
    host: AbsolutePath
    mount: AbsolutePath | None = None  # None: at the same path
    read_only: bool = False
    type: Literal["DirectoryOrCreate", "Directory", "FileOrCreate", "File"] = "DirectoryOrCreate"

    @property
    def inside(self) -> str:
        """Where the program sees it."""
        return self.mount or self.host


class Volumes(Model):
    """More volumes of the control plane's programs: for audit logs, keys, policies."""

    api_server: tuple[Volume, ...] = ()
    controller_manager: tuple[Volume, ...] = ()
    scheduler: tuple[Volume, ...] = ()


PatchTarget = Literal[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "etcd",
    "kubeletconfiguration",
    "corednsdeployment",
    "kubeproxydaemonset",
]
"""What kubeadm patches. Source: kubernetes ``cmd/kubeadm/app/util/patches/patches.go``."""


class Patch(Model):
    """One patch that kubeadm applies to what it makes, now and at every upgrade."""

    target: PatchTarget
    type: Literal["strategic", "merge", "json"] = "strategic"
    content: str | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Patch:
        if (self.content is None) == (self.source is None):
            raise ValueError(f"{self.target}: expected either content or source")
        return self


class Ntp(Model):
    """Whom the nodes ask for the time."""

    servers: tuple[HostName, ...] = ()
    pools: tuple[HostName, ...] = ()


class VirtualIp(Model):
    """An address of the API that moves to a control plane that is well, by VRRP."""

    address: Address
    image: ImageText  # with keepalived 2.1 or newer; on the ISO
    router: Annotated[int, Field(ge=1, le=255)] | None = None  # None: of the address's last byte


class Route(Model):
    """A static route of one node."""

    to: Network
    via: Address


class ClusterNode(Model):
    """One machine."""

    name: NodeName
    role: Role
    address: NodeAddresses = ()  # empty: by DHCP; else IPv4, IPv6 or both
    mac: Mac | None = None  # which interface; None and no ``interface``: any that begins with e
    interface: Interface | None = None
    pods: OneOrTwoNetworks = ()  # with the bridge CNI; empty: the next part of the pod network
    routes: tuple[Route, ...] = ()
    labels: dict[Label, LabelValue] = {}
    taints: tuple[Taint, ...] | None = None  # None: kubeadm's own; empty: pods run everywhere
    files: tuple[ExtraFile, ...] = ()
    commands: Commands = Commands()
    patches: tuple[Patch, ...] = ()
    cloud_config: dict[str, Any] = {}  # more keys of cloud-config; they win over the cluster's

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses without their prefix lengths."""
        return tuple(address.partition("/")[0] for address in self.address)

    @property
    def ip(self) -> str | None:
        """The first address without its prefix length."""
        return self.ips[0] if self.address else None


EncryptionAlgorithm = Literal["RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256"]
"""Of the keys that kubeadm makes. Source: its v1beta4 types.go, what 1.31 knew."""


class Cluster(Model):
    """A small cluster, or the nodes that join one."""

    format: Annotated[Literal[1], Field(alias="schema")]
    name: NodeName = "kubernetes"
    kubernetes: KubeVersion
    endpoint: Endpoint | None = None  # None: the address of the first control plane
    certificate_names: tuple[
        CertificateName, ...
    ] = ()  # more names and addresses of the API server
    networks: Networks = Networks()
    cni: Cni = "network.yaml"
    verify_ca: bool = True  # joining nodes know the cluster's certificate authority beforehand
    ca_hash: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    token_ttl: Duration = "86400s"  # noqa: S105 - a duration; 0s: for ever
    users: tuple[User, ...] = ()
    proxy: Proxy = Proxy()
    registries: dict[RegistryName, Registry] = {}
    ca_certificates: tuple[str, ...] = ()  # files of PEM certificates that the whole node trusts
    files: tuple[ExtraFile, ...] = ()
    commands: Commands = Commands()
    leader_election: LeaderElection | None = None
    timeouts: Timeouts = Timeouts()
    arguments: Arguments = Arguments()
    environment: Environment = Environment()
    volumes: Volumes = Volumes()
    kubelet: dict[str, Any] = {}  # more fields of KubeletConfiguration, for all nodes
    certificate_days: Annotated[int, Field(ge=1, le=3650)] | None = None  # None: kubeadm's year
    encryption_algorithm: EncryptionAlgorithm | None = None  # None: RSA-2048
    patches: tuple[Patch, ...] = ()
    virtual_ip: VirtualIp | None = None
    ntp: Ntp | None = None
    timezone: Timezone | None = None
    cloud_config: dict[str, Any] = {}  # more keys of cloud-config
    vendor_data: str | None = None  # a file that cloud-init reads as vendor-data
    ignore_preflight_errors: tuple[Line, ...] = ()
    nodes: Annotated[tuple[ClusterNode, ...], Field(json_schema_extra={"minItems": 1})]

    @property
    def first(self) -> ClusterNode | None:
        """The node that makes the cluster; None when all join one that is there."""
        return next((node for node in self.nodes if node.role == "first-control-plane"), None)

    @property
    def is_alone(self) -> bool:
        """Whether the file has one control plane, and nothing in it expects a second."""
        roles = [node.role for node in self.nodes if node.role != "worker"]
        return (
            roles == ["first-control-plane"]
            and self.endpoint is None
            and self.virtual_ip is None
            and self.leader_election is None
        )

    @property
    def api(self) -> str | None:
        """``host:port`` of the API; None for a single node that has no fixed address."""
        if self.endpoint is not None:
            return self.endpoint
        if self.virtual_ip is not None:
            return host_port(self.virtual_ip.address)
        if self.first is None or self.first.ip is None:
            return None
        return host_port(self.first.ip)

    @property
    def families(self) -> tuple[int, ...]:
        """The kinds of addresses that pods have, 4 and 6, in their order."""
        return tuple(ip_address(one.partition("/")[0]).version for one in self.networks.pods)


def cluster_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of cluster files."""
    schema = Cluster.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = "isobuilder cluster"
    schema["description"] = "A small Kubernetes cluster, for isobuilder node cluster."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
