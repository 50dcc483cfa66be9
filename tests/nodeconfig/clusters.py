"""Clusters to test with: descriptions in YAML, and secrets that are fixed so that texts are too."""

from __future__ import annotations

from isobuilder.documents.plain_yaml import yaml_map
from isobuilder.model.cluster import Cluster
from isobuilder.model.cluster_checks import cluster_of
from isobuilder.nodeconfig.access import Access, Authority

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " somebody@example"
HASH = "$6$salt$" + "h" * 86
TOKEN = "abcdef.0123456789abcdef"
CERTIFICATE_KEY = "0123456789abcdef" * 4
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

ACCESS = Access(
    token=TOKEN,
    certificate_key=CERTIFICATE_KEY,
    authority=Authority(CERTIFICATE, "sha256:" + "ab" * 32, "-----BEGIN PRIVATE KEY-----\n"),
    ca_hash="sha256:" + "ab" * 32,
)

THREE = """\
schema: 1
name: lab
kubernetes: "VERSION"
cni: bridge
networks:
  nodes: {gateway: 10.77.0.1, nameservers: [10.77.0.2], search: [lab.example]}
users:
  - {name: admin, ssh_keys: ["KEY"]}
leader_election: {lease: 120s, renew: 80s, retry: 10s}
arguments:
  api_server: {audit-log-maxage: "30"}
  kubelet: {max-pods: "50"}
nodes:
  - name: one
    role: first-control-plane
    address: 10.77.0.11/24
    mac: "52:54:00:00:00:01"
    taints: []
  - {name: two, role: control-plane, address: 10.77.0.12/24, interface: ens3}
  - name: three
    role: worker
    address: 10.77.0.13/24
    labels: {zone: a}
    taints: ["gpu=yes:NoSchedule"]
"""

SMALL = """\
schema: 1
kubernetes: "1.34.12"
nodes:
  - {name: one, role: first-control-plane}
"""


def three(version: str = "1.34.12") -> Cluster:
    """Return a cluster of one node for each role."""
    return read(THREE.replace("VERSION", version).replace("KEY", KEY))


def read(text: str) -> Cluster:
    """Return the cluster in a YAML text."""
    return cluster_of(yaml_map(text.encode(), "cluster.yaml"))
