"""The description of a small cluster: what the cloud-init data of its nodes is made from.

A value is one text or number of the file; rules that join several values are in
``cluster_rules.py``. Files that are named (certificates, contents) are relative to the description.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import ONE_LINE, IsoPath, Model

Role = Literal["first-control-plane", "control-plane", "worker"]

API_PORT = 6443


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError(
            f"expected an IPv4 address such as 10.0.0.1, found {text[:60]!r}"
        ) from None


def _address_in_network(text: str) -> str:
    if "/" not in text:
        raise ValueError(f"no prefix length in {text[:60]!r}; write it like 10.0.0.11/24")
    try:
        found = IPv4Interface(text)
    except ValueError:
        raise ValueError(
            f"expected an IPv4 address with its prefix length such as 10.0.0.11/24, "
            f"found {text[:60]!r}"
        ) from None
    network = found.network
    if network.prefixlen < 31 and found.ip in {network.network_address, network.broadcast_address}:
        raise ValueError(f"{text} is the address of the network itself or of its broadcasts")
    if found.ip.is_loopback or found.ip.is_multicast:
        raise ValueError(f"{text} is no address that other machines reach")
    return str(found)


def _network(text: str) -> str:
    try:
        found = IPv4Network(text)
    except ValueError as error:
        why = "bits behind the prefix are set" if "host bits" in str(error) else "not a network"
        raise ValueError(
            f"expected an IPv4 network such as 10.244.0.0/16, found {text[:60]!r}: {why}"
        ) from None
    if found.is_loopback or found.is_multicast:
        raise ValueError(f"{text} is no network of machines")
    return str(found)


_HOST = re.compile(
    r"(?!.{254})[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


def _host(text: str) -> str:
    """Return a DNS name or IPv4 address in lower case, as kubeadm wants it."""
    name = text.lower()
    if not _HOST.fullmatch(name):
        raise ValueError(f"expected a DNS name or an IPv4 address, found {text[:80]!r}")
    return _address(name) if re.fullmatch(r"[0-9.]+", name) else name


def _endpoint(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[2] or API_PORT) < 65536:
        raise ValueError(f"expected host or host:port, found {text[:80]!r}")
    return f"{_host(match[1])}:{match[2] or API_PORT}"


def _registry_name(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z0-9.-]+)(:[0-9]{1,5})?", text)
    if match is None:
        raise ValueError(f"expected a registry's host or host:port, found {text[:80]!r}")
    return _host(match[1]) + (match[2] or "")


_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{60,}={0,3}"
    r"(?: [^\x00-\x1f\x7f-\x9f\u2028\u2029]*)?"
)


def _ssh_key(text: str) -> str:
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise ValueError("a private key; give the public one, from the file that ends in .pub")
    if not _KEY.fullmatch(text):
        raise ValueError(
            f"expected a public key such as 'ssh-ed25519 AAAA... name', found {text[:40]!r}"
        )
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in {"http", "https"} or not host or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("expected http://host:port or https://host:port")
    if any(character in text for character in "\"'\\`$"):
        raise ValueError("quotes, backslash or $ must be percent-encoded in an address")
    return text.rstrip("/")


def _registry_address(text: str) -> str:
    text = _web_address(text)
    if urlsplit(text).username is not None:
        raise ValueError("credentials in the address of a registry; containerd takes none there")
    return text


def _seconds(text: str) -> str:
    """Return the duration in seconds, which Kubernetes reads at every place."""
    match = re.fullmatch(r"([0-9]{1,6})(s|m|h)", text)
    if match is None:
        raise ValueError(f"expected a duration such as 90s, 20m or 24h, found {text[:40]!r}")
    return f"{int(match[1]) * {'s': 1, 'm': 60, 'h': 3600}[match[2]]}s"


def _not_zero(text: str) -> str:
    if text == "0s":
        raise ValueError("no time at all")
    return text


def _path(text: str) -> str:
    if not re.fullmatch(r"/(?:[A-Za-z0-9._@:+-]+/)*[A-Za-z0-9._@:+-]+", text) or re.search(
        r"/\.\.?(?:/|$)", text
    ):
        raise ValueError(f"expected an absolute path of plain characters, found {text[:80]!r}")
    return text


def _cni(text: object) -> object:
    if isinstance(text, str) and (text in {"bridge", "none"} or text.endswith((".yaml", ".yml"))):
        return text
    raise ValueError(
        f"expected bridge, none or the path of a manifest on the ISO such as network.yaml, "
        f"found {str(text)[:60]!r}"
    )


_LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"


def _label(text: str) -> str:
    """Return a key of a label or taint. Source: Kubernetes, "Labels and Selectors", syntax."""
    prefix, slash, name = text.rpartition("/")
    if not re.fullmatch(_LABEL_NAME, name) or (slash and not _HOST.fullmatch(prefix)):
        raise ValueError(f"expected a label such as zone or example.com/zone, found {text[:80]!r}")
    return text


def _label_value(text: str) -> str:
    if text and not re.fullmatch(_LABEL_NAME, text):
        raise ValueError(
            f"expected up to 63 letters, digits, dots, dashes or underscores between letters or "
            f"digits, found {text[:80]!r}"
        )
    return text


def _taint(text: str) -> str:
    match = re.fullmatch(r"([^=:]+)(?:=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)", text)
    if match is None:
        raise ValueError(f"expected a taint such as gpu=yes:NoSchedule, found {text[:80]!r}")
    _label(match[1])
    _label_value(match[2] or "")
    return text


def _flag(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", text):
        raise ValueError(f"expected a flag without its dashes, found {text[:80]!r}")
    return text


def _password_hash(text: object) -> object:
    # What stands here is shown to nobody: it may well be the password itself.
    if not isinstance(text, str) or not re.fullmatch(r"\$[0-9a-z]+\$[!-~]+", text):
        raise ValueError("expected a hash of a password, as openssl passwd -6 prints it")
    return text


NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[str, AfterValidator(_address)]
NodeAddress = Annotated[str, AfterValidator(_address_in_network)]
Network = Annotated[str, AfterValidator(_network)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
SshKey = Annotated[str, AfterValidator(_ssh_key)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
RegistryAddress = Annotated[str, AfterValidator(_registry_address)]
Duration = Annotated[str, AfterValidator(_seconds)]
Patience = Annotated[str, AfterValidator(_seconds), AfterValidator(_not_zero)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
Cni = Annotated[Literal["bridge", "none"] | IsoPath, BeforeValidator(_cni)]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
Interface = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.*-]{1,15}$")]
HostName = Annotated[str, AfterValidator(_host)]
RegistryName = Annotated[str, AfterValidator(_registry_name)]
UserName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
Flag = Annotated[str, AfterValidator(_flag)]
Line = Annotated[str, StringConstraints(pattern=ONE_LINE)]
Script = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")]
Taint = Annotated[str, AfterValidator(_taint)]
Label = Annotated[str, AfterValidator(_label)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
PasswordHash = Annotated[str, BeforeValidator(_password_hash)]


class NodesNetwork(Model):
    """The network between the nodes."""

    gateway: Address | None = None  # also where there is no router: any free address of the network
    nameservers: tuple[Address, ...] = ()  # empty: the gateway, because CoreDNS needs one to start
    search: tuple[HostName, ...] = ()
    mtu: Annotated[int, Field(ge=576, le=9216)] | None = None


class Networks(Model):
    """The three networks of a cluster; they may not overlap."""

    nodes: NodesNetwork = NodesNetwork()
    pods: Network = "10.244.0.0/16"
    services: Network = "10.96.0.0/12"
    domain: HostName = "cluster.local"


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
    kubelet: dict[Flag, Line] = {}


class Route(Model):
    """A static route of one node."""

    to: Network
    via: Address


class ClusterNode(Model):
    """One machine."""

    name: NodeName
    role: Role
    address: NodeAddress | None = None  # None: by DHCP
    mac: Mac | None = None  # which interface; None and no ``interface``: any that begins with e
    interface: Interface | None = None
    pods: Network | None = None  # with the bridge CNI; None: the next part of the pod network
    routes: tuple[Route, ...] = ()
    labels: dict[Label, LabelValue] = {}
    taints: tuple[Taint, ...] | None = None  # None: kubeadm's own; empty: pods run everywhere
    files: tuple[ExtraFile, ...] = ()
    commands: Commands = Commands()

    @property
    def ip(self) -> str | None:
        """The address without its prefix length."""
        return None if self.address is None else self.address.partition("/")[0]


class Cluster(Model):
    """A small cluster, or the nodes that join one."""

    format: Annotated[Literal[1], Field(alias="schema")]
    name: NodeName = "kubernetes"
    kubernetes: KubeVersion
    endpoint: Endpoint | None = None  # None: the address of the first control plane
    certificate_names: tuple[HostName, ...] = ()  # more names and addresses of the API server
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
    ignore_preflight_errors: tuple[Line, ...] = ()
    nodes: Annotated[tuple[ClusterNode, ...], Field(json_schema_extra={"minItems": 1})]

    @property
    def first(self) -> ClusterNode | None:
        """The node that makes the cluster; None when all join one that is there."""
        return next((node for node in self.nodes if node.role == "first-control-plane"), None)

    @property
    def is_alone(self) -> bool:
        """Whether no second control plane can come: one is made here, and nobody shares its API."""
        roles = [node.role for node in self.nodes if node.role != "worker"]
        return (
            roles == ["first-control-plane"]
            and self.endpoint is None
            and self.leader_election is None
        )

    @property
    def api(self) -> str | None:
        """``host:port`` of the API; None for a single node that has no fixed address."""
        if self.endpoint is not None or self.first is None or self.first.ip is None:
            return self.endpoint
        return f"{self.first.ip}:{API_PORT}"


def cluster_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of cluster files."""
    schema = Cluster.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = "isobuilder cluster"
    schema["description"] = "A small Kubernetes cluster, for isobuilder node cluster."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
