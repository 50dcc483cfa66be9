"""How a node reaches others: cloud-init's network configuration, in two forms."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_networks import address_in, family, pod_subnets

_ALL = {4: "0.0.0.0/0", 6: "::/0"}
_ANY = "e*"  # whatever the kernel calls its first ethernet: ens3, enp0s3, eth0


def _routes_of(cluster: Cluster, node: ClusterNode) -> list[tuple[str, str]]:
    """Return where packets go besides the node's own network: pairs of network and next hop."""
    found = []
    if node.address:
        # Written out: cloud-init's renderer for systemd-networkd does not know "default".
        found += [(_ALL[family(gate)], gate) for gate in cluster.networks.nodes.gateway]
    if cluster.cni == "bridge":
        subnets = pod_subnets(cluster)
        for other in cluster.nodes:
            if other is not node and other.address:
                parts = [(part, address_in(other, part.version)) for part in subnets[other.name]]
                found += [(str(part), via) for part, via in parts if via is not None]
    return found + [(route.to, route.via) for route in node.routes]


def network_config(cluster: Cluster, node: ClusterNode) -> dict[str, Any]:
    """Return network-config version 2, for NoCloud."""
    # cloud-init's renderer for systemd-networkd matches names by the key, not by match.name.
    name = node.interface or _ANY
    ethernet: dict[str, Any] = {}
    if node.mac is not None:
        ethernet["match"] = {"macaddress": node.mac}
    if node.address:
        ethernet |= {"dhcp4": False, "addresses": [*node.address]}
    else:
        ethernet |= {f"dhcp{kind}": True for kind in cluster.families}
    if routes := _routes_of(cluster, node):
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
    networks = [_subnet(cluster, node, kind) for kind in cluster.families]
    services = [{"type": "dns", "address": server} for server in _nameservers(cluster, node)]
    return {"links": [link], "networks": networks, "services": services}


def _subnet(cluster: Cluster, node: ClusterNode, kind: int) -> dict[str, Any]:
    """Return what network_data.json says of the addresses of one kind, 4 or 6."""
    network: dict[str, Any] = {"id": "network" if kind == cluster.families[0] else f"network{kind}"}
    network |= {"link": "node", "type": f"ipv{kind}_dhcp" if kind == 4 else "ipv6_dhcpv6-stateful"}
    for address in node.address:
        if family(address) == kind:
            own = ip_interface(address)
            network |= {"type": f"ipv{kind}", "ip_address": str(own.ip)}
            network["netmask"] = str(own.netmask)
    routes = [route for route in _routes_of(cluster, node) if family(route[0]) == kind]
    if routes:
        network["routes"] = [
            {
                "network": str(ip_network(to).network_address),
                "netmask": str(ip_network(to).netmask),
                "gateway": via,
            }
            for to, via in routes
        ]
    if search := cluster.networks.nodes.search:
        network["dns_search"] = [*search]  # not OpenStack's; cloud-init reads it
    return network


def _nameservers(cluster: Cluster, node: ClusterNode) -> list[str]:
    nodes = cluster.networks.nodes
    if nodes.nameservers or not node.address:
        return [*nodes.nameservers]
    # CoreDNS does not start without any server to forward to, be it one that never answers.
    return [*nodes.gateway[:1]]
