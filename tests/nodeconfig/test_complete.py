"""All that a cluster file can ask of Kubernetes and of cloud-init besides the nodes themselves."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from isobuilder.errors import InputError
from isobuilder.model.cluster import Cluster
from isobuilder.nodeconfig.kubeadm import kubeadm_config
from isobuilder.nodeconfig.userdata import sources_of
from isobuilder.nodeconfig.virtualip import router_of
from tests.nodeconfig.clusters import ACCESS, read, three
from tests.nodeconfig.test_userdata import compare, config_of, files_of

FULL = """\
schema: 1
name: lab
kubernetes: "VERSION"
cni: bridge
networks:
  nodes: {gateway: 10.77.0.1}
virtual_ip: {address: 10.77.0.100, image: "registry.example/keepalived:2.3.4"}
arguments:
  api_server:
    audit-policy-file: /etc/kubernetes/audit/policy.yaml
    audit-log-path: /var/log/kubernetes/audit.log
  etcd: {quota-backend-bytes: "8589934592"}
volumes:
  api_server:
    - {name: audit-policy, host: /etc/kubernetes/audit, read_only: true}
    - {name: audit-log, host: /var/log/kubernetes}
  scheduler:
    - {name: policies, host: /etc/kubernetes/policies, mount: /policies, type: Directory}
kubelet: {maxPods: 60, systemReserved: {memory: 200Mi}}
patches:
  - target: kube-apiserver
    content: |
      spec:
        priorityClassName: system-node-critical
  - {target: etcd, type: json, source: etcd.json}
timezone: Asia/Seoul
ntp: {servers: [10.77.0.1]}
cloud_config: {bootcmd: [[modprobe, dummy]], package_update: false}
vendor_data: vendor.yaml
files:
  - {path: /etc/kubernetes/audit/policy.yaml, content: "apiVersion: audit.k8s.io/v1"}
nodes:
  - {name: one, role: first-control-plane, address: 10.77.0.11/24}
  - name: two
    role: control-plane
    address: 10.77.0.12/24
    cloud_config: {package_update: true}
    patches: [{target: kubeletconfiguration, type: merge, content: "maxPods: 70"}]
  - {name: three, role: worker, address: 10.77.0.13/24}
"""
NEW = """\
environment: {api_server: {GOGC: "50"}, etcd: {ETCD_LOG_LEVEL: warn}}
certificate_days: 730
encryption_algorithm: ECDSA-P256
"""
SOURCES = {
    "etcd.json": b'[{"op": "add", "path": "/metadata/labels/rack", "value": "a1"}]',
    "vendor.yaml": b"#cloud-config\n",
}
VERSIONS = {"1.28.15": "v1beta3", "1.37.1": "v1beta4"}


def full(version: str = "1.37.1") -> Cluster:
    text = FULL.replace("VERSION", version)
    return read(text + NEW if version == "1.37.1" else text)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubeadm_is_told_everything_in_the_words_of_its_version(version: str) -> None:
    cluster = full(version)
    text = kubeadm_config(cluster, cluster.nodes[0], ACCESS)
    compare(f"kubeadm-full-{VERSIONS[version]}.yaml", text)


def test_etcd_keeps_its_folder_when_anything_is_said_of_it() -> None:
    config = list(yaml.safe_load_all(kubeadm_config(full(), full().nodes[0], ACCESS)))[1]
    assert config["etcd"]["local"]["dataDir"] == "/var/lib/etcd"


def test_patches_are_files_that_kubeadm_finds_and_a_nodes_own_come_last() -> None:
    found = files_of(full(), "two", SOURCES)
    patches = {path: file for path, file in found.items() if "/patches/" in path}
    assert [path.rpartition("/")[2] for path in patches] == [
        "kube-apiserver000+strategic.yaml",
        "etcd001+json.yaml",
        "kubeletconfiguration002+merge.yaml",
    ]
    assert patches["/etc/kiso/node/patches/etcd001+json.yaml"]["content"].startswith("[{")
    joins = yaml.safe_load(kubeadm_config(full(), full().nodes[2], ACCESS))
    assert joins["patches"] == {"directory": "/etc/kiso/node/patches"}


@pytest.mark.parametrize("data", [b"just text", b"- a\n", b"\xff", b"{", b""])
def test_a_named_file_that_is_no_patch_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^etcd\.json: not a "):
        files_of(full(), "one", SOURCES | {"etcd.json": data})


def test_cloud_init_is_told_time_zone_time_servers_and_whatever_else() -> None:
    config = config_of(full(), "two", SOURCES)
    assert config["timezone"] == "Asia/Seoul"
    assert config["ntp"]["servers"] == ["10.77.0.1"]
    assert config["ntp"]["ntp_client"] == "chrony"
    assert config["bootcmd"] == [["modprobe", "dummy"]]
    assert config["package_update"] is True, "the node's own word wins"
    assert config_of(full(), "one", SOURCES)["package_update"] is False
    assert "vendor.yaml" in sources_of(full())


def test_the_api_is_at_the_virtual_ip_and_every_control_plane_may_have_it() -> None:
    cluster = full()
    assert cluster.api == "10.77.0.100:6443"
    priorities = []
    for name in ("one", "two"):
        found = files_of(cluster, name, SOURCES)
        config = found["/etc/kiso/node/keepalived.conf.in"]["content"]
        assert "    10.77.0.100/32\n" in config
        assert "interface @INTERFACE@" in config
        priorities.append(int(config.partition("priority ")[2].split()[0]))
        pod = yaml.safe_load(found["/etc/kiso/node/virtual-ip.yaml"]["content"])
        container = pod["spec"]["containers"][0]
        assert container["image"] == "registry.example/keepalived:2.3.4"
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "/etc/systemd/system/kiso-virtual-ip.service" in found
    assert priorities[0] > priorities[1] > priorities[0] - 60, "an ill node must have least"
    assert not [path for path in files_of(cluster, "three", SOURCES) if "virtual" in path]


def test_control_planes_that_share_an_address_have_one_number() -> None:
    assert router_of(full().virtual_ip) == 100  # type: ignore[arg-type]
    text = FULL.replace("VERSION", "1.37.1").replace("100, image", "100, router: 7, image")
    assert router_of(read(text).virtual_ip) == 7  # type: ignore[arg-type]


def test_controllers_elect_a_leader_behind_a_virtual_ip() -> None:
    text = FULL.replace("VERSION", "1.37.1").split("  - name: two")[0]
    configs: list[Any] = list(
        yaml.safe_load_all(kubeadm_config(read(text), read(text).nodes[0], ACCESS))
    )
    assert "controllerManager" not in configs[1], "a second one may come"


def test_without_any_of_it_nothing_is_written() -> None:
    found = files_of(three())
    assert not [
        path for path in found if "patches" in path or "virtual" in path or "sysctl" in path
    ]
