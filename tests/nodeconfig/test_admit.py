"""The script that lets nodes in again, run by the real shell with programs that play their part."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from isobuilder.nodeconfig.userdata import node_files
from tests.nodeconfig.clusters import ACCESS, CERTIFICATE_KEY, TOKEN, three

SCRIPT = files("isobuilder.nodeconfig") / "templates" / "node-admit.sh"

PLAYER = """\
#!/bin/bash
# Write down the call and the files that it names; answer as a cluster would.
words="${0##*/} $*"
for word in "$@"; do
    case "$word" in
        --from-file=*) words+=" ${word%%=/*}:$(cat "${word##*=}")" ;;
        /tmp/*) cp "$word" "$PLAY/config" ;;
    esac
done
echo "$words" >> "$PLAY/calls"
case "$words" in
    *"get node "*) cat "$PLAY/ready" 2> /dev/null || true ;;
    *"member list"*) cat "$PLAY/members" ;;
    "kubeadm version"*) echo v1.37.1 ;;
    "kubeadm config print"*) printf 'apiVersion: kubeadm.k8s.io/v1beta4\\n' ;;
esac
"""


class Plane:
    """A folder that stands for a control plane that is up."""

    def __init__(self, root: Path, name: str = "one") -> None:
        self.root = root
        (root / "bin").mkdir()
        for program in ("kubectl", "kubeadm"):
            (root / "bin" / program).write_text(PLAYER)
            (root / "bin" / program).chmod(0o755)
        members = (
            "ab12, started, one, https://a, b, false\ncd34, started, two, https://c, d, false\n"
        )
        (root / "members").write_text(members)
        (root / "node").mkdir()
        (root / "kubernetes").mkdir()
        (root / "kubernetes/admin.conf").touch()
        cluster = three("1.37.1")
        node = next(node for node in cluster.nodes if node.name == name)
        data = yaml.safe_load(node_files(cluster, node, ACCESS, {}, b"").user_data)
        for file in data["write_files"]:
            if file["path"].startswith("/etc/kiso/node/"):
                (root / "node" / file["path"].rpartition("/")[2]).write_text(file["content"])

    def admit(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            ["bash", str(SCRIPT), *words],
            env={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "PLAY": str(self.root),
                "KISO_NODE": str(self.root / "node"),
                "KISO_KUBERNETES": str(self.root / "kubernetes"),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.mark.parametrize("name", ["one", "two"])
def test_token_and_certificates_count_anew_and_are_not_shown(tmp_path: Path, name: str) -> None:
    plane = Plane(tmp_path, name)
    said = plane.admit()
    assert said.startswith("admit: nodes may join until 2")
    assert said.endswith("admit: control planes may join for two hours\n")
    identity, secret = TOKEN.split(".")
    made = next(call for call in plane.calls if " create secret " in call)
    assert f"bootstrap-token-{identity} " in made
    assert f"--from-file=token-id:{identity}" in made
    assert f"--from-file=token-secret:{secret}" in made
    assert secret not in said
    assert secret not in made.split(" --from-file=token-id:")[0], "others could read it"
    config = list(yaml.safe_load_all((tmp_path / "config").read_text()))
    assert config[0]["certificateKey"] == CERTIFICATE_KEY
    assert config[1]["kubernetesVersion"] == "v1.37.1"
    assert CERTIFICATE_KEY not in said + "".join(plane.calls)


@pytest.mark.parametrize("elects", [False, True])
def test_one_that_was_made_alone_lets_workers_in_and_tells_how_control_planes_could(
    tmp_path: Path, *, elects: bool
) -> None:
    plane = Plane(tmp_path)
    config = tmp_path / "node/kubeadm.yaml"
    text = config.read_text()
    config.write_text(text.replace(f"certificateKey: {CERTIFICATE_KEY}\n", ""))
    (tmp_path / "kubernetes/manifests").mkdir()
    if not elects:
        flag = "    - --leader-elect=false\n"
        (tmp_path / "kubernetes/manifests/kube-scheduler.yaml").write_text(flag)
    said = plane.admit()
    assert said.startswith("admit: nodes may join until 2")
    assert "admit: control planes may not join: this one was made to be the only one" in said
    assert ("remove --leader-elect=false from " in said) != elects
    assert f"behind kind: InitConfiguration in {config}" in said
    assert not [call for call in plane.calls if "upload-certs" in call]
    with config.open("a") as file:
        file.write(f"certificateKey: {CERTIFICATE_KEY}\n")
    assert plane.admit().endswith("admit: control planes may join for two hours\n")


def test_a_node_that_is_gone_is_forgotten_first(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    (tmp_path / "ready").write_text("Unknown")
    assert "admit: etcd has forgotten two\n" in plane.admit("two")
    assert next(call for call in plane.calls if "member remove" in call).endswith("remove cd34")
    assert "kubectl delete node two --ignore-not-found" in plane.calls


def test_a_worker_that_is_gone_has_no_part_in_etcd(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.admit("three")
    assert not [call for call in plane.calls if "member remove" in call]
    assert "kubectl delete node three --ignore-not-found" in plane.calls


@pytest.mark.parametrize(("name", "fact"), [("two", "two is Ready"), ("one", "this very node")])
def test_a_node_that_works_is_not_forgotten(tmp_path: Path, name: str, fact: str) -> None:
    plane = Plane(tmp_path)
    (tmp_path / "calls").touch()
    (tmp_path / "ready").write_text("True")
    assert fact in plane.admit(name, code=1)
    assert not [call for call in plane.calls if "delete" in call or "remove" in call]


def test_workers_have_no_such_script() -> None:
    cluster = three()
    data = yaml.safe_load(node_files(cluster, cluster.nodes[2], ACCESS, {}, b"").user_data)
    assert "/etc/kiso/node/admit" not in [file["path"] for file in data["write_files"]]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
