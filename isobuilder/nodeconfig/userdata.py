"""cloud-init user-data and meta-data of one node.

cloud-init writes our files and starts ``kiso-node.service``, whose script runs kubeadm and says on
the console how far it is: lines that begin with ``kiso: node:``, as ``MILESTONES`` lists them.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from isobuilder.digest import Digest
from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.model.cluster import Cluster, ClusterNode, ExtraFile, User
from isobuilder.model.cluster_checks import OWN_FOLDER
from isobuilder.model.cluster_networks import pod_subnets
from isobuilder.nodeconfig.access import Access, check_certificates
from isobuilder.nodeconfig.kubeadm import cri_socket, kubeadm_config
from isobuilder.nodeconfig.patches import patch_files
from isobuilder.nodeconfig.runtime import CERTS, bridge_conflist, hosts_toml, proxy_drop_in
from isobuilder.nodeconfig.virtualip import CONFIG, health_service, keepalived_config, static_pod

MILESTONES = (
    "starting {name} as {role} of Kubernetes v{version}",
    "kubeadm init: begins",
    "kubeadm init: done in {seconds} s, {memory} of {total} MiB of memory in use",
    "network {manifest}: done in {seconds} s, {memory} of {total} MiB of memory in use",
    "API at {endpoint}: done in {seconds} s, {memory} of {total} MiB of memory in use",
    "kubeadm join: begins",
    "kubeadm join: done in {seconds} s, {memory} of {total} MiB of memory in use",
    "node {name} Ready: done in {seconds} s, {memory} of {total} MiB of memory in use",
    "up: {name}",
)
"""What the console shows behind ``kiso: node: ``, in this order, each where it applies."""

_FORWARDING = "net.ipv6.conf.all.forwarding = 1\nnet.ipv6.conf.default.forwarding = 1\n"
_LOCALHOST = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """What cloud-init reads on one node, as texts."""

    user_data: bytes
    meta_data: Mapping[str, str]


def node_files(
    cluster: Cluster,
    node: ClusterNode,
    access: Access,
    sources: Mapping[str, bytes],
    network: bytes,
) -> NodeFiles:
    """Return the user-data and meta-data of ``node``.

    ``sources`` has the bytes of every file that ``cluster`` names, ``network`` is the network
    configuration: when anything changes the instance gets a new id, so that cloud-init acts again.

    Raises:
        InputError: a named file is not what it should be.
    """
    data = "#cloud-config\n" + yaml_text(_cloud_config(cluster, node, access, sources))
    identity = Digest.of(data.encode() + b"\0" + network).hex[:12]
    return NodeFiles(
        user_data=data.encode(),
        meta_data={"instance-id": f"{node.name}-{identity}", "local-hostname": node.name},
    )


def sources_of(cluster: Cluster) -> tuple[str, ...]:
    """Return the names of the files that ``cluster`` wants to be read, each once."""
    found = [*cluster.ca_certificates]
    found += [registry.ca for registry in cluster.registries.values() if registry.ca is not None]
    found += [name for user in cluster.users for name in user.ssh_key_files]
    for file in (*cluster.files, *(file for node in cluster.nodes for file in node.files)):
        if file.source is not None:
            found.append(file.source)
    for patch in (*cluster.patches, *(patch for node in cluster.nodes for patch in node.patches)):
        if patch.source is not None:
            found.append(patch.source)
    if cluster.vendor_data is not None:
        found.append(cluster.vendor_data)
    return tuple(dict.fromkeys(found))


def _cloud_config(
    cluster: Cluster, node: ClusterNode, access: Access, sources: Mapping[str, bytes]
) -> dict[str, Any]:
    config: dict[str, Any] = {
        **cluster.cloud_config,
        **node.cloud_config,
        "hostname": node.name,
        "preserve_hostname": False,
        "users": [_user(user, sources) for user in cluster.users],
        "disable_root": True,
        "ssh_pwauth": False,
    }
    if cluster.ca_certificates:
        trusted = [_certificates(name, sources) for name in cluster.ca_certificates]
        config["ca_certs"] = {"trusted": trusted}
    if cluster.timezone is not None:
        config["timezone"] = cluster.timezone
    if cluster.ntp is not None:
        servers, pools = [*cluster.ntp.servers], [*cluster.ntp.pools]
        config["ntp"] = {
            "enabled": True,
            "ntp_client": "chrony",
            "servers": servers,
            "pools": pools,
        }
    config["write_files"] = [
        *_own_files(cluster, node, access),
        *_control_plane_files(cluster, node),
        *(_file(path, text, "0600") for path, text in patch_files(cluster, node, sources)),
        *_runtime_files(cluster, node, sources),
        *(_extra_file(file, sources) for file in (*cluster.files, *node.files)),
    ]
    config["runcmd"] = [["systemctl", "enable", "--now", "kiso-node.service"]]
    return config


def _user(user: User, sources: Mapping[str, bytes]) -> dict[str, Any]:
    keys = [*user.ssh_keys]
    for name in user.ssh_key_files:
        keys += _public_keys(name, sources)
    found: dict[str, Any] = {"name": user.name, "shell": "/bin/bash"}
    found["lock_passwd"] = user.password_hash is None
    if user.password_hash is not None:
        found["hashed_passwd"] = user.password_hash
    if user.sudo:
        found["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if keys:
        found["ssh_authorized_keys"] = list(dict.fromkeys(keys))
    return found


def _public_keys(name: str, sources: Mapping[str, bytes]) -> Iterable[str]:
    lines = [line.strip() for line in _text(name, sources).splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{name}: no public key in it")
    for key in keys:
        try:
            User(name="any", ssh_keys=(key,))
        except ValueError:
            raise InputError(
                f"{name}: not a public key", hint="name the file that ends in .pub"
            ) from None
    return keys


def _own_files(cluster: Cluster, node: ClusterNode, access: Access) -> list[dict[str, Any]]:
    found = [
        _file(f"{OWN_FOLDER}settings", _settings(cluster, node, access), "0600"),
        _file(f"{OWN_FOLDER}kubeadm.yaml", kubeadm_config(cluster, node, access), "0600"),
        _file(f"{OWN_FOLDER}up", _template("node-up.sh"), "0755"),
        _file("/etc/systemd/system/kiso-node.service", _template("kiso-node.service"), "0644"),
    ]
    authority = access.authority
    if node.role == "first-control-plane" and authority is not None and authority.key is not None:
        found.append(_file(f"{OWN_FOLDER}ca.crt", authority.certificate, "0644"))
        found.append(_file(f"{OWN_FOLDER}ca.key", authority.key, "0600"))
    for when in ("before", "after"):
        lines = (*getattr(cluster.commands, when), *getattr(node.commands, when))
        if lines:
            found.append(_file(f"{OWN_FOLDER}{when}", "\n".join(lines) + "\n", "0700"))
    names = [f"{ip} {other.name}\n" for other in cluster.nodes for ip in other.ips]
    if 6 in cluster.families:
        found.append(_file(f"{OWN_FOLDER}sysctl.conf", _FORWARDING, "0644"))
    found.append(_file("/etc/hosts", _LOCALHOST + "".join(names), "0644"))
    return found


def _control_plane_files(cluster: Cluster, node: ClusterNode) -> list[dict[str, Any]]:
    if node.role == "worker":
        return []
    found = [_file(f"{OWN_FOLDER}admit", _template("node-admit.sh"), "0700")]
    if cluster.virtual_ip is not None:
        config = keepalived_config(cluster, node, cluster.virtual_ip)
        unit = "/etc/systemd/system/kiso-virtual-ip.service"
        found.append(_file(f"{CONFIG}.in", config, "0644"))
        found.append(_file(f"{OWN_FOLDER}virtual-ip.yaml", static_pod(cluster.virtual_ip), "0600"))
        found.append(_file(unit, health_service(), "0644"))
    return found


def _settings(cluster: Cluster, node: ClusterNode, access: Access) -> str:
    first = node.role == "first-control-plane"
    manifest = cluster.cni if first and cluster.cni not in {"bridge", "none"} else ""
    values = {
        "ROLE": node.role,
        "NODE": node.name,
        "VERSION": str(cluster.kubernetes),
        "SOCKET": cri_socket(cluster.kubernetes),
        "API": cluster.api or "",
        "ADDRESS": node.ip or "",
        "TOKEN_TTL": cluster.token_ttl,
        "MANIFEST": manifest,
        "UPLOAD_CERTS": "yes" if first and access.certificate_key is not None else "no",
        "WAIT_READY": "no" if cluster.cni == "none" else "yes",
        "CONTROL_PLANE_TIME": cluster.timeouts.control_plane.removesuffix("s"),
        "JOIN_TIME": cluster.timeouts.join.removesuffix("s"),
        "READY_TIME": cluster.timeouts.ready.removesuffix("s"),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _runtime_files(
    cluster: Cluster, node: ClusterNode, sources: Mapping[str, bytes]
) -> list[dict[str, Any]]:
    found = []
    if cluster.cni == "bridge":
        subnets = pod_subnets(cluster)[node.name]
        found.append(_file("/etc/cni/net.d/10-nodes.conflist", bridge_conflist(subnets), "0644"))
    for host, registry in sorted(cluster.registries.items()):
        found.append(_file(f"{CERTS}/{host}/hosts.toml", hosts_toml(host, registry), "0644"))
        if registry.ca is not None:
            text = _certificates(registry.ca, sources)
            found.append(_file(f"{CERTS}/{host}/ca.crt", text, "0644"))
    if drop_in := proxy_drop_in(cluster, node):
        path = "/etc/systemd/system/containerd.service.d/10-kiso-proxy.conf"
        found.append(_file(path, drop_in, "0600"))  # the address may hold a password
    return found


def _extra_file(file: ExtraFile, sources: Mapping[str, bytes]) -> dict[str, Any]:
    if file.content is not None:
        return _file(file.path, file.content, file.mode)
    data = sources[str(file.source)]
    try:
        return _file(file.path, data.decode(), file.mode)
    except UnicodeDecodeError:
        text = base64.b64encode(data).decode()
        return _file(file.path, text, file.mode) | {"encoding": "b64"}


def _file(path: str, content: str, mode: str) -> dict[str, Any]:
    return {"path": path, "permissions": mode, "content": content}


def _certificates(name: str, sources: Mapping[str, bytes]) -> str:
    return check_certificates(_text(name, sources), name)


def _text(name: str, sources: Mapping[str, bytes]) -> str:
    try:
        return sources[name].decode()
    except UnicodeDecodeError:
        raise InputError(f"{name}: not text") from None


def _template(name: str) -> str:
    return (files("isobuilder.nodeconfig") / "templates" / name).read_text(encoding="utf-8")
