"""A virtual IP of the API: keepalived as a static pod on every control plane.

It depends on nothing of Kubernetes but the kubelet, so that the first control plane has the address
while it is made. A small service on the node asks the node's own API server and writes down whether
it is well; keepalived follows that file, and the address goes to a node that is.
Source: keepalived.conf(5), sections vrrp_track_file and vrrp_instance; RFC 5798.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from isobuilder.documents.text import yaml_text
from isobuilder.model.cluster import Cluster, ClusterNode, VirtualIp

CONFIG = "/etc/kiso/node/keepalived.conf"
STATE = "/run/kiso/virtual-ip"
"""The folder in which the node says how its API server is."""

_BASE = 150  # of the first control plane in the file; each further one a little less
_ILL = -60  # more than all of that: who is ill has less than anybody who is well


def keepalived_config(cluster: Cluster, node: ClusterNode, address: VirtualIp) -> str:
    """Return keepalived.conf; ``@INTERFACE@`` is what the node itself finds out."""
    planes = [other.name for other in cluster.nodes if other.role != "worker"]
    priority = max(_BASE - planes.index(node.name), _BASE + _ILL // 2)
    length = ip_address(address.address).max_prefixlen
    return f"""\
global_defs {{
    router_id {node.name}
    vrrp_version 3
    vrrp_garp_master_refresh 60
}}
vrrp_track_file api {{
    file {STATE}/api
    weight 1
}}
vrrp_instance api {{
    state BACKUP
    interface @INTERFACE@
    virtual_router_id {router_of(address)}
    priority {priority}
    advert_int 1
    virtual_ipaddress {{
        {address.address}/{length}
    }}
    track_file {{
        api
    }}
}}
"""


def router_of(address: VirtualIp) -> int:
    """Return the number by which the control planes know each other, 1 to 255."""
    return address.router or ip_address(address.address).packed[-1] or 255


def static_pod(address: VirtualIp) -> str:
    """Return the manifest of the pod; it may do what keepalived needs and nothing else."""
    mounts = {"config": (CONFIG, "File"), "state": (STATE, "DirectoryOrCreate")}
    container: dict[str, Any] = {
        "name": "keepalived",
        "image": address.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["keepalived"],
        "args": ["--dont-fork", "--log-console", "--vrrp", f"--use-file={CONFIG}"],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": {
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_BROADCAST", "NET_RAW"]}
        },
        "volumeMounts": [
            {"name": name, "mountPath": path, "readOnly": True}
            for name, (path, _) in mounts.items()
        ],
    }
    return yaml_text(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "virtual-ip", "namespace": "kube-system"},
            "spec": {
                "containers": [container],
                "hostNetwork": True,
                "priorityClassName": "system-node-critical",
                "volumes": [
                    {"name": name, "hostPath": {"path": path, "type": kind}}
                    for name, (path, kind) in mounts.items()
                ],
            },
        }
    )


def health_service() -> str:
    """Return the unit that keeps saying how the node's own API server is."""
    ask = "curl --insecure --silent --noproxy '*' --max-time 3 https://127.0.0.1:6443/healthz"
    return f"""\
[Unit]
Description=Say how the API server of this node is, for the virtual IP
[Service]
RuntimeDirectory=kiso/virtual-ip
RuntimeDirectoryPreserve=yes
ExecStart=/bin/bash -c 'while true; do if [ "$({ask})" = ok ]; then echo 0; else echo {_ILL}; fi \
    > {STATE}/api; sleep 3; done'
Restart=always
[Install]
WantedBy=multi-user.target
"""
