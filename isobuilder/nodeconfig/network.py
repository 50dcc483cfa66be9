"""How a node reaches others: cloud-init's network configuration, in two forms."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_checks import pod_subnets

_ANY = "e*"  # whatever the kernel calls its first ethernet: ens3, enp0s3, eth0


def routes_of(cluster: Cluster, node: ClusterNode) -> list[tuple[str, str]]:
    """Return where packets go besides the node's own network: pairs of network and next hop."""
    found = []
    if node.address is not None and cluster.networks.nodes.gateway is not None:
        # Written out: cloud-init's renderer for systemd-networkd does not know "default".
        found.append(("0.0.0.0/0", cluster.networks.nodes.gateway))
    if cluster.cni == "bridge":
        subnets = pod_subnets(cluster)
        found += [
            (str(subnets[other.name]), other.ip)
            for other in cluster.nodes
            if other is not node and other.ip is not None
        ]
    return found + [(route.to, route.via) for route in node.routes]


def network_config(cluster: Cluster, node: ClusterNode) -> dict[str, Any]:
    """Return network-config version 2, for NoCloud."""
    # cloud-init's renderer for systemd-networkd matches names by the key, not by match.name.
    name = node.interface or _ANY
    ethernet: dict[str, Any] = {}
    if node.mac is not None:
        ethernet["match"] = {"macaddress": node.mac}
    if node.address is None:
        ethernet["dhcp4"] = True
    else:
        ethernet |= {"dhcp4": False, "addresses": [node.address]}
    if routes := routes_of(cluster, node):
        ethernet["routes"] = [{"to": to, "via": via} for to, via in routes]
    resolver = {
        "addresses": _nameservers(cluster, node),
        "search": [*cluster.networks.nodes.search],
    }
    if any(resolver.values()):
        ethernet["nameservers"] = {key: value for key, value in resolver.items() if value}
    if cluster.networks.nodes.mtu is not None:
        ethernet["mtu"] = cluster.networks.nodes.mtu
    return {"version": 2, "ethernets": {name: ethernet}}


def network_data(cluster: Cluster, node: ClusterNode) -> dict[str, Any] | None:
    """Return OpenStack's network_data.json, for ConfigDrive; None where it cannot be said.

    That form names an interface by its MAC address or its exact name.
    """
    interface = node.interface
    if node.mac is None and (interface is None or "*" in interface):
        return None
    link: dict[str, Any] = {"id": "node", "type": "phy"}
    if node.mac is not None:
        link["ethernet_mac_address"] = node.mac
    if interface is not None:
        link["name"] = interface
    if cluster.networks.nodes.mtu is not None:
        link["mtu"] = cluster.networks.nodes.mtu
    network: dict[str, Any] = {"id": "network", "link": "node", "type": "ipv4_dhcp"}
    if node.address is not None:
        own = IPv4Interface(node.address)
        network |= {"type": "ipv4", "ip_address": str(own.ip), "netmask": str(own.netmask)}
    if routes := routes_of(cluster, node):
        network["routes"] = [
            {
                "network": str(IPv4Network(to).network_address),
                "netmask": str(IPv4Network(to).netmask),
                "gateway": via,
            }
            for to, via in routes
        ]
    if search := cluster.networks.nodes.search:
        network["dns_search"] = [*search]  # not OpenStack's; cloud-init reads it
    services = [{"type": "dns", "address": server} for server in _nameservers(cluster, node)]
    return {"links": [link], "networks": [network], "services": services}


def _nameservers(cluster: Cluster, node: ClusterNode) -> list[str]:
    nodes = cluster.networks.nodes
    if nodes.nameservers or node.address is None or nodes.gateway is None:
        return [*nodes.nameservers]
    # CoreDNS does not start without any server to forward to, be it one that never answers.
    return [nodes.gateway]
