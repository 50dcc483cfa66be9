"""What cloud-init is told: the form of each version and role, and that nothing gets lost in it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.model.cluster import Cluster, Registry
from isobuilder.nodeconfig.access import (
    CERTIFICATE_KEY,
    TOKEN,
    Access,
    check_certificate_key,
    check_token,
    new_certificate_key,
    new_token,
)
from isobuilder.nodeconfig.kubeadm import cri_socket, kubeadm_config
from isobuilder.nodeconfig.network import network_config, network_data
from isobuilder.nodeconfig.runtime import hosts_toml, proxy_drop_in
from isobuilder.nodeconfig.userdata import node_files, sources_of
from tests.nodeconfig import clusters
from tests.nodeconfig.clusters import ACCESS, HASH, SMALL, read, three

GOLDEN = Path(__file__).parents[1] / "golden" / "node"
VERSIONS = {"1.20.2": "v1beta2", "1.28.15": "v1beta3", "1.34.12": "v1beta4"}
WITHOUT_KEY = Access(ACCESS.token, None, ACCESS.authority, ACCESS.ca_hash)
NODES = ["one", "two", "three"]  # first control plane, control plane, worker


def config_of(
    cluster: Cluster, name: str = "one", sources: dict[str, bytes] | None = None
) -> dict[str, Any]:
    node = next(node for node in cluster.nodes if node.name == name)
    text = node_files(cluster, node, ACCESS, sources or {}, b"").user_data.decode()
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def files_of(
    cluster: Cluster, name: str = "one", sources: dict[str, bytes] | None = None
) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in config_of(cluster, name, sources)["write_files"]}


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("ISOBUILDER_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("index", range(3), ids=NODES)
def test_kubeadm_is_told_in_the_words_of_its_version(version: str, index: int) -> None:
    cluster = three(version)
    node = cluster.nodes[index]
    text = kubeadm_config(cluster, node, ACCESS)
    assert {part["apiVersion"] for part in yaml.safe_load_all(text)} <= {
        f"kubeadm.k8s.io/{VERSIONS[version]}",
        "kubelet.config.k8s.io/v1beta1",
    }
    compare(f"kubeadm-{node.role}-{VERSIONS[version]}.yaml", text)


@pytest.mark.parametrize("index", range(3), ids=NODES)
def test_user_data_of_each_role(index: int) -> None:
    cluster = three("1.20.2")
    node = cluster.nodes[index]
    found = node_files(cluster, node, ACCESS, {}, b"network")
    text = found.user_data.decode()
    script = next(
        file["content"]
        for file in yaml.safe_load(text)["write_files"]
        if file["path"] == "/etc/kiso/node/up"
    )
    block = "".join(
        f"    {line}" if line.strip() else line for line in script.splitlines(keepends=True)
    )
    assert text.count(block) == 1
    compare(f"user-data-{node.role}.yaml", text.replace(block, "    (the script)\n"))


@pytest.mark.parametrize("index", range(3), ids=NODES)
def test_network_of_each_node(index: int) -> None:
    cluster = three()
    node = cluster.nodes[index]
    compare(f"network-config-{node.name}.yaml", yaml_text(network_config(cluster, node)))


def test_flags_are_lists_from_v1beta4_on_and_time_limits_move() -> None:
    old = list(yaml.safe_load_all(kubeadm_config(three("1.28.15"), three().nodes[0], ACCESS)))
    new = list(yaml.safe_load_all(kubeadm_config(three("1.34.12"), three().nodes[0], ACCESS)))
    assert old[0]["nodeRegistration"]["kubeletExtraArgs"]["node-ip"] == "10.77.0.11"
    assert {"name": "node-ip", "value": "10.77.0.11"} in new[0]["nodeRegistration"][
        "kubeletExtraArgs"
    ]
    assert old[1]["apiServer"]["timeoutForControlPlane"] == "1200s"
    assert "timeoutForControlPlane" not in new[1]["apiServer"]
    assert "timeouts" not in old[0]


def test_every_limit_behind_which_the_control_plane_has_to_answer_is_ours() -> None:
    cluster = three("1.36.2")
    patient = cluster.timeouts.model_copy(update={"control_plane": "700s", "join": "900s"})
    cluster = cluster.model_copy(update={"timeouts": patient})
    init, *_ = yaml.safe_load_all(kubeadm_config(cluster, cluster.nodes[0], ACCESS))
    join = yaml.safe_load(kubeadm_config(cluster, cluster.nodes[2], ACCESS))
    own = {
        "controlPlaneComponentHealthCheck": "700s",
        "etcdAPICall": "700s",
        "kubeletHealthCheck": "700s",
        "kubernetesAPICall": "700s",
    }
    assert init["timeouts"] == own
    assert join["timeouts"] == own | {"discovery": "900s", "tlsBootstrap": "900s"}


def controllers(text: str, access: Access = WITHOUT_KEY) -> dict[str, dict[str, str]]:
    found = read(text)
    _, cluster, _ = yaml.safe_load_all(kubeadm_config(found, found.nodes[0], access))
    return {
        name: {flag["name"]: flag["value"] for flag in cluster.get(name, {}).get("extraArgs", [])}
        for name in ("controllerManager", "scheduler")
    }


def test_a_control_plane_that_stays_alone_elects_no_leader() -> None:
    alone = controllers(SMALL)
    assert set(alone) == {"controllerManager", "scheduler"}
    assert all(flags == {"leader-elect": "false"} for flags in alone.values())


def test_leaders_are_elected_where_a_certificate_key_lets_control_planes_in() -> None:
    assert all(flags == {} for flags in controllers(SMALL, ACCESS).values())


@pytest.mark.parametrize(
    "more", ["endpoint: api.example:6443", "leader_election: {lease: 60s, renew: 40s, retry: 5s}"]
)
def test_leaders_are_elected_where_a_second_could_come_or_it_was_asked_for(more: str) -> None:
    for flags in controllers(f"{SMALL}\n{more}\n").values():
        assert "leader-elect" not in flags


def test_flags_of_the_file_win_over_no_election() -> None:
    found = controllers(f'{SMALL}\narguments: {{scheduler: {{leader-elect: "true"}}}}\n')
    assert found["scheduler"] == {"leader-elect": "true"}


@pytest.mark.parametrize(
    ("version", "socket"),
    [
        ("1.23.17", "/run/containerd/containerd.sock"),
        ("1.24.0", "unix:///run/containerd/containerd.sock"),
    ],
)
def test_the_socket_is_an_url_since_1_24(version: str, socket: str) -> None:
    cluster = three(version)
    assert cri_socket(cluster.kubernetes) == socket
    assert yaml.safe_load(kubeadm_config(cluster, cluster.nodes[2], ACCESS))["nodeRegistration"][
        "criSocket"
    ] == (socket)


def test_taints_of_ours_replace_kubeadms_even_when_empty() -> None:
    cluster = three()
    first, _, worker = (
        next(yaml.safe_load_all(kubeadm_config(cluster, node, ACCESS)))["nodeRegistration"]
        for node in cluster.nodes
    )
    assert first["taints"] == []
    assert worker["taints"] == [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]


def test_only_the_first_control_plane_gets_the_authoritys_key() -> None:
    for name, there in (("one", True), ("two", False), ("three", False)):
        files = files_of(three(), name)
        assert ("/etc/kiso/node/ca.key" in files) is there
        assert (
            all("PRIVATE KEY" not in str(file["content"]) for file in files.values()) is not there
        )
    assert files_of(three())["/etc/kiso/node/ca.key"]["permissions"] == "0600"


def test_without_a_known_authority_kubeadm_is_told_not_to_check() -> None:
    cluster = three()
    text = kubeadm_config(cluster, cluster.nodes[2], Access(clusters.TOKEN))
    bootstrap = yaml.safe_load(text)["discovery"]["bootstrapToken"]
    assert bootstrap["unsafeSkipCAVerification"] is True
    assert "caCertHashes" not in bootstrap


def test_a_fixed_address_always_has_a_default_route_written_out() -> None:
    cluster = three()
    for node in cluster.nodes:
        routes = network_config(cluster, node)["ethernets"].popitem()[1]["routes"]
        assert routes[0] == {"to": "0.0.0.0/0", "via": "10.77.0.1"}


def test_every_node_has_a_route_to_the_pods_of_every_other() -> None:
    cluster = three()
    ethernet = network_config(cluster, cluster.nodes[1])["ethernets"]["ens3"]
    assert ethernet["routes"][1:] == [
        {"to": "10.244.0.0/24", "via": "10.77.0.11"},
        {"to": "10.244.2.0/24", "via": "10.77.0.13"},
    ]
    conflist = files_of(cluster, "two")["/etc/cni/net.d/10-nodes.conflist"]["content"]
    ipam = yaml.safe_load(conflist)["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": "10.244.1.0/24"}]]


def test_dhcp_needs_no_routes_and_no_servers() -> None:
    cluster = read(SMALL)
    assert network_config(cluster, cluster.nodes[0]) == {
        "version": 2,
        "ethernets": {"e*": {"dhcp4": True}},
    }


def test_without_name_servers_the_gateway_is_named_for_coredns() -> None:
    text = SMALL.replace("plane}", "plane, address: 10.0.0.5/24}")
    cluster = read(text + "networks: {nodes: {gateway: 10.0.0.1}}\n")
    ethernet = network_config(cluster, cluster.nodes[0])["ethernets"]["e*"]
    assert ethernet["nameservers"] == {"addresses": ["10.0.0.1"]}


def test_config_drive_gets_the_same_network_where_it_can_be_said() -> None:
    cluster = three()
    data = network_data(cluster, cluster.nodes[0])
    assert data is not None
    assert data["links"] == [
        {"id": "node", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}
    ]
    assert data["networks"][0]["ip_address"] == "10.77.0.11"
    assert data["networks"][0]["routes"][0] == {
        "network": "0.0.0.0",
        "netmask": "0.0.0.0",
        "gateway": "10.77.0.1",
    }
    assert data["services"] == [{"type": "dns", "address": "10.77.0.2"}]
    assert network_data(cluster, cluster.nodes[2]) is None


def test_a_mirror_with_a_path_is_asked_below_it() -> None:
    text = SMALL + (
        "registries:\n"
        "  docker.io: {mirrors: ['https://site.example:5000/docker.io'], ca: site.pem}\n"
        "  registry.k8s.io: {mirrors: ['http://10.0.0.9:5000']}\n"
        "  'site.example:5000': {ca: site.pem}\n"
    )
    cluster = read(text)
    assert sources_of(cluster) == ("site.pem",)
    files = files_of(cluster, sources={"site.pem": clusters.CERTIFICATE.encode()})
    folder = "/etc/containerd/certs.d"
    assert files[f"{folder}/docker.io/hosts.toml"]["content"] == (
        'server = "https://registry-1.docker.io"\n\n'
        '[host."https://site.example:5000/v2/docker.io"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        '  ca = "/etc/containerd/certs.d/docker.io/ca.crt"\n'
        "  override_path = true\n"
    )
    assert files[f"{folder}/docker.io/ca.crt"]["content"] == clusters.CERTIFICATE
    assert files[f"{folder}/registry.k8s.io/hosts.toml"]["content"] == (
        'server = "https://registry.k8s.io"\n\n'
        '[host."http://10.0.0.9:5000"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )
    for given, asked in (("/v2/docker.io", "/v2/docker.io"), ("/v2mirror", "/v2/v2mirror")):
        registry = Registry(mirrors=(f"https://site.example{given}",))
        assert f'[host."https://site.example{asked}"]' in hosts_toml("docker.io", registry)
    own = hosts_toml("site.example:5000", cluster.registries["site.example:5000"])
    assert '[host."https://site.example:5000"]' in own


def test_a_proxy_is_not_asked_for_the_cluster_itself() -> None:
    text = SMALL + "proxy: {https: 'http://u:p%40ss@proxy.example:3128', none: [.site.example]}\n"
    cluster = read(text)
    drop_in = proxy_drop_in(cluster, cluster.nodes[0])
    assert drop_in is not None
    # systemd reads a doubled % as one.
    assert 'Environment="HTTPS_PROXY=http://u:p%%40ss@proxy.example:3128"' in drop_in
    for direct in ("10.244.0.0/16", "10.96.0.0/12", ".cluster.local", ".site.example"):
        assert direct in drop_in
    file = files_of(cluster)["/etc/systemd/system/containerd.service.d/10-kiso-proxy.conf"]
    assert file["permissions"] == "0600"
    assert proxy_drop_in(read(SMALL), read(SMALL).nodes[0]) is None


def test_text_of_any_kind_arrives_as_it_was() -> None:
    odd = "\n  begins with space\ttab\n# no comment: {{ x }} \\ ' \" é \x07\r\nends without newline"
    lines = {"": "", "trailing": "a  \n\nb\n\n\n", "odd": odd, "yes": "yes", "number": "017"}
    assert yaml.safe_load(yaml_text(lines)) == lines


def test_files_that_are_not_text_travel_in_base64() -> None:
    cluster = read(SMALL + "files: [{path: /opt/blob, source: blob, mode: '0755'}]\n")
    file = files_of(cluster, sources={"blob": b"\x7fELF\xff"})["/opt/blob"]
    assert file == {
        "path": "/opt/blob",
        "permissions": "0755",
        "content": "f0VMRv8=",
        "encoding": "b64",
    }


def test_public_keys_are_read_from_files_and_private_ones_refused() -> None:
    cluster = read(SMALL + "users: [{name: admin, ssh_key_files: [keys]}]\n")
    sources = {"keys": f"# of the team\n{clusters.KEY}\n\n".encode()}
    assert config_of(cluster, sources=sources)["users"][0]["ssh_authorized_keys"] == [clusters.KEY]
    for wrong in (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"", b"\xff"):
        with pytest.raises(InputError, match=r"^keys: ") as caught:
            config_of(cluster, sources={"keys": wrong})
        assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        clusters.CERTIFICATE[:40],
        clusters.CERTIFICATE + clusters.CERTIFICATE[:40],
        clusters.CERTIFICATE.replace("MIIB", "MII"),
        clusters.CERTIFICATE.replace("MIIB", "AAAA"),
        clusters.CERTIFICATE + "-----BEGIN PRIVATE KEY-----\nZZZZ\n-----END PRIVATE KEY-----\n",
    ],
)
def test_certificates_are_whole_and_alone(wrong: str) -> None:
    cluster = read(SMALL + "ca_certificates: [site.pem]\n")
    good = f"# of the site\n{clusters.CERTIFICATE}".replace("\n", "\r\n") + clusters.CERTIFICATE
    config_of(cluster, sources={"site.pem": good.encode()})
    with pytest.raises(InputError, match=r"^site\.pem: expected certificates") as caught:
        config_of(cluster, sources={"site.pem": wrong.encode()})
    assert "ZZZZ" not in str(caught.value)


def test_users_without_a_password_cannot_use_one() -> None:
    users = f"users: [{{name: a}}, {{name: b, password_hash: {HASH}, sudo: false}}]\n"
    first, second = config_of(read(SMALL + users))["users"]
    assert first["lock_passwd"] is True
    assert second == {
        "name": "b",
        "shell": "/bin/bash",
        "lock_passwd": False,
        "hashed_passwd": HASH,
    }


def test_settings_are_quoted_for_the_shell() -> None:
    text = SMALL.replace("1.34.12", "1.20.2") + "cni: 'manifests/my network.yaml'\n"
    settings = files_of(read(text))["/etc/kiso/node/settings"]["content"]
    values = dict(shlex.split(line)[0].split("=", 1) for line in settings.splitlines())
    assert values["MANIFEST"] == "manifests/my network.yaml"
    assert values["ROLE"] == "first-control-plane"


def test_the_instance_changes_with_everything_that_cloud_init_acts_on() -> None:
    cluster = three()
    other = three("1.34.11")
    node = cluster.nodes[0]
    ids = {
        node_files(one, node, ACCESS, {}, network).meta_data["instance-id"]
        for one, network in ((cluster, b"a"), (cluster, b"b"), (other, b"a"), (cluster, b"a"))
    }
    assert len(ids) == 3


def test_new_secrets_have_kubernetes_form_and_never_repeat() -> None:
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(TOKEN.fullmatch(token) for token in tokens)
    keys = {new_certificate_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(CERTIFICATE_KEY.fullmatch(key) for key in keys)


def test_a_wrong_secret_is_refused_without_being_shown() -> None:
    for check, wrong in ((check_token, "ABCDEF.0123456789abcdef"), (check_certificate_key, "12zz")):
        with pytest.raises(InputError) as caught:
            check(wrong, "token")
        assert wrong not in f"{caught.value} {caught.value.hint}"
    assert check_token(f" {clusters.TOKEN}\n", "token") == clusters.TOKEN


def test_secrets_do_not_show_when_they_are_printed() -> None:
    for secret in (clusters.TOKEN, clusters.CERTIFICATE_KEY, "PRIVATE KEY"):
        assert secret not in repr(ACCESS)
