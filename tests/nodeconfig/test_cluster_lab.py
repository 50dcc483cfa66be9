"""What we write, read by those it is for: Debian's cloud-init and the real kubeadm."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from isobuilder.documents.text import yaml_text
from isobuilder.nodeconfig.kubeadm import PATCHES, kubeadm_config
from isobuilder.nodeconfig.network import network_config, network_data
from isobuilder.nodeconfig.patches import patch_files
from isobuilder.nodeconfig.secrets import find_access
from isobuilder.nodeconfig.seed import json_text
from isobuilder.nodeconfig.upgrade import upgrade_script
from isobuilder.nodeconfig.userdata import node_files
from isobuilder.pipeline.cluster import make_cluster
from tests.nodeconfig.clusters import ACCESS, CERTIFICATE, HASH, SMALL, read, three
from tests.nodeconfig.test_complete import FULL, NEW, SOURCES
from tests.nodeconfig.test_families import DUAL, IPV6
from tools.lab.debian import Apt
from tools.lab.place import alone, lab_dir, once

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first"),
]

# cloud-init's own functions and not its command, which would write below /run of this machine.
CHECK = """\
import sys, yaml
from cloudinit.config.schema import SchemaType, validate_cloudconfig_schema
for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):
    config = yaml.safe_load(open(path))
    validate_cloudconfig_schema(config, strict=True, schema_type=SchemaType(kind))
"""
RENDER = """\
import json, sys, yaml
from cloudinit.net import network_state, networkd
from cloudinit.sources.helpers.openstack import convert_net_json
config = yaml.safe_load(open(sys.argv[1]))
if "links" in config:
    config = convert_net_json(config, known_macs={"52:54:00:00:00:01": "ens3"})
state = network_state.parse_net_config_data(config)
print(json.dumps(networkd.Renderer()._render_content(state)))
"""


PACKAGES = (
    *("cloud-init", "python3-configobj", "python3-jsonpatch", "python3-json-pointer"),
    "python3-oauthlib",
)


@pytest.fixture(scope="module")
def cloud_init() -> Path:
    """Debian 13's cloud-init, unpacked and not installed."""
    lab = lab_dir()

    def unpack(folder: Path) -> None:
        Apt(lab / "apt", "trixie").unpack(PACKAGES, folder)

    with alone(lab):
        tree = once(lab / "cloud-init", " ".join(PACKAGES), unpack)
    return tree / "usr/lib/python3/dist-packages"


def python(cloud_init: Path, code: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(cloud_init)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


MORE = """\
registries: {docker.io: {mirrors: ["https://site.example"], ca: site.pem}}
ca_certificates: [site.pem]
proxy: {http: "http://proxy.example:3128"}
users: [{name: admin, password_hash: "HASH"}]
files: [{path: /opt/blob, source: blob, mode: "0755"}]
commands: {before: [echo a], after: [echo b]}
""".replace("HASH", HASH)


def test_cloud_init_accepts_what_every_role_gets(cloud_init: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = []
    sources = {"site.pem": CERTIFICATE.encode(), "blob": b"\xff", **SOURCES}
    clusters = (three(), read(SMALL), read(SMALL + MORE), read(IPV6), read(DUAL))
    for number, cluster in enumerate((*clusters, read(FULL.replace("VERSION", "1.37.1")))):
        for node in cluster.nodes:
            data = tmp_path / f"{number}-{node.name}"
            data.write_bytes(node_files(cluster, node, ACCESS, sources, b"").user_data)
            network = tmp_path / f"{number}-{node.name}-network"
            network.write_text(yaml_text(network_config(cluster, node)), encoding="utf-8")
            arguments += ["cloud-config", data, "network-config-v2", network]
    python(cloud_init, CHECK, *arguments)


def test_cloud_init_makes_the_same_network_of_both_forms(cloud_init: Path, tmp_path: Path) -> None:
    cluster = three()
    one, two, _ = cluster.nodes
    path = tmp_path / "network"
    path.write_text(yaml_text(network_config(cluster, one)), encoding="utf-8")
    nocloud = yaml.safe_load(python(cloud_init, RENDER, path))["e*"]
    path.write_bytes(json_text(network_data(cluster, one)))
    drive = yaml.safe_load(python(cloud_init, RENDER, path))["ens3"]
    assert sorted(nocloud.replace("Name=e*", "Name=ens3").split()) == sorted(drive.split())
    for line in ("Address=10.77.0.11/24", "MACAddress=52:54:00:00:00:01", "DNS=10.77.0.2"):
        assert line in nocloud
    assert "Destination=0.0.0.0/0\nGateway=10.77.0.1\n" in nocloud
    assert "Destination=10.244.1.0/24\nGateway=10.77.0.12\n" in nocloud
    path.write_text(yaml_text(network_config(cluster, two)), encoding="utf-8")
    assert "Name=ens3\n" in yaml.safe_load(python(cloud_init, RENDER, path))["ens3"]


@pytest.mark.parametrize("text", [IPV6, DUAL], ids=["ipv6", "dual-stack"])
def test_cloud_init_gives_every_kind_of_address_by_both_forms(
    cloud_init: Path, tmp_path: Path, text: str
) -> None:
    cluster = read(text.replace("52:54:00:6b:01:01", "52:54:00:00:00:01"))
    path = tmp_path / "network"
    path.write_text(yaml_text(network_config(cluster, cluster.nodes[0])), encoding="utf-8")
    nocloud = yaml.safe_load(python(cloud_init, RENDER, path))["e*"]
    path.write_bytes(json_text(network_data(cluster, cluster.nodes[0])))
    drive = yaml.safe_load(python(cloud_init, RENDER, path))["ens3"]
    for rendered in (nocloud, drive):
        for address in cluster.nodes[0].address:
            assert f"Address={address}\n" in rendered
        assert "Destination=::/0\nGateway=fd00:77::1\n" in rendered
        assert "Destination=fd00:10:244:1::/64\nGateway=fd00:77::12\n" in rendered


DESCRIPTION = """\
schema: 1
kubernetes: "1.37.1"
cni: bridge
networks: {nodes: {gateway: 10.77.0.1}}
leader_election: {lease: 120s, renew: 80s, retry: 10s}
arguments: {api_server: {audit-log-maxage: "30"}, kubelet: {max-pods: "50"}}
ignore_preflight_errors: [NumCPU]
certificate_names: [api.example]
nodes:
  - {name: one, role: first-control-plane, address: 10.77.0.11/24, taints: [], labels: {a: b}}
  - {name: two, role: control-plane, address: 10.77.0.12/24}
  - {name: three, role: worker, address: 10.77.0.13/24, taints: ["gpu=yes:NoSchedule"]}
"""


def kubeadm(*arguments: str | Path, version: str = "1.37.1") -> str:
    done = subprocess.run(
        [lab_dir() / f"programs/kubernetes-{version}/kubeadm", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # kubeadm only warns of a key that it does not know.
    assert "unknown field" not in done.stderr
    return done.stdout


def test_kubeadm_reads_every_key_and_takes_our_authority_for_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    cluster, made = make_cluster(path, tmp_path, secrets_folder=None, seed=None)
    configs = []
    for one in made:
        data = yaml.safe_load((one.folder / "user-data").read_text(encoding="utf-8"))
        texts = {file["path"]: file["content"] for file in data["write_files"]}
        config = tmp_path / f"{one.node.name}.yaml"
        config.write_text(texts["/etc/kiso/node/kubeadm.yaml"], encoding="utf-8")
        configs.append(config)
        migrated = list(yaml.safe_load_all(kubeadm("config", "migrate", "--old-config", config)))
        registration = migrated[0]["nodeRegistration"]
        flags = {flag["name"]: flag["value"] for flag in registration["kubeletExtraArgs"]}
        assert flags["node-ip"] == one.node.ip
    assert "registry.k8s.io/pause:3.10.2" in kubeadm(
        "config", "images", "list", "--config", configs[0]
    )
    pki = tmp_path / "pki"
    pki.mkdir()
    for name in ("ca.crt", "ca.key"):
        (pki / name).write_bytes((tmp_path / "secrets" / name).read_bytes())
    text = configs[0].read_text(encoding="utf-8")
    kind = "kind: ClusterConfiguration\n"
    configs[0].write_text(text.replace(kind, f"{kind}certificatesDir: {pki}\n"), encoding="utf-8")
    said = kubeadm("init", "phase", "certs", "ca", "--config", configs[0])
    assert "Using existing ca certificate authority" in said
    assert "api.example" in kubeadm("init", "phase", "certs", "apiserver", "--config", configs[0])
    command = ["openssl", "verify", "-CAfile", str(pki / "ca.crt"), str(pki / "apiserver.crt")]
    subprocess.run(command, check=True, capture_output=True)
    assert find_access(cluster, tmp_path / "secrets").authority is not None


LAB = sorted(path.name.partition("-")[2] for path in lab_dir().glob("programs/kubernetes-1.*.*"))


def written(version: str) -> Iterator[tuple[str, str]]:
    """Give a name and kubeadm's configuration for every node of clusters with every key."""
    texts = {"full": FULL.replace("VERSION", version) + NEW, "ipv6": IPV6, "dual-stack": DUAL}
    for name, text in texts.items():
        cluster = read(text.replace("1.37.1", version))
        for node in cluster.nodes:
            yield f"{name}-{node.name}", kubeadm_config(cluster, node, ACCESS)


@pytest.mark.parametrize("version", [one for one in LAB if one.count(".") == 2 and "-" not in one])
def test_kubeadm_of_each_version_takes_every_key_and_every_kind_of_address(
    version: str, tmp_path: Path
) -> None:
    for name, text in written(version):
        config = tmp_path / f"{name}.yaml"
        config.write_text(text, encoding="utf-8")
        assert kubeadm("config", "validate", "--config", config, version=version) == "ok\n"


def test_kubeadm_makes_the_control_plane_with_our_volumes_patches_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = read(FULL.replace("VERSION", "1.37.1") + NEW)
    for path, text in patch_files(cluster, cluster.nodes[0], SOURCES):
        file = tmp_path / "patches" / path.rpartition("/")[2]
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    config = tmp_path / "config.yaml"
    text = kubeadm_config(cluster, cluster.nodes[0], ACCESS)
    config.write_text(text.replace(PATCHES, str(tmp_path / "patches")), encoding="utf-8")
    words = ("init", "phase", "control-plane", "apiserver", "--dry-run", "--config", config)
    (tmp_path / "made").mkdir()
    monkeypatch.setenv("KUBEADM_INIT_DRYRUN_DIR", str(tmp_path / "made"))
    said = kubeadm(*words)
    assert 'Applied patch of type "application/strategic-merge-patch+json"' in said
    (manifest,) = (tmp_path / "made").rglob("kube-apiserver.yaml")
    pod = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    (container,) = pod["spec"]["containers"]
    assert {"name": "GOGC", "value": "50"} in container["env"]
    assert "--audit-log-path=/var/log/kubernetes/audit.log" in container["command"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["audit-policy"]["readOnly"] is True
    assert mounts["audit-log"]["mountPath"] == "/var/log/kubernetes"


def test_kubeadm_takes_what_the_upgrade_script_tells_it(tmp_path: Path) -> None:
    script = upgrade_script().decode()
    begin = script.index("upgrade_settings() {")
    function = script[begin : script.index("\n}\n", begin) + 3]
    told = subprocess.run(
        ["bash", "-c", f"{function}\nupgrade_settings"],
        env={"here": str(tmp_path), "target": "1.37.1", "patience": "1200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    config = tmp_path / "upgrade.yaml"
    (tmp_path / "patches").mkdir()
    config.write_text(told, encoding="utf-8")
    assert kubeadm("config", "validate", "--config", config) == "ok\n"
