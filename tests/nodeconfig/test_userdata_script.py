"""The script that brings a node up, run by the real shell with programs that play their part."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from isobuilder.nodeconfig.userdata import MILESTONES, node_files
from tests.nodeconfig.clusters import ACCESS, read, three

FAILURE = "kiso: error: node: "  # how the line begins that says why a node did not come up
SCRIPT = files("isobuilder.nodeconfig") / "templates" / "node-up.sh"

PLAYER = """\
#!/bin/bash
# Write down the call; do what the file of this program's name says for the next call, 0 if nothing.
echo "${0##*/} $*" >> "$PLAY/calls"
echo "${0##*/} was called" >&2
line=$(head -n 1 "$PLAY/${0##*/}" 2> /dev/null)
[ -s "$PLAY/${0##*/}" ] && sed -i 1d "$PLAY/${0##*/}"
case "$line" in
    '') exit 0 ;;
    [0-9]) exit "$line" ;;
    *) printf '%s' "$line" ;;
esac
"""


@dataclass
class Machine:
    """A folder that stands for a machine."""

    root: Path

    def says(self, program: str, *lines: str) -> None:
        """Let the next calls of ``program`` end with a number or print a text."""
        (self.root / program).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def run(self, *, code: int = 0) -> list[str]:
        """Run the script and return what the console shows."""
        console = self.root / "console"
        console.write_text("", encoding="utf-8")
        done = subprocess.run(
            ["bash", str(SCRIPT)],
            env={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "PLAY": str(self.root),
                "HOME": str(self.root / "home"),
                "KISO_NODE": str(self.root / "node"),
                "KISO_STATE": str(self.root / "state"),
                "KISO_MEDIUM": "/medium",
                "KISO_KUBERNETES": str(self.root / "kubernetes"),
                "KISO_PODS": str(self.root / "pods"),
                "KISO_CONSOLE": str(console),
                "KISO_LOG": str(self.root / "log"),
                "KISO_PAUSE": "0.05",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        text = console.read_text(encoding="utf-8")
        assert done.returncode == code, f"{done.stdout}{done.stderr}{text}"
        assert done.stderr == ""
        return [re.sub(r"^<\d>", "", line) for line in text.splitlines()]

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def machine(root: Path, name: str, *, settings: str = "", cni: str = "bridge") -> Machine:
    """Return a machine with what cloud-init would have written for the node ``name``."""
    import yaml

    cluster = three("1.20.2")
    if cni != "bridge":
        cluster = cluster.model_copy(update={"cni": cni})
    node = next(node for node in cluster.nodes if node.name == name)
    data = yaml.safe_load(node_files(cluster, node, ACCESS, {}, b"").user_data)
    (root / "node").mkdir()
    (root / "kubernetes").mkdir()
    for file in data["write_files"]:
        if file["path"].startswith("/etc/kiso/node/"):
            (root / "node" / file["path"].rpartition("/")[2]).write_text(file["content"])
    with (root / "node" / "settings").open("a") as file:
        file.write(f"CONTROL_PLANE_TIME=10\nJOIN_TIME=10\nREADY_TIME=10\n{settings}")
    for config in ("admin.conf", "kubelet.conf"):
        (root / "kubernetes" / config).write_text(config)
    (root / "bin").mkdir()
    for program in ("kubeadm", "kubectl", "curl", "systemctl", "ip", "sysctl"):
        (root / "bin" / program).write_text(PLAYER)
        (root / "bin" / program).chmod(0o755)
    (root / "bin" / "sync").write_text("#!/bin/sh\n")  # of the whole host it would take its time
    (root / "bin" / "sync").chmod(0o755)
    made = Machine(root)
    made.says("kubectl", f"True {ago(0)}")
    made.says("curl", "ok")
    return made


def ago(seconds: int) -> str:
    """Return the time so many seconds ago as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def kubelet_runs_for(node: Machine, seconds: int) -> None:
    """Let systemd say that the kubelet was started so many seconds ago."""
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    node.says("systemctl", *[f"{int((uptime - seconds) * 1e6)}"] * 200)


def heads(lines: list[str]) -> list[str]:
    return [
        re.sub(r"\d+ s, \d+ of \d+ MiB of memory in use$", "N s", line.removeprefix("kiso: node: "))
        for line in lines
    ]


def test_a_first_control_plane_makes_the_cluster(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.says("kubectl", f"False {ago(2)}", "1", f"True {ago(1)}")
    assert heads(node.run()) == [
        "starting one as first-control-plane of Kubernetes v1.20.2",
        "kubeadm init: begins",
        "kubeadm init: done in N s",
        "node one Ready: done in N s",
        "up: one",
    ]
    init = node.calls[0]
    assert init == (
        f"kubeadm init --skip-token-print --config {tmp_path}/node/kubeadm.yaml "
        "--upload-certs --skip-certificate-key-print"
    )
    pki = tmp_path / "kubernetes" / "pki"
    assert (pki / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (pki / "ca.crt").read_text() == ACCESS.authority.certificate  # type: ignore[union-attr]
    assert (tmp_path / "home/.kube/config").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_worker_waits_for_the_api_and_then_joins(tmp_path: Path) -> None:
    node = machine(tmp_path, "three")
    node.says("curl", "7", "[+]ping ok", "ok")
    assert heads(node.run()) == [
        "starting three as worker of Kubernetes v1.20.2",
        "API at 10.77.0.11:6443: done in N s",
        "kubeadm join: begins",
        "kubeadm join: done in N s",
        "node three Ready: done in N s",
        "up: three",
    ]
    assert [call.split()[0] for call in node.calls[:4]] == ["curl", "curl", "curl", "kubeadm"]
    assert node.calls[0].endswith("https://10.77.0.11:6443/healthz")
    assert node.calls[3] == f"kubeadm join --config {tmp_path}/node/kubeadm.yaml"
    assert not (tmp_path / "home").exists()


def test_the_network_of_the_medium_is_applied_until_the_api_takes_it(tmp_path: Path) -> None:
    node = machine(tmp_path, "one", cni="network.yaml")
    node.says("kubectl", "1", "applied", f"True {ago(0)}")
    assert "network network.yaml: done in N s" in heads(node.run())
    applied = "kubectl --request-timeout=60s apply -f /medium/network.yaml"
    assert node.calls[1:3] == [applied, applied]


def test_without_a_network_nobody_waits_for_ready(tmp_path: Path) -> None:
    node = machine(tmp_path, "one", cni="none")
    assert heads(node.run())[-2:] == ["kubeadm init: done in N s", "up: one"]
    assert [call.split()[0] for call in node.calls] == ["kubeadm"]


def with_virtual_ip(node: Machine) -> None:
    (node.root / "node/virtual-ip.yaml").write_text("kind: Pod\n")
    (node.root / "node/keepalived.conf.in").write_text("interface @INTERFACE@\n")
    own = "10.77.0.11"
    node.says("ip", json.dumps([{"ifname": "ens4", "addr_info": [{"local": own}]}]))


def test_the_api_has_its_address_before_the_cluster_is_made_by_it(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    with_virtual_ip(node)
    node.run()
    assert (tmp_path / "node/keepalived.conf").read_text() == "interface ens4\n"
    assert (tmp_path / "kubernetes/manifests/virtual-ip.yaml").read_text() == "kind: Pod\n"
    calls = [call for call in node.calls if not call.startswith("ip")]
    assert calls[0] == "systemctl enable --now kiso-virtual-ip.service"
    assert calls[1].startswith("kubeadm init ")


def test_a_joining_control_plane_gets_the_pod_once_it_has_joined(tmp_path: Path) -> None:
    node = machine(tmp_path, "two", settings="ADDRESS=10.77.0.11\n")
    with_virtual_ip(node)
    node.run()
    calls = [call.split()[0] for call in node.calls]
    assert calls.index("kubeadm") < calls.index("ip")
    assert (tmp_path / "kubernetes/manifests/virtual-ip.yaml").exists()


def test_an_address_that_no_interface_has_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    with_virtual_ip(node)
    node.says("ip", "[]")
    assert f"{FAILURE}no interface has the address 10.77.0.11" in node.run(code=1)


def test_forwarding_of_ipv6_comes_before_kubeadm_looks_for_it(tmp_path: Path) -> None:
    node = machine(tmp_path, "three")
    (tmp_path / "node/sysctl.conf").touch()
    node.run()
    calls = [call.split()[0] for call in node.calls]
    assert calls[0] == "sysctl"
    node = machine_again(tmp_path)
    node.says("sysctl", "1")
    assert f"{FAILURE}IPv6 cannot be forwarded" in node.run(code=1)


def machine_again(root: Path) -> Machine:
    for mark in ("node-done", "node-joined"):
        (root / "state" / mark).unlink()
    return Machine(root)


def test_a_second_boot_does_nothing_again(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.run()
    before = node.calls
    assert heads(node.run()) == ["one was brought up by an earlier boot"]
    assert node.calls == before


def test_after_a_failure_the_next_try_starts_over_with_the_same_authority(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.says("kubeadm", "1")
    (tmp_path / "kubernetes/admin.conf").unlink()
    lines = node.run(code=1)
    assert f"{FAILURE}kubeadm init failed" in lines
    assert "kiso: node: log: kubeadm was called" in lines
    (tmp_path / "kubernetes/admin.conf").touch()  # by the next try
    assert lines[-1].startswith("kiso: hint: see ")
    assert not (tmp_path / "state/node-done").exists()
    shutil.rmtree(tmp_path / "kubernetes/pki")  # as kubeadm reset does
    lines = node.run()
    assert "an earlier try did not finish: starting over" in heads(lines)
    assert [call.split()[:2] for call in node.calls[:3]] == [
        ["kubeadm", "init"],
        ["kubeadm", "reset"],
        ["kubeadm", "init"],
    ]
    assert (tmp_path / "kubernetes/pki/ca.key").exists()


def kubeadm_calls(node: Machine) -> list[str]:
    return [call.split()[1] for call in node.calls if call.startswith("kubeadm")]


@pytest.mark.parametrize("role", ["one", "two", "three"])
def test_what_fails_behind_kubeadm_undoes_no_node_of_a_cluster(tmp_path: Path, role: str) -> None:
    node = machine(tmp_path, role)
    before, after = tmp_path / "node/before", tmp_path / "node/after"
    before.write_text(f"echo before >> {tmp_path}/calls\n")
    after.write_text("false\n")
    assert f"{FAILURE}a command of after failed" in node.run(code=1)
    done = kubeadm_calls(node)
    after.write_text(f"echo after >> {tmp_path}/calls\n")
    node.says("kubectl", f"True {ago(0)}")
    node.says("curl", "7", "ok")
    lines = heads(node.run())
    assert lines[1] == "kubeadm was done by an earlier try: doing the rest"
    assert lines[-2:] == ["commands after: done in N s", "up: " + role]
    assert kubeadm_calls(node) == done == ["init" if role == "one" else "join"]
    assert [call for call in node.calls if call in {"before", "after"}] == ["before", "after"]
    assert ("own API: done in N s" in lines) == (role != "three")


def test_the_next_boot_gives_a_cluster_the_network_that_it_did_not_get(tmp_path: Path) -> None:
    node = machine(tmp_path, "one", cni="network.yaml", settings="CONTROL_PLANE_TIME=1\n")
    node.says("kubectl", *["1"] * 1000)
    node.says("curl", *["ok"] * 1000)
    assert f"{FAILURE}kubectl refused network.yaml" in node.run(code=1)
    node.says("kubectl", *["1"] * 1000)
    node.says("curl", "ok", *["7"] * 1000)
    assert f"{FAILURE}no API to apply network.yaml by after 1 s" in node.run(code=1)
    node.says("curl", "ok")
    node.says("kubectl", "applied", f"True {ago(0)}")
    assert heads(node.run())[-1] == "up: one"
    assert kubeadm_calls(node) == ["init"]
    assert (tmp_path / "home/.kube/config").exists()


def test_a_node_whose_control_plane_stays_away_after_a_boot_keeps_its_cluster(
    tmp_path: Path,
) -> None:
    node = machine(tmp_path, "one", settings="CONTROL_PLANE_TIME=1\n")
    (tmp_path / "node/after").write_text("false\n")
    node.run(code=1)
    node.says("curl", *["7"] * 1000)
    lines = node.run(code=1)
    assert f"{FAILURE}the API server of this node does not answer after 1 s" in lines
    assert kubeadm_calls(node) == ["init"]


def test_a_joining_control_plane_that_has_no_address_yet_gets_its_pod_at_the_next_boot(
    tmp_path: Path,
) -> None:
    node = machine(tmp_path, "two", settings="ADDRESS=10.77.0.11\n")
    with_virtual_ip(node)
    node.says("ip", "[]")
    assert f"{FAILURE}no interface has the address 10.77.0.11" in node.run(code=1)
    with_virtual_ip(node)
    node.says("curl", "ok")
    assert heads(node.run())[-1] == "up: two"
    assert (tmp_path / "kubernetes/manifests/virtual-ip.yaml").exists()
    assert kubeadm_calls(node) == ["join"]


def test_that_kubeadm_is_done_is_told_to_the_disk_behind_what_it_wrote(tmp_path: Path) -> None:
    node = machine(tmp_path, "three")
    marks = 'ls "$KISO_STATE" | paste -sd " "'
    (tmp_path / "bin/sync").write_text(f'#!/bin/sh\necho "sync: $({marks})" >> "$PLAY/calls"\n')
    node.run()
    calls = [call for call in node.calls if call.startswith(("sync", "kubeadm"))]
    assert calls[0].startswith("kubeadm join")
    assert calls[1:3] == ["sync: node-begun", "sync: node-begun node-joined"]


def test_a_failure_shows_the_last_words_of_containers_before_the_error(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    logs = tmp_path / "pods/kube-system_etcd-one_1a2b/etcd"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text("one\ntwo\nno space left\nbye\n")
    (tmp_path / "kubernetes/admin.conf").unlink()
    node.says("kubeadm", "1")
    lines = node.run(code=1)
    shown = [line for line in lines if line.startswith("kiso: node: etcd/0: ")]
    assert [line.rpartition(": ")[2] for line in shown] == ["two", "no space left", "bye"]
    assert lines.index(shown[-1]) < lines.index(f"{FAILURE}kubeadm init failed")


def test_an_own_api_that_stays_silent_is_waited_for_as_long_as_the_file_says(
    tmp_path: Path,
) -> None:
    node = machine(tmp_path, "one", settings="CONTROL_PLANE_TIME=3\n")
    node.says("kubeadm", "1")
    node.says("curl", *["7"] * 1000)
    lines = node.run(code=1)
    assert f"{FAILURE}kubeadm init failed" in lines
    asked = sum(call.startswith("curl") for call in node.calls)
    assert asked > 1, "it gave up at once"


def test_an_init_that_fails_late_carries_on_where_it_was(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.says("kubeadm", "1", "1", "0")
    node.says("curl", "7", "ok", "ok")
    lines = node.run()
    assert heads(lines)[-1] == "up: one"
    assert heads(lines).count("kubeadm init failed late: carrying on") == 2
    tries = [call for call in node.calls if call.startswith("kubeadm")]
    assert ["--skip-phases" in one for one in tries] == [False, True, True]
    assert tries[2].count("--skip-phases=preflight") == 1


def test_an_init_that_fails_before_there_is_anything_is_not_repeated(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (tmp_path / "kubernetes/admin.conf").unlink()
    node.says("kubeadm", "1")
    assert f"{FAILURE}kubeadm init failed" in node.run(code=1)
    assert len([call for call in node.calls if call.startswith("kubeadm")]) == 1


def test_joining_is_tried_three_times(tmp_path: Path) -> None:
    node = machine(tmp_path, "two")
    node.says("kubeadm", "1", "0", "1")  # join, reset, join; then reset and join succeed
    assert heads(node.run())[-1] == "up: two"
    node = machine_again(tmp_path)
    node.says("kubeadm", "0", "1", "0", "1", "0", "1")
    node.says("curl", "ok")
    lines = node.run(code=1)
    assert f"{FAILURE}kubeadm join failed 3 times" in lines
    assert lines[-1].startswith("kiso: hint: is the token still valid")


def test_an_api_that_never_answers_is_told_after_the_time_for_it(tmp_path: Path) -> None:
    node = machine(tmp_path, "three", settings="JOIN_TIME=1\n")
    node.says("curl", *["7"] * 200)
    lines = node.run(code=1)
    assert f"{FAILURE}no API at https://10.77.0.11:6443/healthz for 1 s" in lines
    assert not [call for call in node.calls if call.startswith("kubeadm")]


def test_a_node_that_does_not_become_ready_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "three", settings="READY_TIME=1\n")
    node.says("kubectl", *[f"False {ago(0)}"] * 200)
    assert f"{FAILURE}three is not Ready after 1 s" in node.run(code=1)


def test_a_node_is_not_ready_because_the_kubelet_before_said_so(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    kubelet_runs_for(node, 10)
    old, new = ago(30), ago(1)
    node.says("kubectl", f"True {old}", f"True {old}", f"False {new}", f"True {new}")
    assert heads(node.run())[-1] == "up: one"
    assert len([call for call in node.calls if call.startswith("kubectl")]) == 4


def test_a_clock_that_was_set_keeps_no_node_from_being_ready(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    kubelet_runs_for(node, 61)
    node.says("kubectl", f"True {ago(3600)}")
    assert heads(node.run())[-1] == "up: one"
    assert len([call for call in node.calls if call.startswith("kubectl")]) == 1


def test_commands_run_around_kubeadm_and_stop_at_the_first_that_fails(tmp_path: Path) -> None:
    node = machine(tmp_path, "three")
    (tmp_path / "node/before").write_text(f"echo before >> {tmp_path}/calls\n")
    (tmp_path / "node/after").write_text(f"false\necho after >> {tmp_path}/calls\n")
    lines = node.run(code=1)
    assert node.calls[0] == "before"
    assert "after" not in node.calls
    assert f"{FAILURE}a command of after failed" in lines


def test_anything_unforeseen_is_told_too(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (tmp_path / "node/ca.crt").unlink()
    lines = node.run(code=1)
    assert re.fullmatch(rf"{FAILURE}line \d+ of the start script failed", lines[1])


def test_every_milestone_that_is_promised_is_shown(tmp_path: Path) -> None:
    seen = []
    for name, cni in (("one", "network.yaml"), ("three", "bridge")):
        folder = tmp_path / name
        folder.mkdir()
        node = machine(folder, name, cni=cni)
        if cni != "bridge":
            node.says("kubectl", "applied", f"True {ago(0)}")
        seen += [line.removeprefix("kiso: node: ") for line in node.run()]
    for milestone in MILESTONES:
        form = re.sub(r"\\{\w+\\}", r"\\S+", re.escape(milestone))
        assert any(re.fullmatch(form, line) for line in seen), milestone


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


def test_a_cluster_may_name_commands_for_all_nodes_and_for_one() -> None:
    import yaml

    text = """\
schema: 1
kubernetes: "1.34.12"
commands: {before: [echo all]}
nodes:
  - {name: one, role: first-control-plane, commands: {before: ["echo one"], after: ["echo x"]}}
"""
    cluster = read(text)
    data = yaml.safe_load(node_files(cluster, cluster.nodes[0], ACCESS, {}, b"").user_data)
    found = {file["path"]: file["content"] for file in data["write_files"]}
    assert found["/etc/kiso/node/before"] == "echo all\necho one\n"
    assert found["/etc/kiso/node/after"] == "echo x\n"
