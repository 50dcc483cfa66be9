"""Descriptions of clusters: every mistake at its place, all at once."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import available_timezones

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.model.cluster import Cluster, ClusterNode, User, cluster_schema
from isobuilder.model.cluster_checks import load_cluster
from isobuilder.model.cluster_networks import pod_subnets
from tests.nodeconfig.clusters import HASH, KEY, SMALL, read, three

TWO = """\
schema: 1
kubernetes: "1.34.12"
networks: {nodes: {gateway: 10.0.0.1}}
nodes:
  - {name: one, role: first-control-plane, address: 10.0.0.11/24}
  - {name: two, role: worker, address: 10.0.0.12/24}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        read(text)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_all_wrong_values_are_told_at_once_with_their_places() -> None:
    found = mistakes(
        """\
schema: 1
kubernetes: 1.34
endpoint: "10.0.0.11:99999"
networks:
  pods: 10.244.0.1/16
  nodes: {gateway: 10.0.0}
cni: flannel
token_ttl: 1 day
users:
  - {name: admin, ssh_keys: [AAAA], pasword: x}
registries:
  docker.io: {mirrors: ["https://user:secret@site.example"]}
nodes:
  - {name: One, role: master, address: 10.0.0.11, mac: 52-54-00-00-00-01}
"""
    )
    assert [line.split(" ")[0] for line in found] == [
        "cluster.yaml:2:13:",
        "cluster.yaml:3:11:",
        "cluster.yaml:5:9:",
        "cluster.yaml:6:20:",
        "cluster.yaml:7:6:",
        "cluster.yaml:8:12:",
        "cluster.yaml:10:30:",
        "cluster.yaml:10:37:",
        "cluster.yaml:12:25:",
        "cluster.yaml:14:12:",
        "cluster.yaml:14:23:",
        "cluster.yaml:14:40:",
        "cluster.yaml:14:56:",
    ]
    assert "secret" not in "\n".join(found)


def test_a_cluster_without_nodes_is_none() -> None:
    assert mistakes('schema: 1\nkubernetes: "1.34.12"\nnodes: []\n') == [
        "cluster.yaml:3:8: nodes: no node; expected at least one"
    ]


def test_the_hint_names_the_key_that_was_meant() -> None:
    with pytest.raises(InputErrors) as caught:
        read(SMALL.replace("nodes:", "endpont: 10.0.0.11\nnodes:"))
    assert caught.value.hint == "did you mean 'endpoint'?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: two", "name: one"), "two nodes with the name one"),
        (("10.0.0.12/24", "10.0.0.11/24"), "two nodes with the address 10.0.0.11"),
        (("role: worker", "role: first-control-plane"), "a second first-control-plane"),
        (("first-control-plane", "control-plane"), "nodes cannot join: no endpoint"),
        (("{nodes: {gateway: 10.0.0.1}}", "{}"), "there is no gateway"),
        (("gateway: 10.0.0.1", "gateway: 10.0.1.1"), "is not in the network of 10.0.0.11/24"),
        (("gateway: 10.0.0.1}", "gateway: 10.0.0.12}"), "10.0.0.12 is the gateway's address too"),
        (("10.0.0.12/24", "10.0.0.255/24"), "is the address of the network itself"),
        (("}}\n", "}, pods: 10.0.0.0/16}\n"), "overlaps the pod network 10.0.0.0/16"),
        (("}}\n", "}, pods: 10.96.0.0/16}\n"), "the pod network 10.96.0.0/16 and the service"),
        (("}}\n", "}, services: 10.96.0.0/28}\n"), "is too small for services"),
        (("}}\n", "}, services: 172.0.0.0/8}\n"), "is too large for services"),
        (("}}\n", "}, pods: 10.244.0.0/25}\n"), "10.244.0.0/25 is too small for pods"),
        (
            ("role: worker", "role: worker, routes: [{to: 10.9.0.0/16, via: 10.8.0.1}]"),
            "nodes[two].routes[0].via: 10.8.0.1 is not in the network of 10.0.0.12/24",
        ),
        (("}}\n", "}, pods: 127.0.0.0/16}\n"), "127.0.0.0/16 is no network of machines"),
        (("10.0.0.12/24", "224.0.0.12/24"), "no address that other machines reach"),
        (("}}\n", "}, pods: 64.0.0.0/7}\n"), "64.0.0.0/7 is too large for pods"),
        (("}}\n", "}, domain: cluster..local}\n"), "expected a DNS name"),
        (("nodes:\n", "endpoint: 10.0.0.300:6443\nnodes:\n"), "expected an IPv4 or IPv6 address"),
        (("nodes:\n", "users: [{name: Admin}]\nnodes:\n"), "expected a user's name of lower-case"),
        (("role: worker", "role: worker, interface: 'e 0'"), "expected the name of an interface"),
        (("role: worker", "role: worker, mac: 'FF:ff:ff:ff:ff:ff'"), "the address of a group"),
        (
            ("role: worker", "role: worker, mac: '01:00:5e:00:00:01'"),
            "nodes[two].mac: 01:00:5e:00:00:01 is the address of a group, which no interface has",
        ),
        (("role: worker", "role: worker, mac: '00:00:00:00:00:00'"), "the address of no interface"),
        (("nodes:\n", "cni: [bridge]\nnodes:\n"), "cni: expected bridge, none or the path"),
        (("nodes:\n", "cni: {}\nnodes:\n"), "cni: expected bridge, none or the path"),
        (("nodes:\n", "cni:\nnodes:\n"), "cni: expected bridge, none or the path"),
        (("nodes:\n", "timeouts: {join: 0s}\nnodes:\n"), "timeouts.join: no time at all"),
        (("nodes:\n", "registries: {'..': {}}\nnodes:\n"), "expected a DNS name"),
        (('"1.34.12"', '"1.14.9"'), "Kubernetes 1.15 is the oldest"),
        (
            ("role: worker", "role: worker, labels: {node-role.kubernetes.io/worker: ''}"),
            "give itself the label node-role.kubernetes.io/worker",
        ),
        (("role: worker", "role: worker, labels: {a/b/c: x}"), "expected a label such as zone"),
        (("role: worker", "role: worker, labels: {a: -x}"), "between letters or digits"),
        (("role: worker", "role: worker, taints: ['-a:NoSchedule']"), "found '-a'"),
        (("nodes:\n", "arguments: {kubelet: {--v: '2'}}\nnodes:\n"), "found '--v'"),
        (("name: one", "name: secrets"), "nodes[secrets].name: secrets is the name of the folder"),
        (("name: two", "name: secrets"), "nodes[secrets].name: secrets is the name of the folder"),
        (("role: worker", "role: worker, pods: 10.244.7.0/24"), "for cni: bridge only"),
        (
            ("role: worker", "role: worker, mac: '52:54:00:00:00:01', interface: ens3"),
            "the interface by its name and by its MAC address",
        ),
        (
            ("nodes:\n", "leader_election: {lease: 60s, renew: 80s, retry: 10s}\nnodes:\n"),
            "lease 60 s, renew 80 s, retry 10 s do not fit",
        ),
        (
            ("nodes:\n", "files: [{path: /etc/kiso/node/up, content: x}]\nnodes:\n"),
            "/etc/kiso/node/ is for our own files",
        ),
        (
            ("nodes:\n", "files: [{path: /a, content: x}, {path: /a, content: y}]\nnodes:\n"),
            "two files with the path /a",
        ),
        (("nodes:\n", "files: [{path: /a}]\nnodes:\n"), "/a: expected either content or source"),
        (("nodes:\n", "files: [{path: /a/../b, content: x}]\nnodes:\n"), "absolute path"),
        (
            ("nodes:\n", f"ca_hash: sha256:{'0' * 64}\nnodes:\n"),
            "the hash of a certificate authority that is there",
        ),
        (("nodes:\n", "users: [{name: a}, {name: a}]\nnodes:\n"), "two users with the name a"),
        (
            ("nodes:\n", "ignore_preflight_errors: [Swap, ALL]\nnodes:\n"),
            "ALL stands beside names of single checks",
        ),
    ],
)
def test_values_that_do_not_fit_together_are_refused(change: tuple[str, str], message: str) -> None:
    assert change[0] in TWO
    found = mistakes(TWO.replace(*change, 1))
    assert [line for line in found if message in line], found
    assert len(set(found)) == len(found)
    assert all(re.match(r"cluster\.yaml:\d+:\d+: ", line) for line in found)


# What a cluster file may ask of Kubernetes and of its nodes, one mistake each.
VIP = "virtual_ip: {address: %s, image: registry.example/keepalived:2.3.4}\nnodes:\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('"1.34.12"', '"1.28.15"\ncertificate_days: 9'),
            "certificate_days: kubeadm 1.28.15 (v1beta3) has no field for it; it came with 1.31",
        ),
        (
            ('"1.34.12"', '"1.30.1"\nencryption_algorithm: ECDSA-P256'),
            "encryption_algorithm: kubeadm 1.30.1 (v1beta3) has no field for it",
        ),
        (
            ('"1.34.12"', '"1.34.12"\nencryption_algorithm: DSA'),
            "encryption_algorithm: expected",
        ),
        (
            ('"1.34.12"', '"1.30.1"\nenvironment: {etcd: {A: b}}'),
            "environment.etcd: kubeadm 1.30.1 (v1beta3) has no field for it",
        ),
        (
            ('"1.34.12"', '"1.20.2"\npatches: [{target: etcd, content: "a: b"}]'),
            "patches: kubeadm 1.20.2 (v1beta2) has no field for it; it came with 1.22",
        ),
        (
            ('"1.34.12"', '"1.24.1"\npatches: [{target: kubeletconfiguration, content: "a: b"}]'),
            "kubeadm 1.24.1 does not patch kubeletconfiguration; 1.25 does",
        ),
        (
            ("nodes:\n", "patches: [{target: kubeproxydaemonset, content: 'a: b'}]\nnodes:\n"),
            "does not patch kubeproxydaemonset; 1.37 does",
        ),
        (
            ("nodes:\n", "kubelet: {maxpods: 9}\nnodes:\n"),
            "kubelet.maxpods: KubeletConfiguration has no field maxpods",
        ),
        *(
            (("nodes:\n", f"kubelet: {{{given}}}\nnodes:\n"), f"kubelet.{place}: expected {fact}")
            for given, place, fact in (
                ("maxPods: many", "maxPods", "a whole number from 0 to 2147483647, found 'many'"),
                ("maxPods: -5", "maxPods", "a whole number from 0 to"),
                ("maxPods: .nan", "maxPods", "a whole number from 0 to"),
                ("maxPods: true", "maxPods", "a whole number from 0 to"),
                ("port: 70000", "port", "a whole number from 1 to 65535, found 70000"),
                ("failSwapOn: 'no'", "failSwapOn", "true or false, found 'no'"),
                ("address: [a]", "address", "text, found something else"),
                ("syncFrequency: 60", "syncFrequency", "a duration such as 30s"),
                ("syncFrequency: 1 minute", "syncFrequency", "a duration such as 30s"),
                ("memoryThrottlingFactor: 2", "memoryThrottlingFactor", "a number above 0"),
                ("clusterDNS: 10.0.0.1", "clusterDNS", "a list, found '10.0.0.1'"),
                ("clusterDNS: [1]", "clusterDNS[0]", "text, found 1"),
                ("systemReserved: {cpu: 1}", "systemReserved.cpu", "text, found 1"),
                ("featureGates: {A: 'true'}", "featureGates.A", "true or false"),
                ("logging: json", "logging", "keys with values, found 'json'"),
                ("reservedMemory: {numaNode: 0}", "reservedMemory", "a list, found something"),
            )
        ),
        (
            ("nodes:\n", "kubelet: {tlsCurvePreferences: [a]}\nnodes:\n"),
            "the kubelet of 1.34.12 has no field tlsCurvePreferences; it came with 1.36",
        ),
        (
            ("nodes:\n", "kubelet: {cgroupDriver: cgroupfs}\nnodes:\n"),
            "this field is not for others",
        ),
        (
            ("nodes:\n", "patches: [{target: etcd, content: 'no fields'}]\nnodes:\n"),
            "patches[0].content: not a strategic patch: expected some fields",
        ),
        (
            ("nodes:\n", "patches: [{target: etcd, content: '{'}]\nnodes:\n"),
            "patches[0].content: not a patch: etcd:",
        ),
        (
            ("nodes:\n", "patches: [{target: etcd, type: json, content: 'a: b'}]\nnodes:\n"),
            "not a json patch: expected a list of operations",
        ),
        (
            (
                "nodes:\n",
                "patches: [{target: etcd, type: json, content: '[{op: add, path: /a}]'}]\nnodes:\n",
            ),
            "operation 0 lacks op, path, value",
        ),
        (
            (
                "nodes:\n",
                "patches: [{target: etcd, type: json, content: '[{op: put, path: /a}]'}]\nnodes:\n",
            ),
            "operation 0 is 'put'",
        ),
        (("nodes:\n", "patches: [{target: etcd}]\nnodes:\n"), "either content or source"),
        (
            ("role: worker", "role: worker, patches: [{target: kubelet, content: 'a: b'}]"),
            "nodes[two].patches[0].target: expected",
        ),
        (("nodes:\n", VIP % "10.0.1.5"), "10.0.1.5 is not in the network of 10.0.0.11/24 of one"),
        (("nodes:\n", VIP % "10.0.0.12"), "10.0.0.12 is the address of two too"),
        (("nodes:\n", VIP % "10.0.0.255"), "10.0.0.255 is the address of the network itself"),
        (("nodes:\n", VIP % "10.0.0.0"), "10.0.0.0 is the address of the network itself"),
        (("nodes:\n", VIP % "0.0.0.0"), "0.0.0.0 is the address of no machine"),
        (("gateway: 10.0.0.1}", "gateway: 10.0.0.255}"), "10.0.0.255 is no machine's address"),
        (("gateway: 10.0.0.1}", "gateway: '::'}"), ":: is the address of no machine"),
        (
            ("address: 10.0.0.12/24", "address: '::ffff:10.0.0.12/120'"),
            "is IPv4 in the form of IPv6; write 10.0.0.12",
        ),
        (
            ("address: 10.0.0.12/24", "address: 'fd00::12%eth0/64'"),
            "fd00::12%eth0/64 names an interface",
        ),
        (
            ("}}\n", "}, pods: 169.254.0.0/16}\n"),
            "networks.pods: 169.254.0.0/16 leads no further than one link",
        ),
        (
            (
                "nodes:\n",
                "patches: [{target: etcd, type: json, content: '[{op: copy, path: /}]'}]\nnodes:\n",
            ),
            "operation 0 lacks from, op, path",
        ),
        (
            ("nodes:\n", "arguments: {kubelet: {container-runtime: remote}}\nnodes:\n"),
            "the kubelet of 1.34.12 has no flag container-runtime; it went with 1.27",
        ),
        (
            ("nodes:\n", "arguments: {kubelet: {cni-bin-dir: /opt/cni/bin}}\nnodes:\n"),
            "the kubelet of 1.34.12 has no flag cni-bin-dir; it went with 1.24",
        ),
        (
            ("nodes:\n", "arguments: {controller_manager: {pod-eviction-timeout: 5m}}\nnodes:\n"),
            "arguments.controller_manager.pod-eviction-timeout: the kube-controller-manager of "
            "1.34.12 has no flag pod-eviction-timeout; it went with 1.27",
        ),
        (
            ("nodes:\n", "arguments: {scheduler: {port: '0'}}\nnodes:\n"),
            "the kube-scheduler of 1.34.12 has no flag port; it went with 1.24",
        ),
        (
            ("nodes:\n", "arguments: {api_server: {insecure-port: '0'}}\nnodes:\n"),
            "the kube-apiserver of 1.34.12 has no flag insecure-port; it went with 1.24",
        ),
        (
            ("nodes:\n", "arguments: {etcd: {enable-v2: 'true'}}\nnodes:\n"),
            "the etcd of 1.34.12 has no flag enable-v2; it went with 1.34",
        ),
        (
            ("nodes:\n", "arguments: {api_server: {anonymous-auth: 'false'}}\nnodes:\n"),
            "arguments.api_server.anonymous-auth: the probes of kubeadm's API server",
        ),
        (("nodes:\n", VIP % "10.0.0.1"), "10.0.0.1 is the gateway's address too"),
        (("nodes:\n", VIP % "'fd00::1'"), "fd00::1 is not of the kind that pods have first"),
        (
            ("nodes:\n", f"endpoint: 10.0.0.99\n{VIP % '10.0.0.99'}"),
            "10.0.0.99 as endpoint and as virtual IP",
        ),
        (
            ("nodes:\n", "virtual_ip: {address: 10.0.0.99, image: keepalived}\nnodes:\n"),
            "virtual_ip.image: ",
        ),
        (
            ("nodes:\n", "cloud_config: {write_files: []}\nnodes:\n"),
            "cloud_config.write_files: cloud-config's write_files is written from other keys",
        ),
        (
            ("role: worker", "role: worker, cloud_config: {runcmd: []}"),
            "nodes[two].cloud_config.runcmd: ",
        ),
        (("nodes:\n", "timezone: 'Asia/../x'\nnodes:\n"), "expected a time zone such as"),
        pytest.param(
            ("nodes:\n", "timezone: Asia/Soul\nnodes:\n"),
            "there is no time zone Asia/Soul; did you mean 'Asia/Seoul'?",
            marks=pytest.mark.skipif(not available_timezones(), reason="tzdata is not installed"),
        ),
        (("nodes:\n", "ntp: {servers: ['a b']}\nnodes:\n"), "ntp.servers[0]: expected a DNS name"),
        (
            ("address: 10.0.0.12/24", "address: [10.0.0.12/24, 10.0.0.13/24]"),
            "nodes[two].address: expected one IPv4, one IPv6, or one of each",
        ),
        (
            ("address: 10.0.0.12/24", "address: 'fd00::12/64'"),
            "nodes[two].address: IPv6 here, and pods have IPv4",
        ),
        (("address: 10.0.0.12/24", "address: 'fe80::12/64'"), "no address that other machines"),
        (("address: 10.0.0.12/24", "address: 'fd00::/64'"), "the address of the network itself"),
        (
            ("}}\n", "}, services: 'fd00::/112'}\n"),
            "networks.services: IPv6 here, and pods have IPv4",
        ),
        (
            ("}}\n", "}, pods: 'fd00:1::/56,10.1.0.0/16'}\n"),
            "networks.services: IPv4 here, and pods have IPv6 and IPv4",
        ),
        (("}}\n", "}, pods: []}\n"), "networks.pods: expected one IPv4, one IPv6"),
        (("nodes:\n", "endpoint: 'fd00::1:6443'\nnodes:\n"), "an IPv6 address stands in brackets"),
        (
            ("gateway: 10.0.0.1}", "gateway: [10.0.0.1, 'fd00::1']}"),
            "networks.nodes.gateway: IPv4 and IPv6 here, and pods have IPv4",
        ),
        (
            ("gateway: 10.0.0.1}", "gateway: 169.254.0.1}"),
            "the gateway 169.254.0.1 is not in the network of 10.0.0.11/24",
        ),
        (("10.0.0.12/24", "169.254.0.12/16"), "169.254.0.12/16 is no address that other machines"),
        (("10.0.0.12/24", "0.0.0.5/24"), "0.0.0.5/24 is no address that other machines"),
        *(
            (("0.1}", f"0.1, nameservers: [10.0.0.1, {server}]}}"), f"nameservers[1]: {fact}")
            for server, fact in (
                ("127.0.0.53", "127.0.0.53 is the machine itself; CoreDNS"),
                ("'::1'", "::1 is the machine itself"),
                ("10.96.0.10", "10.96.0.10 is in 10.96.0.0/12 of the cluster; CoreDNS"),
                ("10.244.3.9", "10.244.3.9 is in 10.244.0.0/16 of the cluster"),
            )
        ),
    ],
)
def test_what_kubernetes_or_its_nodes_cannot_do_is_refused(
    change: tuple[str, str], message: str
) -> None:
    assert change[0] in TWO
    found = mistakes(TWO.replace(*change, 1))
    assert [line for line in found if message in line], found
    assert all(re.match(r"cluster\.yaml:\d+:\d+: ", line) for line in found)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/proc", "a system path"),
        ("/sys/fs", "a system path"),
        ("/usr/bin", "a system path"),
        ("/var/lib/etcd", "a system path"),
        ("/var/lib/kubelet/pods", "a system path"),
        ("/run/containerd", "a system path"),
        ("/var/run/containerd/containerd.sock", "a system path"),
        ("/etc/ssh", "a system path"),
        ("/etc/shadow", "a system path"),
        ("/etc", "a system path as a whole"),
        ("/var/lib", "a system path as a whole"),
        ("/var", "a system path as a whole"),
        ("/etc/kubernetes", "what kubeadm mounts itself"),
        ("/etc/kubernetes/pki", "what kubeadm mounts itself"),
        ("/etc/kubernetes/admin.conf", "what kubeadm mounts itself"),
        ("/etc/ssl/certs", "what kubeadm mounts itself"),
        ("/etc/ssl", "what kubeadm mounts itself"),
    ],
)
@pytest.mark.parametrize("key", ["host", "mount"])
def test_volumes_over_system_paths_are_refused(path: str, why: str, key: str) -> None:
    other = "host: /srv/a, " if key == "mount" else ""
    volume = f"{{name: a, {other}{key}: {path}}}"
    (found,) = mistakes(f"{SMALL}volumes: {{api_server: [{volume}]}}\n")
    assert f"volumes.api_server[a].{key}: {path} is {why}" in found


def test_odd_content_that_kubernetes_takes_is_taken() -> None:
    text = SMALL.replace("nodes:\n", "certificate_names: ['*.lab.example', 'fd00::99']\nnodes:\n")
    cluster = read(text.replace("role: first", "mac: '52:54:00:6B:01:AF', role: first"))
    assert cluster.certificate_names == ("*.lab.example", "fd00::99")
    assert cluster.nodes[0].mac == "52:54:00:6b:01:af"
    old = SMALL.replace("1.34.12", "1.26.9") + "arguments: {kubelet: {container-runtime: remote}}\n"
    assert read(old).arguments.kubelet == {"container-runtime": "remote"}
    flag = "arguments: {etcd: {experimental-max-learners: '1'}}\n"
    assert read(SMALL + flag).arguments.etcd == {"experimental-max-learners": "1"}
    (gone,) = mistakes(SMALL.replace("1.34.12", "1.37.1") + flag)
    assert "the etcd of 1.37.1 has no flag experimental-max-learners; it went with 1.37" in gone


def test_volumes_have_names_and_places_of_their_own() -> None:
    volumes = "{name: k8s-certs, host: /srv/a}, {name: b, host: /srv/a}, {name: b, host: /srv/b}"
    found = mistakes(f"{SMALL}volumes: {{api_server: [{volumes}]}}\n")
    assert [line.partition(": ")[2].partition(": ")[2] for line in found] == [
        "the name k8s-certs is that of kubeadm's own",
        "two volumes at /srv/a",
        "the name b is that of another volume",
    ]


def test_values_that_a_kubelet_takes_are_taken() -> None:
    fields = (
        "{maxPods: 0, oomScoreAdj: -999, failSwapOn: false, syncFrequency: 1m0.5s, port: null, "
        "imageMaximumGCAge: '0', clusterDNS: [10.0.0.1], systemReserved: {cpu: '1'}, "
        "featureGates: {A: true}, memoryThrottlingFactor: 1, tlsCipherSuites: []}"
    )
    assert len(read(SMALL + f"kubelet: {fields}\n").kubelet) == 11


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "imageGCLowThresholdPercent: 90",
            "imageGCLowThresholdPercent: imageGCLowThresholdPercent 90",
        ),
        (
            "imageGCHighThresholdPercent: 70",
            "imageGCHighThresholdPercent: imageGCLowThresholdPercent",
        ),
        (
            "evictionSoft: {memory.available: 1Gi}",
            "memory.available has no evictionSoftGracePeriod",
        ),
        (
            "shutdownGracePeriod: 1m, shutdownGracePeriodCriticalPods: 1m0.5s",
            "1m0.5s of them are more than shutdownGracePeriod, 1m",
        ),
        (
            "shutdownGracePeriodCriticalPods: 10s",
            "10s of them are more than shutdownGracePeriod, 0",
        ),
        ("runOnce: true", "runOnce: no kubelet that runs once"),
        ("registerNode: false", "registerNode: the node would never be"),
        (
            "serializeImagePulls: true, maxParallelImagePulls: 2",
            "maxParallelImagePulls: more than one at a time",
        ),
        (
            "topologyManagerPolicy: best",
            "expected none, best-effort, restricted or single-numa-node",
        ),
        ("topologyManagerScope: node", "expected container or pod, found 'node'"),
        ("hairpinMode: veth", "expected promiscuous-bridge, hairpin-veth or none"),
        ("cpuManagerPolicy: Static", "expected none or static, found 'Static'"),
        ("memoryManagerPolicy: static", "expected None or Static, found 'static'"),
        ("tlsMinVersion: '1.2'", "expected VersionTLS10, VersionTLS11, VersionTLS12 or"),
        (
            "enforceNodeAllocatable: [pod]",
            "enforceNodeAllocatable[0]: expected pods, system-reserved",
        ),
        ("evictionHard: {memory.avail: 5%}", "no kubelet knows 'memory.avail' there"),
        ("evictionHard: {memory.available: 5 %}", "expected an amount such as 1Gi or a share"),
        ("evictionHard: {memory.available: 101%}", "expected an amount such as 1Gi or a share"),
        ("evictionHard: {memory.available: '0'}", "expected an amount such as 1Gi or a share"),
        ("evictionSoftGracePeriod: {memory.available: '90'}", "expected a duration such as 30s"),
        ("systemReserved: {gpu: '1'}", "no kubelet knows 'gpu' there"),
        ("kubeReserved: {memory: 1GB}", "expected an amount such as 500m or 1Gi, found '1GB'"),
        ("kubeReserved: {memory: -1Gi}", "expected an amount such as 500m or 1Gi, found '-1Gi'"),
    ],
)
def test_fields_with_which_no_kubelet_starts_are_refused(given: str, message: str) -> None:
    (found,) = mistakes(SMALL + f"kubelet: {{{given}}}\n")
    assert re.match(r"cluster\.yaml:\d+:\d+: kubelet\.", found)
    assert message in found


@pytest.mark.parametrize(
    "given",
    [
        "imageGCLowThresholdPercent: 50, imageGCHighThresholdPercent: 60",
        "evictionSoft: {memory.available: 10%}, evictionSoftGracePeriod: {memory.available: 1m30s}",
        "evictionHard: {memory.available: 0%, nodefs.inodesFree: 5.5%, pid.available: 1e3}",
        "evictionHard: {imagefs.available: 100%, containerfs.available: '0.5Gi'}",
        "evictionMinimumReclaim: {memory.available: 0Mi, nodefs.available: 5%}",
        "shutdownGracePeriod: 1h, shutdownGracePeriodCriticalPods: 59m60s",
        "maxParallelImagePulls: 5",
        "serializeImagePulls: false, maxParallelImagePulls: 5",
        "kubeReserved: {cpu: 250m, memory: .5Gi, ephemeral-storage: 1e9, pid: '1000'}",
        "topologyManagerPolicy: '', tlsMinVersion: VersionTLS13, enforceNodeAllocatable: [none]",
        "runOnce: false, registerNode: true, imageGCLowThresholdPercent: null",
    ],
)
def test_fields_that_fit_each_other_are_taken(given: str) -> None:
    given = given.replace("1e3", "'1e3'").replace("1e9", "'1e9'")
    assert read(SMALL + f"kubelet: {{{given}}}\n").kubelet


def test_fields_of_kubelets_newer_than_the_table_are_left_to_them() -> None:
    text = SMALL.replace("1.34.12", "1.38.0") + "kubelet: {somethingNew: 1}\n"
    assert read(text).kubelet == {"somethingNew": 1}


def test_both_kinds_of_addresses_want_a_kubernetes_that_knows_them() -> None:
    networks = "networks: {pods: '10.1.0.0/16,fd00:1::/56', services: '10.2.0.0/16,fd00:2::/112'}\n"
    (found,) = mistakes(SMALL.replace("1.34.12", "1.20.2") + networks)
    assert "IPv4 and IPv6 at once need Kubernetes 1.21, this is 1.20.2" in found


def test_ipv6_before_ipv4_wants_the_addresses_of_control_planes() -> None:
    networks = "networks: {pods: 'fd00:1::/56,10.1.0.0/16', services: 'fd00:2::/112,10.2.0.0/16'}\n"
    (found,) = mistakes(SMALL + networks)
    assert "nodes[one]: IPv6 first needs the address of one" in found
    networks = "networks: {pods: '10.1.0.0/16,fd00:1::/56', services: '10.2.0.0/16,fd00:2::/112'}\n"
    assert read(SMALL + networks).families == (4, 6)


def test_an_ipv6_gateway_may_be_of_the_link() -> None:
    text = TWO.replace("10.0.0.1}", "'fe80::1'}, pods: 'fd00:1::/56', services: 'fd00:2::/112'")
    text = text.replace("10.0.0.11/24", "'fd00::11/64'").replace("10.0.0.12/24", "'fd00::12/64'")
    assert read(text).networks.nodes.gateway == ("fe80::1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("role: worker", "role: worker, taints: ['gpu=a:NoSchedule', 'gpu:NoSchedule']"),
            "nodes[two].taints[1]: a second taint gpu with NoSchedule, with which no kubelet",
        ),
        *(
            (
                ("nodes:\n", f"arguments: {{kubelet: {{v: {value}}}}}\nnodes:\n"),
                "kubelet.v: kubeadm",
            )
            for value in ("'2 --x=y'", 'a"b', "a'b", "a\\b", '"2\\t3"')
        ),
        (("role: worker", "role: worker, interface: lo"), "interface: lo is the machine itself"),
        (("role: worker", "role: worker, interface: '*'"), "interface: * may be lo as well"),
        (
            ("nodes:\n", "certificate_names: ['*.fd00::1']\nnodes:\n"),
            "certificate_names[0]: expected a DNS name behind the star",
        ),
        (
            ("nodes:\n", "certificate_names: ['*.10.0.0.9']\nnodes:\n"),
            "certificate_names[0]: expected a DNS name behind the star",
        ),
        (
            ("nodes:\n", "endpoint: 10.0.0.12\nnodes:\n"),
            "endpoint: 10.0.0.12 is the address of two, which has no API when it is asked",
        ),
        *(
            (("nodes:\n", f"files: [{{path: {path}, content: x}}]\nnodes:\n"), "for our own files")
            for path in ("/etc/kiso/node", "/etc/kiso", "/etc")
        ),
        (
            ("role: worker", "role: worker, files: [{path: /s/a, content: x}]"),
            "nodes[two].files[0]: /s is a file, and /s/a lies in it",
        ),
        (
            (
                "nodes:\n",
                "registries: {a.example: {mirrors: ['https://a', 'https://a/']}}\nnodes:\n",
            ),
            "the mirror https://a twice",
        ),
        *(
            (
                ("nodes:\n", f"registries: {{'a.example:{port}': {{}}}}\nnodes:\n"),
                "a port from 1 to",
            )
            for port in (0, 99999)
        ),
        (
            ("nodes:\n", f"users: [{{name: a, ssh_keys: [ssh-rsa {'B' * 80}]}}]\nnodes:\n"),
            "users[a].ssh_keys[0]: what stands behind ssh-rsa is no key of that type",
        ),
        (
            (
                "nodes:\n",
                f"users: [{{name: a, ssh_keys: ['{KEY.replace('ed25519', 'rsa')}']}}]\nnodes:\n",
            ),
            "what stands behind ssh-rsa is no key of that type",
        ),
        (("nodes:\n", "users: [{name: default}]\nnodes:\n"), "the distribution's own user"),
        (('"1.34.12"', '"2.37.1"'), "kubernetes: there is no Kubernetes 2.37.1"),
    ],
)
def test_values_with_which_a_node_does_not_come_up_are_refused(
    change: tuple[str, str], message: str
) -> None:
    assert change[0] in TWO
    text = TWO.replace(*change, 1)
    if "/s/a" in text:
        text += "files: [{path: /s, content: x}]\n"
    found = mistakes(text)
    assert [line for line in found if message in line], found


@pytest.mark.parametrize(
    "text",
    [
        "endpoint: 10.0.0.11",
        "files: [{path: /s/a, content: x}, {path: /s/ab, content: x}]",
        "arguments: {kubelet: {eviction-hard: 'memory.available<5%,nodefs.available<10%', v: ''}}",
        "registries: {'a.example:65535': {mirrors: ['https://a', 'https://a/x']}}",
        f"users: [{{name: a, ssh_keys: ['{KEY}'], password_hash: {HASH}}}]",
        f"users: [{{name: a, password_hash: $6$rounds=5000$salt${'h' * 86}}}]",
        f"users: [{{name: a, password_hash: $y$j9T$abc./$ {'h' * 43}}}]".replace("$ ", "$"),
        f"users: [{{name: a, password_hash: $2b$12${'h' * 53}}}]",
    ],
)
def test_values_of_the_same_kind_that_are_good_are_taken(text: str) -> None:
    assert read(f"{TWO}{text}\n").name == "kubernetes"


def test_labels_that_a_kubelet_may_give_itself_are_taken() -> None:
    labels = "zone: a, example.com/x: '', topology.kubernetes.io/zone: b, a.node.kubernetes.io/c: d"
    cluster = read(TWO.replace("role: worker", f"role: worker, labels: {{{labels}}}"))
    assert len(cluster.nodes[1].labels) == 4


def test_pods_get_another_share_by_a_flag_of_the_controller_manager() -> None:
    text = TWO.replace("}}\n", "}, pods: 10.244.0.0/25}\n")
    flag = "arguments: {controller_manager: {node-cidr-mask-size: '27'}}\n"
    assert read(text + flag).networks.pods == ("10.244.0.0/25",)


@pytest.mark.parametrize(
    "written", ["Geheim", "'12345678'", "12345678", "$6$geheim", f"$6$a:b${'h' * 86}"]
)
def test_a_password_in_place_of_its_hash_is_not_shown(written: str) -> None:
    (found,) = mistakes(SMALL + f"users: [{{name: a, password_hash: {written}}}]\n")
    assert "expected a hash of a password, as openssl passwd -6 prints it" in found
    assert written.strip("'") not in found


def test_host_names_are_lower_case_for_kubeadm() -> None:
    assert read(TWO + "endpoint: API.example\n").api == "api.example:6443"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("role: worker", "role: worker, pods: 10.9.0.0/24"), "not a part of the pod network"),
        (("role: worker", "role: worker, pods: 10.244.1.8/30"), "10.244.1.8/30 is too small"),
        (("role: worker", "role: worker, pods: 10.244.0.0/20"), "overlaps 10.244"),
        ((", address: 10.0.0.12/24", ""), "cni: bridge needs a route to two"),
        (("}}\n", "}, pods: 10.244.0.0/24}\n"), "has no part left for two"),
    ],
)
def test_the_bridge_needs_a_part_and_a_route_for_every_node(
    change: tuple[str, str], message: str
) -> None:
    text = TWO.replace(
        "first-control-plane, address", "first-control-plane, pods: 10.244.0.0/24, address"
    )
    found = mistakes(text.replace(*change, 1) + "cni: bridge\n")
    assert [line for line in found if message in line], found


def test_parts_of_the_pod_network_avoid_those_that_were_named() -> None:
    text = TWO.replace("role: worker", "role: worker, pods: 10.244.0.0/23")
    subnets = pod_subnets(read(text + "cni: bridge\n"))
    assert {name: str(subnet) for name, (subnet,) in subnets.items()} == {
        "one": "10.244.2.0/24",
        "two": "10.244.0.0/23",
    }


@pytest.mark.parametrize(
    ("pods", "services", "part", "gateway", "own"),
    [
        ("fd00::/8", "fc00::/112", "fd00::/9", "fc00:1::1", "fc00:1::1%s/64"),
        ("0.0.0.0/0", "10.96.0.0/16", "0.0.0.0/1", "10.0.0.1", "10.0.0.1%s/24"),
    ],
)
def test_a_part_is_found_at_once_in_the_largest_pod_network(
    pods: str, services: str, part: str, gateway: str, own: str
) -> None:
    text = f"""\
schema: 1
kubernetes: "1.34.12"
cni: bridge
networks: {{pods: "{pods}", services: "{services}", nodes: {{gateway: "{gateway}"}}}}
nodes:
  - {{name: one, role: first-control-plane, address: "{own % 1}", pods: "{part}"}}
  - {{name: two, role: worker, address: "{own % 2}"}}
"""
    assert f"{pods} is too large for pods" in "\n".join(mistakes(text))


def test_the_api_is_at_the_first_control_plane_unless_named() -> None:
    assert read(TWO).api == "10.0.0.11:6443"
    assert read(TWO + "endpoint: api.example\n").api == "api.example:6443"
    assert read(SMALL).api is None


def test_workers_alone_may_join_a_cluster_that_is_there() -> None:
    text = TWO.replace("first-control-plane", "worker")
    cluster = read(text + "endpoint: api.example:8443\n")
    assert cluster.first is None


def test_a_description_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(TWO, encoding="utf-8")
    assert load_cluster(path).nodes[1].ip == "10.0.0.12"


def test_the_schema_for_editors_accepts_what_the_program_accepts() -> None:
    import jsonschema  # type: ignore[import-untyped]
    import yaml

    schema = cluster_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for text in (TWO, SMALL):
        validator.validate(yaml.safe_load(text))
    assert list(validator.iter_errors({"schema": 1, "kubernetes": "1.34.12", "nodes": []}))
    assert list(validator.iter_errors(yaml.safe_load(TWO.replace("worker", "slave"))))


def test_durations_become_seconds() -> None:
    assert three().timeouts.join == "1200s"
    assert read(SMALL + "timeouts: {join: 2h}\n").timeouts.join == "7200s"


def test_the_example_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs/cluster-files.md").read_text(encoding="utf-8")
    cluster = read(text.split("```yaml\n")[1].split("```")[0])
    assert [node.role for node in cluster.nodes] == ["first-control-plane", "worker"]


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs/cluster-files.md").read_text(encoding="utf-8")
    keys = {*Cluster.model_fields, *ClusterNode.model_fields, *User.model_fields} - {"format"}
    missing = sorted(key for key in keys if f"`{key}" not in text and f"{key}:" not in text)
    assert not missing


@pytest.mark.parametrize(
    "character", ["\\n", "\\r", "\\v", "\\f", "\\x1c", "\\x1e", "\\N", "\\L", "\\P", "\\e"]
)
@pytest.mark.parametrize(
    "where",
    ["proxy: {none: [%s]}", "arguments: {kubelet: {v: %s}}", "ignore_preflight_errors: [%s]"],
)
def test_one_line_has_no_character_at_which_any_reader_breaks(where: str, character: str) -> None:
    text = where % f'"x{character}ExecStartPre=/bin/sh"'
    (found,) = mistakes(f"{SMALL}\n{text}\n")
    assert "expected one line" in found
