"""``isobuilder node``: what people type, what is written, and what is never shown."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from isobuilder.iso.read.reader import IsoReader
from isobuilder.nodeconfig.access import CERTIFICATE_KEY, TOKEN
from tests.cli.calling import call, errors, hints
from tests.nodeconfig.clusters import KEY

TOKEN_OF_ENV = "aaaaaa.bbbbbbbbbbbbbbbb"

CLUSTER = """\
schema: 1
name: lab
kubernetes: "1.34.12"
networks: {nodes: {gateway: 10.77.0.1}}
users: [{name: admin, ssh_key_files: [keys/admin.pub]}]
nodes:
  - {name: one, role: first-control-plane, address: 10.77.0.11/24}
  - {name: two, role: control-plane, address: 10.77.0.12/24}
  - {name: three, role: worker, address: 10.77.0.13/24}
"""

FOUR = ("user-data", "meta-data", "network-config", "seed.iso")
MISSING = "No such file or directory"

FIRST = ("node", "user-data", "--role", "first-control-plane", "--kubernetes", "1.34.12")


def settings(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


UNCHECKED = settings("verify_ca=false")
"""No authority is made, which takes openssl a while."""

WORKER = ("node", "user-data", "--role", "worker", "--kubernetes", "1.34.12", "--name", "w")


@pytest.fixture
def description(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/admin.pub").write_text(f"{KEY}\n", encoding="utf-8")
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER, encoding="utf-8")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def written(folder: Path, path: str) -> str:
    data = yaml.safe_load((folder / "user-data").read_text(encoding="utf-8"))
    return next(str(file["content"]) for file in data["write_files"] if file["path"] == path)


def kubeadm(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(written(folder, "/etc/kiso/node/kubeadm.yaml")))


def shows_no_secret(done: Result, secrets: Path) -> None:
    for name in ("token", "certificate-key", "ca.key"):
        path = secrets / name
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                assert line not in done.output


def test_a_whole_cluster_is_written_for_its_owner_only(description: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = os.umask(0)
    try:
        done = call("node", "cluster", description, "--out", out)
    finally:
        os.umask(before)
    assert done.stdout.splitlines()[1].split() == [
        *("one", "first-control-plane", "10.77.0.11"),
        str(out / "one/seed.iso"),
    ]
    shows_no_secret(done, out / "secrets")
    assert sorted(everything(out)) == sorted(
        [f"{node}/{name}" for node in ("one", "two", "three") for name in FOUR]
        + [f"secrets/{name}" for name in ("ca.crt", "ca.key", "certificate-key", "token")]
    )
    for path in out.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_all_nodes_know_the_same_secrets_and_the_same_authority(
    description: Path, tmp_path: Path
) -> None:
    call("node", "cluster", description, "--out", tmp_path)
    token = (tmp_path / "secrets/token").read_text().strip()
    key = (tmp_path / "secrets/certificate-key").read_text().strip()
    assert TOKEN.fullmatch(token)
    assert CERTIFICATE_KEY.fullmatch(key)
    init, two, three = (kubeadm(tmp_path / name)[0] for name in ("one", "two", "three"))
    assert init["bootstrapTokens"][0]["token"] == token
    assert init["certificateKey"] == two["controlPlane"]["certificateKey"] == key
    hashes = [join["discovery"]["bootstrapToken"]["caCertHashes"] for join in (two, three)]
    assert hashes[0] == hashes[1]
    assert (
        written(tmp_path / "one", "/etc/kiso/node/ca.key")
        == (tmp_path / "secrets/ca.key").read_text()
    )
    assert token not in (tmp_path / "three/meta-data").read_text()


def test_the_hash_of_the_authority_is_the_one_openssl_computes(
    description: Path, tmp_path: Path
) -> None:
    call("node", "cluster", description, "--out", tmp_path)
    certificate = str(tmp_path / "secrets/ca.crt")
    command = ["openssl", "x509", "-in", certificate, "-noout", "-pubkey"]
    pem = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    bootstrap = kubeadm(tmp_path / "three")[0]["discovery"]["bootstrapToken"]
    assert bootstrap["caCertHashes"] == ["sha256:" + hashlib.sha256(der).hexdigest()]


def test_the_same_call_gives_the_same_bytes_and_a_new_node_fits_the_old_ones(
    description: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call("node", "cluster", description, "--out", out)
    first = everything(out)
    call("node", "cluster", description, "--out", out)
    assert everything(out) == first
    more = CLUSTER + "  - {name: four, role: worker, address: 10.77.0.14/24}\n"
    description.write_text(more, encoding="utf-8")
    call("node", "cluster", description, "--out", out)
    assert everything(out)["secrets/ca.crt"] == first["secrets/ca.crt"]
    assert kubeadm(out / "four")[0]["discovery"] == kubeadm(out / "three")[0]["discovery"]


def test_json_tells_places_and_no_secrets(description: Path, tmp_path: Path) -> None:
    done = call("node", "cluster", description, "--out", tmp_path, "--json", "--seed", "none")
    found = json.loads(done.stdout)
    assert (found["name"], found["endpoint"]) == ("lab", "10.77.0.11:6443")
    assert found["nodes"][2] == {
        "name": "three",
        "role": "worker",
        "address": "10.77.0.13",
        "instance": found["nodes"][2]["instance"],
        "folder": str(tmp_path / "three"),
        "seed": None,
    }
    shows_no_secret(done, tmp_path / "secrets")


def test_mistakes_of_a_file_are_all_told(description: Path, tmp_path: Path) -> None:
    text = CLUSTER.replace("name: two", "name: one").replace("10.77.0.13/24", "10.77.9.13/24")
    description.write_text(text, encoding="utf-8")
    done = call("node", "cluster", description, "--out", tmp_path / "out", code=3)
    assert len(errors(done)) == 2
    assert f"{description}:8:12: nodes[one].name: two nodes with the name one" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_named_and_missing_is_told_before_anything_is_written(
    description: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys/admin.pub").unlink()
    done = call("node", "cluster", description, "--out", tmp_path / "out", code=3)
    assert errors(done) == [f"error: {tmp_path}/keys/admin.pub: cannot be read: " + MISSING]
    assert not (tmp_path / "out").exists()


def test_config_drive_is_refused_for_all_when_one_node_cannot_have_it(
    description: Path, tmp_path: Path
) -> None:
    done = call(
        *("node", "cluster", description, "--out", tmp_path / "out", "--seed", "config-drive"),
        code=3,
    )
    assert "one: ConfigDrive names an interface by its MAC address" in done.stderr
    assert not (tmp_path / "out/one").exists()


def test_options_lead_to_the_same_description(tmp_path: Path) -> None:
    (tmp_path / "admin.pub").write_text(KEY, encoding="utf-8")
    (tmp_path / "motd").write_text("welcome\n", encoding="utf-8")
    done = call(
        *(*FIRST, "--name", "one", "--out", tmp_path, "--seed", "config-drive", "--json"),
        *("--address", "10.0.0.5/24", "--gateway", "10.0.0.1", "--nameserver", "10.0.0.2"),
        *("--ssh-key", tmp_path / "admin.pub"),
        *settings(
            "nodes.0.mac=52:54:00:00:00:01",
            "networks.nodes.search=[lab.example]",
            "networks.nodes.mtu=1400",
            "nodes.0.routes.0.to=10.9.0.0/16",
            "nodes.0.routes.0.via=10.0.0.9",
            "cni=bridge",
            "nodes.0.pods=10.244.3.0/24",
            "nodes.0.taints=[]",
            "nodes.0.labels={example.org/a: b}",
            "registries={docker.io: {mirrors: ['https://site.example']}}",
            "proxy.none=[x.example]",
            "proxy.https=http://proxy.example:3128",
            f"nodes.0.files=[{{path: /etc/motd, source: {tmp_path}/motd}}]",
            "nodes.0.commands.before=[echo a]",
            "nodes.0.commands.after=[echo b]",
            "leader_election={lease: 120s, renew: 80s, retry: 10s}",
        ),
    )
    folder = tmp_path / "one"
    assert json.loads(done.stdout)["nodes"][0]["seed"] == str(folder / "seed.iso")
    with IsoReader(folder / "seed.iso") as disc:
        assert disc.label == "config-2"
    network = yaml.safe_load((folder / "network-config").read_text())["ethernets"]["e*"]
    assert network["match"] == {"macaddress": "52:54:00:00:00:01"}
    assert network["routes"][1] == {"to": "10.9.0.0/16", "via": "10.0.0.9"}
    assert network["mtu"] == 1400
    init, cluster, _ = kubeadm(folder)
    assert init["nodeRegistration"]["taints"] == []
    assert "certificateKey" not in init
    assert cluster["scheduler"]["extraArgs"][0]["value"] == "120s"
    assert "10.244.3.0/24" in written(folder, "/etc/cni/net.d/10-nodes.conflist")
    assert written(folder, "/etc/motd") == "welcome\n"
    assert written(folder, "/etc/kiso/node/before") == "echo a\n"
    data = yaml.safe_load((folder / "user-data").read_text())
    assert data["users"][0]["name"] == "admin"
    assert data["users"][0]["ssh_authorized_keys"] == [KEY]


def test_what_is_wrong_with_options_is_told_with_their_names(tmp_path: Path) -> None:
    route = "nodes.0.routes=[{to: 10.9.0.0/99, via: x}]"
    done = call(
        *(*FIRST, "--name", "One", "--address", "10.0.0.5", *settings(route, "cnj=x")),
        *("--out", tmp_path / "out"),
        code=3,
    )
    told = [line.split(":")[1].strip() for line in errors(done)]
    assert sorted(told) == [
        *("--address", "--name", "--set cnj"),
        *("--set nodes.0.routes", "--set nodes.0.routes"),
    ]


@pytest.mark.parametrize(
    ("setting", "fact"),
    [
        ("cni", "--set cni: expected a path in a cluster file and a value"),
        ("nodes..mac=x", "--set nodes..mac: expected a path"),
        ("=x", "--set : expected a path"),
        ("cni=[a", "--set cni"),
        ("cni=a\nname: b", "--set cni"),
        ("cni=a\nother: b", "--set cni: expected one value"),
        ("kubernetes.minor=3", "--set kubernetes.minor: --kubernetes gives all of kubernetes"),
        ("nodes.1.name=two", "--set nodes.1.name: nodes[two]"),
        ("nodes.7.name=two", "nodes"),
    ],
)
def test_a_setting_that_fits_nowhere_is_refused(tmp_path: Path, setting: str, fact: str) -> None:
    done = call(*FIRST, "--name", "n", "--out", tmp_path / "out", *settings(setting), code=3)
    assert fact in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_setting_wins_over_what_an_option_implies(tmp_path: Path) -> None:
    (tmp_path / "kim.pub").write_text(KEY, encoding="utf-8")
    options = settings("users.0.name=kim", "verify_ca=false")
    key = ("--ssh-key", tmp_path / "kim.pub")
    call(*FIRST, "--name", "one", "--out", tmp_path, *key, *options)
    user = yaml.safe_load((tmp_path / "one/user-data").read_text())["users"][0]
    assert (user["name"], user["ssh_authorized_keys"]) == ("kim", [KEY])


def test_a_worker_joins_with_the_folder_of_the_first(tmp_path: Path) -> None:
    first = (*FIRST, "--name", "one", "--address", "10.0.0.5/24", "--gateway", "10.0.0.1")
    call(*first, "--out", tmp_path)
    call(
        *WORKER,
        "--endpoint",
        "10.0.0.5",
        "--out",
        tmp_path / "w",
        "--secrets",
        tmp_path / "secrets",
    )
    bootstrap = kubeadm(tmp_path / "w/w")[0]["discovery"]["bootstrapToken"]
    assert bootstrap["token"] == (tmp_path / "secrets/token").read_text().strip()
    assert bootstrap["apiServerEndpoint"] == "10.0.0.5:6443"
    assert bootstrap["caCertHashes"][0].startswith("sha256:")
    assert "PRIVATE KEY" not in (tmp_path / "w/w/user-data").read_text()


def test_joining_without_secrets_names_both_ways_to_give_them(tmp_path: Path) -> None:
    done = call(*WORKER, "--endpoint", "10.0.0.5", "--out", tmp_path, code=3)
    assert errors(done) == [
        f"error: no bootstrap token to join with: neither {tmp_path}/secrets/token nor "
        "ISOBUILDER_NODE_TOKEN in the environment"
    ]
    env = {"ISOBUILDER_NODE_TOKEN": TOKEN_OF_ENV}
    done = call(*WORKER, "--endpoint", "10.0.0.5", "--out", tmp_path, code=3, env=env)
    assert "which certificate authority" in errors(done)[0]
    assert "--set ca_hash=" in hints(done)[0]
    ca = settings(f"ca_hash=sha256:{'0' * 64}")
    done = call(*WORKER, "--endpoint", "10.0.0.5", "--out", tmp_path, *ca, env=env)
    assert TOKEN_OF_ENV not in done.output
    bootstrap = kubeadm(tmp_path / "w")[0]["discovery"]["bootstrapToken"]
    assert bootstrap["token"] == TOKEN_OF_ENV
    assert not (tmp_path / "secrets").exists()


def test_another_control_plane_needs_the_certificate_key(tmp_path: Path) -> None:
    words = [word if word != "worker" else "control-plane" for word in WORKER]
    env = {"ISOBUILDER_NODE_TOKEN": TOKEN_OF_ENV}
    options: list[str | Path] = ["--endpoint", "10.0.0.5", *UNCHECKED, "--out", tmp_path]
    done = call(*words, *options, code=3, env=env)
    assert "no certificate key to join with" in errors(done)[0]
    assert f"before its data is made: isobuilder node secrets {tmp_path}/secrets;" in hints(done)[0]
    env["ISOBUILDER_NODE_CERTIFICATE_KEY"] = "0" * 64
    call(*words, *options, env=env)
    join = kubeadm(tmp_path / "w")[0]
    assert join["controlPlane"]["certificateKey"] == "0" * 64
    assert join["discovery"]["bootstrapToken"]["unsafeSkipCAVerification"] is True


def test_secrets_that_are_made_first_let_control_planes_follow_one_by_one(tmp_path: Path) -> None:
    call("node", "secrets", tmp_path / "secrets")
    call(*FIRST, "--name", "one", "--endpoint", "api.example", "--out", tmp_path)
    words = [word if word != "worker" else "control-plane" for word in WORKER]
    call(*words, "--endpoint", "api.example", "--out", tmp_path)
    key = (tmp_path / "secrets/certificate-key").read_text().strip()
    assert kubeadm(tmp_path / "one")[0]["certificateKey"] == key
    assert "UPLOAD_CERTS=yes" in written(tmp_path / "one", "/etc/kiso/node/settings")
    assert kubeadm(tmp_path / "w")[0]["controlPlane"]["certificateKey"] == key


def test_a_damaged_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Secret-Of-Somebody", encoding="utf-8")
    done = call(*FIRST, "--name", "one", "--out", tmp_path, "--secrets", tmp_path, code=3)
    assert errors(done) == [f"error: {tmp_path}/token: not a bootstrap token (18 characters)"]
    assert "Somebody" not in done.output


def test_half_an_authority_is_refused(tmp_path: Path) -> None:
    call("node", "secrets", tmp_path / "s")
    (tmp_path / "s/ca.key").unlink()
    done = call(*FIRST, "--name", "one", "--out", tmp_path, "--secrets", tmp_path / "s", code=3)
    assert "only one of ca.crt and ca.key" in errors(done)[0]


def test_an_authority_that_kubeadm_would_refuse_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    call("node", "secrets", folder)
    call("node", "secrets", tmp_path / "other")
    first = (*FIRST, "--name", "one", "--out", tmp_path, "--secrets", folder)
    (folder / "ca.key").write_bytes((tmp_path / "other/ca.key").read_bytes())
    assert errors(call(*first, code=3)) == [f"error: {folder}: ca.key is not the key of ca.crt"]
    (folder / "ca.key").write_text("Geheim\n", encoding="utf-8")
    done = call(*first, code=3)
    assert f"{folder}/ca.key: expected a private key without a passphrase" in errors(done)[0]
    assert "Geheim" not in done.output
    (folder / "ca.crt").write_text("nothing\n", encoding="utf-8")
    assert f"{folder}/ca.crt: expected certificates in PEM form" in errors(call(*first, code=3))[0]


def test_the_bridge_asks_for_a_part_of_the_pod_network(tmp_path: Path) -> None:
    done = call(
        *WORKER, "--endpoint", "10.0.0.5", *settings("cni=bridge"), "--out", tmp_path, code=2
    )
    assert "nodes.0.pods" in hints(done)[0]


def test_without_openssl_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.run._search_path", lambda: str(tmp_path))
    done = call(*FIRST, "--name", "one", "--out", tmp_path / "out", code=6)
    assert errors(done) == ["error: openssl: not installed"]
    call(*FIRST, "--name", "one", "--out", tmp_path / "out", *UNCHECKED)
    assert sorted(everything(tmp_path / "out/secrets")) == ["token"]


def test_cloud_init_is_asked_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/cloud-init"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1 $2" = "schema --config-file" ] && grep -q ^#cloud-config "$3" || exit 9\n'
        "echo \"Error: hostname is wrong, users.0: {'a': {'plain_text_passwd': 'geheim'}} is not "
        'valid" >&2\nexit $VERDICT\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    program.write_text(program.read_text().replace("$VERDICT", "1"), encoding="utf-8")
    done = call(*FIRST, "--name", "one", "--out", tmp_path / "out", *UNCHECKED, code=3)
    assert f"cloud-init refuses {tmp_path}/out/one/user-data" in errors(done)[0]
    assert "hostname is wrong, users.0: (...) is not valid" in errors(done)[0]
    assert "geheim" not in done.output
    program.write_text(program.read_text().replace("exit 1", "exit 0"), encoding="utf-8")
    call(*FIRST, "--name", "one", "--out", tmp_path / "out", *UNCHECKED)
    program.write_text(program.read_text().replace("exit 0", "exit 1"), encoding="utf-8")
    done = call("node", "seed", tmp_path / "out/one", code=3)
    assert "cloud-init refuses" in errors(done)[0]
    assert not (tmp_path / "out/one/seed.iso").exists()


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    call("node", "secrets", shared, "--no-ca")
    call(*FIRST, "--name", "tmp", "--out", tmp_path, *UNCHECKED)
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert {path.stat().st_mode & 0o777 for path in shared.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["../id_rsa", "keys/../../id_rsa", "link", "{}/id_rsa", "a\\0b"])
@pytest.mark.parametrize(
    "asks",
    [
        'files: [{{path: /opt/x, source: "{}"}}]',
        'ca_certificates: ["{}"]',
        'registries: {{docker.io: {{mirrors: ["https://a.example"], ca: "{}"}}}}',
        'users: [{{name: other, ssh_key_files: ["{}"]}}]',
    ],
)
def test_a_cluster_file_that_somebody_sends_reads_nothing_outside_its_folder(
    name: str, asks: str, description: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "id_rsa"
    outside.write_text("wherefore\n")
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "link").symlink_to(outside)
    users = description.read_text("utf-8").replace("keys/admin.pub", "admin.pub")
    (sent / "admin.pub").write_text("ssh-ed25519 AAAA a\n")
    text = users if "users" not in asks else re.sub(r"users:.*\n", "", users)
    (sent / "c.yaml").write_text(f"{text}{asks.format(name.format(tmp_path))}\n")
    done = call("node", "cluster", sent / "c.yaml", "--out", tmp_path / "out", code=3)
    assert "leads out of" in errors(done)[0]
    assert "wherefore" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_user_data_that_no_seed_could_hold_is_refused_before_anything_is_written(
    description: Path, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(bytes(range(256)) * 13_000)
    text = f"{CLUSTER}files: [{{path: /opt/blob, source: blob}}]\n"
    description.write_text(text, encoding="utf-8")
    done = call("node", "cluster", description, "--out", tmp_path / "out", code=3)
    assert re.fullmatch(
        r"error: one: its user-data would have \d{7} bytes; expected at most 4 MiB",
        errors(done)[0],
    )
    assert not (tmp_path / "out/one").exists()


def test_a_label_may_be_without_a_value(tmp_path: Path) -> None:
    call(
        *FIRST,
        "--name",
        "one",
        "--out",
        tmp_path,
        *settings("verify_ca=false", "nodes.0.labels={storage: ''}"),
    )
    flags = kubeadm(tmp_path / "one")[0]["nodeRegistration"]["kubeletExtraArgs"]
    assert flags == [{"name": "node-labels", "value": "storage="}]


def test_secrets_are_made_once_and_only_their_places_printed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    done = call("node", "secrets", folder)
    names = ("token", "certificate-key", "ca.crt", "ca.key")
    assert done.stdout.splitlines() == [str(folder / name) for name in names]
    shows_no_secret(done, folder)
    before = everything(folder)
    call("node", "secrets", folder)
    assert everything(folder) == before
    assert call("node", "secrets", tmp_path / "x", "--no-ca").stdout.count("\n") == 2


def test_a_folder_is_packed_into_a_seed(description: Path, tmp_path: Path) -> None:
    call("node", "cluster", description, "--out", tmp_path, "--seed", "none")
    done = call("node", "seed", tmp_path / "one")
    assert done.stdout == f"{tmp_path}/one/seed.iso\n"
    shutil.rmtree(tmp_path / "one")
    call("node", "seed", tmp_path / "one", code=2)


def test_a_disc_of_an_earlier_call_does_not_stay(description: Path, tmp_path: Path) -> None:
    call("node", "cluster", description, "--out", tmp_path)
    assert (tmp_path / "one/seed.iso").exists()
    call("node", "cluster", description, "--out", tmp_path, "--seed", "none")
    assert not (tmp_path / "one/seed.iso").exists()


def test_a_proxys_password_is_not_an_option(tmp_path: Path) -> None:
    proxy = settings("proxy.https=http://me:geheim@proxy.example")
    done = call(*FIRST, "--name", "one", "--out", tmp_path, *proxy, code=2)
    assert "shows in the list of processes" in errors(done)[0]
    assert "geheim" not in done.output


def test_the_schema_is_printed_for_editors() -> None:
    assert json.loads(call("node", "schema").stdout)["title"] == "isobuilder cluster"


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    done = call(*FIRST, "--name", "one", "--out", tmp_path / "out/x", *UNCHECKED, code=6)
    assert "Not a directory" in errors(done)[0]


def test_vendor_data_of_a_cluster_file_or_a_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "vendor.yaml").write_text("#cloud-config\ntimezone: UTC\n", encoding="utf-8")
    path = tmp_path / "cluster.yaml"
    text = CLUSTER.replace("users: [{name: admin, ssh_key_files: [keys/admin.pub]}]\n", "")
    path.write_text(f"{text}vendor_data: vendor.yaml\nverify_ca: false\n", encoding="utf-8")
    call("node", "cluster", path, "--out", tmp_path / "nodes")
    assert b"timezone" in contents(tmp_path / "nodes/one/seed.iso")["vendor-data"]
    packed = tmp_path / "again.iso"
    call("node", "seed", tmp_path / "nodes/one", "--out", packed)
    assert b"timezone" in contents(packed)["vendor-data"]


def contents(path: Path) -> dict[str, bytes]:
    with IsoReader(path) as reader:
        return {name: reader.open(name).read() for name in reader.files}


def test_a_kubeconfig_is_made_without_asking_a_node(description: Path, tmp_path: Path) -> None:
    call("node", "secrets", tmp_path / "secrets")
    out = tmp_path / "kim.conf"
    command = ("node", "kubeconfig", description, "--secrets", tmp_path / "secrets")
    told = call(*command, "--user", "kim", "--days", "30", "--out", out)
    assert told.stdout.strip() == str(out)
    assert out.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert config["clusters"][0]["cluster"]["server"] == "https://10.77.0.11:6443"
    assert config["current-context"] == "kim@lab"
    (tmp_path / "kim.crt").write_bytes(
        base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    )
    authority = str(tmp_path / "secrets/ca.crt")
    certificate = str(tmp_path / "kim.crt")
    for words in (
        ["verify", "-purpose", "sslclient", "-CAfile", authority, certificate],
        ["x509", "-in", certificate, "-noout", "-checkend", str(29 * 86400)],
    ):
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-subject"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.search(r"O ?= ?kubeadm:cluster-admins, ?CN ?= ?kim", shown)


def test_a_kubeconfig_needs_the_authority_of_the_cluster(description: Path, tmp_path: Path) -> None:
    command = ("node", "kubeconfig", description, "--out", tmp_path / "x")
    done = call(*command, "--secrets", tmp_path / "keys", code=3)
    assert "no ca.crt and ca.key of the cluster there" in errors(done)[0]
    call("node", "secrets", tmp_path / "secrets")
    done = call(*command, "--secrets", tmp_path / "secrets", "--user", "a/CN=b", code=3)
    assert "is no name of a user" in errors(done)[0]
    assert not (tmp_path / "x").exists()
