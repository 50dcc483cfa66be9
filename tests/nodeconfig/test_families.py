"""IPv6 alone and beside IPv4: what nodes, kubeadm and the bridge are told."""

from __future__ import annotations

import json

import pytest
import yaml

from isobuilder.documents.text import yaml_text
from isobuilder.model.cluster_networks import pod_subnets
from isobuilder.nodeconfig.kubeadm import kubeadm_config
from isobuilder.nodeconfig.network import network_config, network_data
from isobuilder.nodeconfig.runtime import bridge_conflist, proxy_drop_in
from tests.nodeconfig.clusters import ACCESS, read
from tests.nodeconfig.test_userdata import compare, files_of

IPV6 = """\
schema: 1
name: lab
kubernetes: "1.37.1"
cni: bridge
networks:
  nodes: {gateway: "fd00:77::1"}
  pods: fd00:10:244::/56
  services: fd00:10:96::/112
nodes:
  - {name: one, role: first-control-plane, address: "fd00:77::11/64", mac: "52:54:00:6b:01:01"}
  - {name: two, role: worker, address: "fd00:77::12/64", mac: "52:54:00:6b:01:02"}
"""
DUAL = """\
schema: 1
name: lab
kubernetes: "1.37.1"
cni: bridge
networks:
  nodes: {gateway: [10.77.0.1, "fd00:77::1"]}
  pods: 10.244.0.0/16,fd00:10:244::/56
  services: [10.96.0.0/12, "fd00:10:96::/112"]
nodes:
  - name: one
    role: first-control-plane
    address: [10.77.0.11/24, "fd00:77::11/64"]
    mac: "52:54:00:6b:01:01"
  - name: two
    role: worker
    address: [10.77.0.12/24, "fd00:77::12/64"]
    mac: "52:54:00:6b:01:02"
"""
KINDS = {"ipv6": IPV6, "dual-stack": DUAL}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(2), ids=["first-control-plane", "worker"])
def test_what_a_node_is_told(kind: str, index: int) -> None:
    cluster = read(KINDS[kind])
    node = cluster.nodes[index]
    compare(f"kubeadm-{node.role}-{kind}.yaml", kubeadm_config(cluster, node, ACCESS))
    compare(f"network-config-{node.role}-{kind}.yaml", yaml_text(network_config(cluster, node)))


def test_an_address_of_ipv6_stands_in_brackets_before_its_port() -> None:
    cluster = read(IPV6)
    assert cluster.api == "[fd00:77::11]:6443"
    worker = yaml.safe_load(kubeadm_config(cluster, cluster.nodes[1], ACCESS))
    assert worker["discovery"]["bootstrapToken"]["apiServerEndpoint"] == "[fd00:77::11]:6443"
    assert read(IPV6 + 'endpoint: "[FD00:77::0:99]"\n').api == "[fd00:77::99]:6443"


def test_every_node_gets_a_part_of_each_pod_network_and_routes_to_the_others() -> None:
    cluster = read(DUAL)
    assert {name: [*map(str, parts)] for name, parts in pod_subnets(cluster).items()} == {
        "one": ["10.244.0.0/24", "fd00:10:244::/64"],
        "two": ["10.244.1.0/24", "fd00:10:244:1::/64"],
    }
    routes = network_config(cluster, cluster.nodes[0])["ethernets"]["e*"]["routes"]
    assert routes == [
        {"to": "0.0.0.0/0", "via": "10.77.0.1"},
        {"to": "::/0", "via": "fd00:77::1"},
        {"to": "10.244.1.0/24", "via": "10.77.0.12"},
        {"to": "fd00:10:244:1::/64", "via": "fd00:77::12"},
    ]
    plugin = json.loads(bridge_conflist(pod_subnets(cluster)["two"]))["plugins"][0]
    assert plugin["ipam"]["ranges"] == [
        [{"subnet": "10.244.1.0/24"}],
        [{"subnet": "fd00:10:244:1::/64"}],
    ]
    assert plugin["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def test_the_certificate_of_the_api_has_the_second_addresses() -> None:
    cluster = read(DUAL)
    config = list(yaml.safe_load_all(kubeadm_config(cluster, cluster.nodes[0], ACCESS)))[1]
    assert config["apiServer"]["certSANs"] == ["fd00:77::11"]


def test_a_config_drive_says_each_kind_for_itself() -> None:
    cluster = read(DUAL)
    data = network_data(cluster, cluster.nodes[0])
    assert data is not None
    assert [(net["id"], net["type"], net["ip_address"]) for net in data["networks"]] == [
        ("network", "ipv4", "10.77.0.11"),
        ("network6", "ipv6", "fd00:77::11"),
    ]
    assert data["networks"][1]["routes"][0] == {
        "network": "::",
        "netmask": "::",
        "gateway": "fd00:77::1",
    }


def test_nodes_that_ask_for_their_addresses_ask_for_the_kinds_of_the_pods() -> None:
    text = IPV6.split("nodes:\n  - ", 1)[0].replace("cni: bridge\n", "")
    cluster = read(text + "nodes:\n  - {name: one, role: first-control-plane}\n")
    ethernet = network_config(cluster, cluster.nodes[0])["ethernets"]["e*"]
    assert ethernet == {"dhcp6": True}
    config = next(yaml.safe_load_all(kubeadm_config(cluster, cluster.nodes[0], ACCESS)))
    assert config["nodeRegistration"]["kubeletExtraArgs"] == [{"name": "node-ip", "value": "::"}]


@pytest.mark.parametrize("kind", KINDS)
def test_ipv6_is_forwarded_and_hosts_are_known_by_every_address(kind: str) -> None:
    files = files_of(read(KINDS[kind]))
    forwarding = files["/etc/kiso/node/sysctl.conf"]["content"]
    assert "net.ipv6.conf.default.forwarding = 1\n" in forwarding
    assert "fd00:77::12 two\n" in files["/etc/hosts"]["content"]


def test_a_proxy_is_never_asked_for_either_kind() -> None:
    cluster = read(DUAL + "proxy: {http: 'http://proxy.example:3128'}\n")
    drop_in = proxy_drop_in(cluster, cluster.nodes[0])
    assert drop_in is not None
    assert "10.96.0.0/12,fd00:10:96::/112,10.77.0.0/24,fd00:77::/64,10.77.0.11,.svc" in drop_in
