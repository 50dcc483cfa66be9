"""What must hold between the addresses and networks of a cluster, and its nodes' parts of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from isobuilder.documents.mistakes import Mistake
from isobuilder.model.cluster import Cluster, ClusterNode

AnyNetwork = IPv4Network | IPv6Network
At = Callable[..., Mistake]
"""Makes a mistake of a fact and the steps to its place; ``hint`` is the way out."""

_POD_PREFIX = {4: 24, 6: 64}
"""Every node's part of the pod network, as Kubernetes itself would cut it."""

_SMALLEST_POD_PREFIX = {4: 29, 6: 125}
"""Of what a node may name for itself: the bridge and five pods."""

_LARGEST_POD_PREFIX = {4: 8, 6: 48}  # the controller manager's limit: 16 bits above its own mask
_SERVICES = {4: (12, 24), 6: (108, 120)}  # the API server's limit is 20 bits
_NAMES = {4: "IPv4", 6: "IPv6"}

_DUAL_STACK_MINOR = 21
"""Since when both kinds of addresses need no feature gate. Source: KEP-563."""


def family(text: str) -> int:
    """Return 4 or 6 for an address or network."""
    return ip_address(text.partition("/")[0]).version


def address_in(node: ClusterNode, version: int) -> str | None:
    """Return the address of ``node`` of one kind, without prefix length."""
    return next((ip for ip in node.ips if family(ip) == version), None)


def pod_subnets(cluster: Cluster) -> dict[str, tuple[AnyNetwork, ...]]:
    """Return each node's parts of the pod networks, for the bridge CNI.

    A node that names none gets the first part that nobody named and nobody before it got; a node
    for which nothing is left is not in the answer.
    """
    found: dict[str, tuple[AnyNetwork, ...]] = {node.name: () for node in cluster.nodes}
    for text in cluster.networks.pods:
        whole = ip_network(text)
        named = {
            node.name: ip_network(part)
            for node in cluster.nodes
            for part in node.pods
            if family(part) == whole.version
        }
        free = _parts(whole, named.values())
        for node in cluster.nodes:
            part = named.get(node.name) or next(free, None)
            if part is not None:
                found[node.name] += (part,)
    wanted = len(cluster.networks.pods)
    return {name: parts for name, parts in found.items() if len(parts) == wanted}


def _parts(whole: AnyNetwork, taken: Collection[AnyNetwork]) -> Iterator[AnyNetwork]:
    """Give the parts of ``whole`` that overlap nothing that is taken.

    Behind what is taken it goes on at once: a large network has more parts than can be tried.
    """
    prefix = _POD_PREFIX[whole.version]
    size, place = 1 << (whole.max_prefixlen - prefix), int(whole.network_address)
    while place + size - 1 <= int(whole.broadcast_address):
        part = type(whole)((place, prefix))
        ends = [int(other.broadcast_address) for other in taken if part.overlaps(other)]
        if not ends:
            yield part
        place = max([place + size, *(end + 1 for end in ends)])


def network_mistakes(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give what is wrong with the addresses and networks of ``cluster``."""
    unfit = list(_families(cluster, at))
    yield from unfit
    if not unfit:
        yield from _overlaps(cluster, at)
        yield from _nameservers(cluster, at)
        yield from _sizes(cluster, at)
        for index, node in enumerate(cluster.nodes):
            yield from _reach(cluster, at, index, node)
        yield from _virtual_ip(cluster, at)
    if cluster.cni == "bridge":
        if not unfit:
            yield from _bridge(cluster, at)
    elif any(node.pods for node in cluster.nodes):
        yield at("a part of the pod network for each node is for cni: bridge only", "cni")


def _families(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give what is not one of each kind, or not in one order.

    The API server goes by the kind that comes first; so do kubelets. Source: kube-apiserver,
    "service IP family must match public address family"; Kubernetes, "IPv4/IPv6 dual-stack".
    """
    networks, wanted = cluster.networks, cluster.families
    lists: list[tuple[Sequence[str], tuple[str | int, ...], bool]] = [
        (networks.pods, ("networks", "pods"), True),
        (networks.services, ("networks", "services"), True),
        (networks.nodes.gateway, ("networks", "nodes", "gateway"), False),
    ]
    lists += [
        (node.address, ("nodes", index, "address"), bool(node.address))
        for index, node in enumerate(cluster.nodes)
    ]
    lists += [
        (node.pods, ("nodes", index, "pods"), bool(node.pods))
        for index, node in enumerate(cluster.nodes)
    ]
    for values, steps, complete in lists:
        kinds = tuple(family(value) for value in values)
        told = " and ".join(_NAMES[kind] for kind in wanted)
        if (complete and not kinds) or len(set(kinds)) != len(kinds):
            yield at("expected one IPv4, one IPv6, or one of each", *steps)
        elif (complete and kinds != wanted) or not set(kinds) <= set(wanted):
            # Of a default route of another kind systemd-networkd would give the interface up.
            fact = f"{' and '.join(_NAMES[kind] for kind in kinds)} here, and pods have {told}"
            yield at(fact, *steps, hint=f"write {told} everywhere, in this order")
    if len(wanted) > 1 and cluster.kubernetes.minor < _DUAL_STACK_MINOR:
        fact = f"IPv4 and IPv6 at once need Kubernetes 1.{_DUAL_STACK_MINOR}"
        yield at(f"{fact}, this is {cluster.kubernetes}", "networks", "pods")
    for index, node in enumerate(cluster.nodes):
        if wanted == (6, 4) and node.role != "worker" and not node.address:
            fact = f"IPv6 first needs the address of {node.name}: kubeadm would choose the IPv4 one"
            yield at(fact, "nodes", index, hint="add its address, or write IPv4 first")


def _overlaps(cluster: Cluster, at: At) -> Iterator[Mistake]:
    networks = cluster.networks
    pods = [ip_network(text) for text in networks.pods]
    services = [ip_network(text) for text in networks.services]
    for one, other in zip(pods, services, strict=True):
        if one.overlaps(other):
            yield at(f"the pod network {one} and the service network {other} overlap", "networks")
    for index, node in enumerate(cluster.nodes):
        for address in node.address:
            own = ip_interface(address).network
            for name, found in (("pod", pods), ("service", services)):
                for other in found:
                    if own.overlaps(other):
                        fact = f"the network of {address} overlaps the {name} network {other}"
                        yield at(fact, "nodes", index, "address")


def _nameservers(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give the nameservers that cannot be one: CoreDNS forwards to them what it does not know."""
    networks = cluster.networks
    for index, text in enumerate(networks.nodes.nameservers):
        server, place = ip_address(text), ("networks", "nodes", "nameservers", index)
        inside = [one for one in (*networks.pods, *networks.services) if server in ip_network(one)]
        if server.is_loopback or inside:
            where = f"in {inside[0]} of the cluster" if inside else "the machine itself"
            fact = f"{server} is {where}; CoreDNS, which asks it, would ask itself"
            yield at(fact, *place, hint="name a server outside the cluster, or leave it out")


def _sizes(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Say what kubeadm would refuse later. Source: its validation.ValidateNetworking."""
    flags = cluster.arguments.controller_manager
    for key in ("pods", "services"):
        for text in getattr(cluster.networks, key):
            if ip_network(text).is_link_local:
                yield at(f"{text} leads no further than one link", "networks", key)
    for text in cluster.networks.services:
        services = ip_network(text)
        least, most = _SERVICES[services.version]
        if not least <= services.prefixlen <= most:
            size = "small" if services.prefixlen > most else "large"
            fact = f"{services} is too {size} for services; expected /{least} to /{most}"
            yield at(fact, "networks", "services")
    if any(flag.startswith("node-cidr-mask-size") for flag in flags):
        return
    for text in cluster.networks.pods:
        pods = ip_network(text)
        least, most = _LARGEST_POD_PREFIX[pods.version], _POD_PREFIX[pods.version]
        if not least <= pods.prefixlen <= most:
            size = "small" if pods.prefixlen > most else "large"
            fact = f"{pods} is too {size} for pods: each node gets a /{most} of it"
            yield at(fact, "networks", "pods", hint=f"choose one of /{least} to /{most}")


def _reach(cluster: Cluster, at: At, index: int, node: ClusterNode) -> Iterator[Mistake]:
    if node.mac is not None and node.interface is not None:
        fact = "the interface by its name and by its MAC address"
        yield at(fact, "nodes", index, hint="keep one of them")
    gateways = {family(text): text for text in cluster.networks.nodes.gateway}
    owns = {ip_interface(text).version: ip_interface(text) for text in node.address}
    for version, own in owns.items():
        gateway = gateways.get(version)
        if gateway is None:
            yield at(
                f"{node.name} has a fixed address and there is no gateway; without a default route "
                "a node cannot reach services",
                *("nodes", index, "address"),
                hint="add networks.nodes.gateway (--gateway): any free address there will do",
            )
        elif ip_address(gateway) not in own.network and not (
            version == 6 and ip_address(gateway).is_link_local
        ):
            fact = f"the gateway {gateway} is not in the network of {own}"
            yield at(fact, "nodes", index, "address")
        elif version == 4 and ip_address(gateway) in _no_machines(own.network):
            fact = f"the gateway {gateway} is no machine's address in the network of {own}"
            yield at(fact, "nodes", index, "address")
        if gateway == str(own.ip):
            fact = f"{own.ip} is the gateway's address too"
            yield at(fact, "nodes", index, "address", hint="a gateway is another machine")
    for number, route in enumerate(node.routes):
        via, place = ip_address(route.via), ("nodes", index, "routes", number, "via")
        if family(route.to) != via.version:
            yield at(f"{via} cannot be the way to {route.to}: another kind of address", *place)
        elif owns and (via.version not in owns or via not in owns[via.version].network):
            # With one route that cannot be, systemd-networkd gives the whole interface up.
            yield at(f"{via} is not in the network of {' and '.join(node.address)}", *place)


def _virtual_ip(cluster: Cluster, at: At) -> Iterator[Mistake]:
    if cluster.virtual_ip is None:
        return
    address, place = ip_address(cluster.virtual_ip.address), ("virtual_ip", "address")
    if address.version != cluster.families[0]:
        yield at(f"{address} is not of the kind that pods have first", *place)
        return
    if str(address) in cluster.networks.nodes.gateway:
        yield at(f"{address} is the gateway's address too", *place, hint="choose a free address")
    for index, node in enumerate(cluster.nodes):
        if str(address) in node.ips:
            fact = f"{address} is the address of {node.name} too"
            yield at(fact, *place, hint="choose a free address of the network")
        elif node.role == "worker":
            continue
        elif not node.address:
            fact = f"the virtual IP needs to know where {node.name} has it, which has no address"
            yield at(fact, "nodes", index, hint="add its address")
        elif address in _no_machines(ip_interface(node.address[0]).network):
            fact = f"{address} is the address of the network itself or of its broadcasts"
            yield at(fact, *place, hint="choose a free address of the network")
            return
        elif address not in ip_interface(node.address[0]).network:
            fact = f"{address} is not in the network of {node.address[0]} of {node.name}"
            hint = "choose a free address of the network between the control planes"
            yield at(fact, *place, hint=hint)
    if cluster.endpoint is not None and cluster.endpoint.rpartition(":")[0].strip("[]") == str(
        address
    ):
        yield at(f"{address} as endpoint and as virtual IP", "endpoint", hint="leave endpoint out")


def _no_machines(network: AnyNetwork) -> set[IPv4Address | IPv6Address]:
    """Return the addresses of a network that no machine has."""
    if network.prefixlen >= network.max_prefixlen - 1:
        return set()
    if isinstance(network, IPv4Network):
        return {network.network_address, network.broadcast_address}
    return {network.network_address}


def _bridge(cluster: Cluster, at: At) -> Iterator[Mistake]:
    wholes, subnets = cluster.networks.pods, pod_subnets(cluster)
    for index, node in enumerate(cluster.nodes):
        parts = subnets.get(node.name)
        if parts is None:
            fact = f"the pod network {' and '.join(wholes)} has no part left for {node.name}"
            yield at(fact, "nodes", index, hint="choose a larger networks.pods")
            continue
        for subnet, text in zip(parts, wholes, strict=True):
            whole, smallest = ip_network(text), _SMALLEST_POD_PREFIX[subnet.version]
            if subnet.prefixlen > smallest:
                fact = f"{subnet} is too small; expected /{smallest} or larger"
                yield at(fact, "nodes", index, "pods")
            if not subnet.subnet_of(whole):  # type: ignore[arg-type]
                fact = f"{subnet} is not a part of the pod network {whole}"
                yield at(fact, "nodes", index, "pods")
            for other in cluster.nodes[:index]:
                for taken in subnets.get(other.name, ()):
                    if taken.overlaps(subnet):
                        fact = f"{subnet} overlaps {taken} of {other.name}"
                        yield at(fact, "nodes", index, "pods")
        if not node.address and len(cluster.nodes) > 1:
            fact = f"cni: bridge needs a route to {node.name}, which has no fixed address"
            yield at(fact, "nodes", index, hint="add its address")
