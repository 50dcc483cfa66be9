"""What a node's containerd is told: pod networks, mirrors of registries, proxies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from urllib.parse import urlsplit

from isobuilder.model.cluster import Cluster, ClusterNode, Registry
from isobuilder.model.cluster_networks import AnyNetwork

CERTS = "/etc/containerd/certs.d"

_ALL = {4: "0.0.0.0/0", 6: "::/0"}


def bridge_conflist(subnets: Sequence[AnyNetwork]) -> str:
    """Return a CNI configuration of the reference plugins: one bridge, an address of each subnet.

    Source: containernetworking/plugins, documentation of bridge, host-local and portmap.
    """
    plugins = [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,  # pods keep their address; the routes between nodes bring them back
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": str(subnet)}] for subnet in subnets],
                "routes": [{"dst": _ALL[subnet.version]} for subnet in subnets],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    conflist = {"cniVersion": "0.4.0", "name": "nodes", "plugins": plugins}
    return json.dumps(conflist, indent=2) + "\n"


def hosts_toml(host: str, registry: Registry) -> str:
    """Return containerd's ``hosts.toml`` for the registry ``host``.

    A mirror with a path serves the repositories of the registry below it, as in our own settings:
    ``https://site/docker.io`` is asked for ``/v2/docker.io/library/nginx``.
    Source: containerd, docs/hosts.md.
    """
    upstream = "https://registry-1.docker.io" if host == "docker.io" else f"https://{host}"
    lines = [f"server = {json.dumps(upstream)}"]
    for address in registry.mirrors or (upstream,):
        parts = urlsplit(address)
        has_v2 = not parts.path or f"{parts.path}/".startswith("/v2/")
        path = parts.path if has_v2 else f"/v2{parts.path}"
        lines += [
            "",
            f"[host.{json.dumps(f'{parts.scheme}://{parts.netloc}{path}')}]",
            '  capabilities = ["pull", "resolve"]',
        ]
        if registry.ca is not None:
            lines.append(f"  ca = {json.dumps(f'{CERTS}/{host}/ca.crt')}")
        if path:
            lines.append("  override_path = true")
    return "\n".join(lines) + "\n"


def proxy_drop_in(cluster: Cluster, node: ClusterNode) -> str | None:
    """Return the systemd drop-in that tells containerd about proxies; None without any."""
    proxy = cluster.proxy
    values = {"HTTP_PROXY": proxy.http, "HTTPS_PROXY": proxy.https}
    found = {name: value for name, value in values.items() if value is not None}
    if not found:
        return None
    networks = cluster.networks
    direct = ["localhost", "127.0.0.0/8", *networks.pods, *networks.services]
    direct += [str(ip_interface(address).network) for address in node.address]
    if cluster.api is not None:
        direct.append(cluster.api.rpartition(":")[0].strip("[]"))
    direct += [".svc", f".{networks.domain}", *proxy.none]
    return _drop_in(found | {"NO_PROXY": ",".join(dict.fromkeys(direct))})


def _drop_in(variables: Mapping[str, str]) -> str:
    lines = ["[Service]"]
    for name, value in variables.items():
        # systemd.unit(5): % begins a specifier; systemd.exec(5): quotes keep the value in one.
        quoted = f"{name}={value}".replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        lines.append(f'Environment="{quoted}"')
    return "\n".join(lines) + "\n"
